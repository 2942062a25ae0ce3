"""Labels as the cells of a table, in the spelling of NIH ChestX-ray14; what is not known is an empty cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cxr.labels.radiograph import NO_FINDING
from cxr.labels.vocabulary import FINDINGS, SIDED_FINDINGS, SIDES, PromptLabels

SEXES, VIEWS = ("F", "M"), ("PA", "AP")
OLDEST = 120  # years


def label_cells(labels: PromptLabels) -> dict[str, str]:
    """Cells of the columns findings (names joined by "|", or "No Finding"), age, sex and view.

    An empty text and never null: a reader that infers types would find other ones in a split in which nothing was said.
    """
    findings = "" if labels.findings is None else "|".join(labels.findings) or NO_FINDING
    age = "" if labels.age is None else str(labels.age)
    return {"findings": findings, "age": age, "sex": labels.sex or "", "view": labels.view or ""}


def read_label_cells(row: Mapping[str, object]) -> PromptLabels:
    """Read what `label_cells` wrote; the findings come in the order of `FINDINGS`.

    A further column ``sides`` may tell where some of them are: "Effusion:left|Mass:right".

    Raises:
        KeyError: a column is missing.
        ValueError: a cell is not of its kind; the message names it.
    """
    findings, age = _text(row, "findings"), _text(row, "age")
    names = sorted(findings.split("|")) if findings not in ("", NO_FINDING) else []
    for name in names:
        if name not in FINDINGS:
            raise ValueError(f"finding {name!r} is not one of {', '.join(FINDINGS)}")
    if age and not (age.isascii() and age.isdigit() and len(age) <= 3 and int(age) <= OLDEST):
        raise ValueError(f"age {age!r} is not a whole number from 0 to {OLDEST}")
    return PromptLabels(
        findings=tuple(names) if findings else None,
        age=int(age) if age else None,
        sex=_choice(row, "sex", SEXES),
        view=_choice(row, "view", VIEWS),
        sides=_sides(_text({"sides": ""} | dict(row), "sides"), names),
    )


def _sides(cell: str, findings: Sequence[str]) -> tuple[tuple[str, str], ...]:
    parts = [part.partition(":") for part in cell.split("|") if part]
    pairs = tuple(sorted((name, side) for name, _, side in parts))
    for name, side in pairs:
        if name not in findings or name not in SIDED_FINDINGS or side not in SIDES:
            raise ValueError(
                f"side {name}:{side} is not one of the row's findings, a colon and {', '.join(SIDES)}; "
                f"{', '.join(SIDED_FINDINGS)} can have one"
            )
    return pairs


def _choice(row: Mapping[str, object], name: str, allowed: Sequence[str]) -> str | None:
    cell = _text(row, name)
    if cell and cell not in allowed:
        raise ValueError(f"{name} {cell!r} is not one of {', '.join(sorted(allowed))}")
    return cell or None


def _text(row: Mapping[str, object], name: str) -> str:
    cell = row[name]
    if not isinstance(cell, str):
        raise ValueError(f"{name} {cell!r} is not text")
    return cell
