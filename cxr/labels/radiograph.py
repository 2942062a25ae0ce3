"""One radiograph and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxr.labels.vocabulary import PromptLabels

NO_FINDING = "No Finding"
COLUMNS = ("file_name", "findings", "age", "sex", "view", "patient_id")


@dataclass(frozen=True, kw_only=True)
class Radiograph(PromptLabels):
    """The labels of one image file, and whose it is; what is not known is None, as in a prompt that does not say it.

    Args:
        path: the file.
        patient_id: of the patient whom it shows.
    """

    path: Path
    patient_id: str
