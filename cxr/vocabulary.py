"""The name under which programs of before 0.7 import the findings; they live in `cxr.labels.vocabulary`."""

from cxr.labels.vocabulary import FINDINGS

__all__ = ["FINDINGS"]
