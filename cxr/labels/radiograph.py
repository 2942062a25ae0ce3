"""One radiograph and what is known about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cxr.labels.vocabulary import PromptLabels

NO_FINDING = "No Finding"
COLUMNS = ("file_name", "findings", "age", "sex", "view", "patient_id")

_NUMBER = re.compile(r"0*(\d+)(?:\.0*)?", re.ASCII)


def plain_id(patient_id: str) -> str:
    """A patient's id in one of the several ways that programs write it: 61, 00000061 and 61.0 are one patient."""
    name = patient_id.strip().casefold()
    number = _NUMBER.fullmatch(name)
    return number[1] if number else name


@dataclass(frozen=True, kw_only=True)
class Radiograph(PromptLabels):
    """The labels of one image file, and whose it is; what is not known is None, as in a prompt that does not say it.

    Args:
        path: the file.
        patient_id: of the patient whom it shows.
    """

    path: Path
    patient_id: str
