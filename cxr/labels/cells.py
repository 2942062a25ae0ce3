"""Labels as the cells of a table, in the spelling of NIH ChestX-ray14; what is not known is an empty cell."""

from __future__ import annotations

import re
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
    """Read what `label_cells` wrote, and nothing else; the findings come in the order of `FINDINGS`.

    Raises:
        KeyError: a column is missing.
        ValueError: a cell is not as `label_cells` writes it.
    """
    cells = {name: row[name] for name in ("findings", "age", "sex", "view")}
    labels = read_foreign_cells(cells, is_ours=True)
    cells["findings"] = "|".join(sorted(str(cells["findings"]).split("|")))
    if label_cells(labels) != cells or not isinstance(row["findings"], str):
        raise ValueError("the labels are not as this program writes them")
    return labels


# CheXpert's observations that are one of these findings; its others stand for none or for several of them.
OBSERVATIONS = {name: name for name in FINDINGS} | {"Pleural Effusion": "Effusion"}
NORMAL = ("no finding", "no findings", "normal", "none")
OTHER_VIEWS = ("LATERAL", "LL", "RL", "L", "LAO", "RAO", "AP AXIAL", "XTABLE LATERAL", "SWIMMERS", "PA LLD", "PA RLD")
UNKNOWN_SEXES = ("unknown", "u", "o", "other")
_AGE = re.compile(r"(\d{1,3})(?:\.0*|\s?(?:y|years?|yrs?)(?:\s?old)?)?|(\d{1,3})[mwd]", re.IGNORECASE | re.ASCII)


def read_foreign_cells(row: Mapping[str, object], *, is_ours: bool = False) -> PromptLabels:
    """Read labels as tables of other data sets have them, by our names of the columns, each of which may be missing.

    Findings are names in one cell or list, or columns of their own with 1 (there), 0 (not there), -1 or nothing (not
    known), as CheXpert and MIMIC-CXR have them. Ages may be 55, 55.0 or DICOM's 055Y and 006M.

    Args:
        row: cells by `COLUMNS`, sides, or names of findings.
        is_ours: whether the table has our own columns: then a lateral view, an unknown sex and an age above `OLDEST`
            are faults, and not what such data sets hold, too.
    Raises:
        ValueError: a cell is not of its kind; the message names it.
    """
    names, unknown = _foreign_findings(row)
    sex, view = _cell(row, "sex"), _cell(row, "view").upper()
    known_sex = {"f": "F", "female": "F", "w": "F", "m": "M", "male": "M"}
    if not is_ours:
        known_sex |= dict.fromkeys(UNKNOWN_SEXES, "")
        view = "" if view in OTHER_VIEWS else view
    if sex and sex.casefold() not in known_sex:
        raise ValueError(f"sex {sex!r} is not one of {', '.join(SEXES)}")
    if view and view not in VIEWS:
        raise ValueError(f"view {_cell(row, 'view')!r} is not one of {', '.join(sorted(VIEWS))}")
    return PromptLabels(
        findings=names,
        age=_age(_cell(row, "age"), is_ours=is_ours),
        sex=known_sex[sex.casefold()] or None if sex else None,
        view=view or None,
        sides=_sides(_cell(row, "sides"), names or ()),
        unknown=unknown,
    )


def _foreign_findings(row: Mapping[str, object]) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """What is there, None if nothing is known, and of which findings nothing is known."""
    columns = {finding: _cell(row, name) for name, finding in OBSERVATIONS.items() if name in row}
    if not columns:
        return _named_findings(row.get("findings")), ()
    if wrong := [cell for cell in columns.values() if cell not in ("", "1", "1.0", "0", "0.0", "-1", "-1.0")]:
        raise ValueError(f"a finding is {wrong[0]!r}; use 1, 0, -1 or nothing")
    if _cell(row, NO_FINDING) in ("1", "1.0"):
        return (), ()
    there = tuple(sorted(name for name, cell in columns.items() if cell in ("1", "1.0")))
    unknown = tuple(name for name in FINDINGS if columns.get(name, "") not in ("1", "1.0", "0", "0.0"))
    return (there, unknown) if there or not unknown else (None, ())


def _named_findings(value: object) -> tuple[str, ...] | None:
    parts = value if isinstance(value, list) else re.split(r"[|;,]", value) if isinstance(value, str) else [value]
    names = [_cell({"": part}, "") for part in parts]
    if not any(names):
        return () if value == [] else None
    known = {name.replace("_", " ").casefold(): finding for name, finding in OBSERVATIONS.items()}
    wanted = [name.replace("_", " ").casefold() for name in names if name]
    if all(name in NORMAL for name in wanted):
        return ()
    for name, key in zip((name for name in names if name), wanted, strict=True):
        if key not in known:
            raise ValueError(f"finding {name[:60]!r} is not one of {', '.join(FINDINGS)}")
    return tuple(sorted({known[key] for key in wanted}))


def _age(cell: str, *, is_ours: bool) -> int | None:
    if not cell:
        return None
    found = _AGE.fullmatch(cell)
    years = int(found[1] or 0) if found else OLDEST + 1
    if found and years > OLDEST and not is_ours:
        return None  # NIH's table has some of 148 and of 412 years
    if years > OLDEST:
        raise ValueError(f"age {cell[:60]!r} is not a whole number from 0 to {OLDEST}")
    return years


def _cell(row: Mapping[str, object], name: str) -> str:
    """A cell as text; what programs write for nothing is nothing."""
    value = row.get(name)
    text = "" if value is None else str(value).strip()
    return "" if text.casefold() in ("nan", "none", "null", "n/a", "<na>") and name else text


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
