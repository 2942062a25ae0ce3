"""One radiograph and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NO_FINDING = "No Finding"
COLUMNS = ("file_name", "findings", "age", "sex", "view", "patient_id")


@dataclass(frozen=True)
class Radiograph:
    """One image and what is known about it; None is unknown, an empty tuple of findings means "No Finding".

    ``sides`` holds (finding, side) where the side is known, ``unknown`` the findings of which it is not known whether
    they are there beside those that are.
    """

    path: Path
    findings: tuple[str, ...] | None
    age: int | None
    sex: str | None
    view: str | None
    patient_id: str
    sides: tuple[tuple[str, str], ...] = ()
    unknown: tuple[str, ...] = ()
