"""Labels as the cells of a table, in the spelling of NIH ChestX-ray14; what is not known is an empty cell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cxr.labels.finding_cells import foreign_findings, read_cell
from cxr.labels.radiograph import NO_FINDING
from cxr.labels.vocabulary import CHILDREN, SIDED_FINDINGS, SIDES, SUBJECTS, PromptLabels

SEXES, VIEWS = ("F", "M"), ("PA", "AP")
OLDEST = 120  # years


def label_cells(labels: PromptLabels) -> dict[str, str]:
    """Cells of the columns findings (names joined by "|", or "No Finding"), age, sex and view.

    An empty text and never null: a reader that infers types would find other ones in a split in which nothing was said.
    """
    findings = "" if labels.findings is None else "|".join(labels.findings) or NO_FINDING
    age = "" if labels.age is None else str(labels.age)
    return {"findings": findings, "age": age, "sex": labels.sex or "", "view": labels.view or ""}


def sides_cell(labels: PromptLabels) -> str:
    """The cell of the column sides, which tables have where one of their rows needs it: "Effusion:left|Mass:right"."""
    return "|".join(f"{name}:{side}" for name, side in labels.sides)


def read_label_cells(row: Mapping[str, object]) -> PromptLabels:
    """Read what `label_cells` and `sides_cell` wrote, and nothing else; findings come in the order of `FINDINGS`.

    Raises:
        KeyError: a column is missing.
        ValueError: a cell is not as `label_cells` writes it.
    """
    cells = {name: row[name] for name in ("findings", "age", "sex", "view")}
    sides = row.get("sides", "")
    labels = read_foreign_cells(cells | {"sides": sides}, is_ours=True)
    cells["findings"] = "|".join(sorted(str(cells["findings"]).split("|")))
    if (label_cells(labels), sides_cell(labels)) != (cells, sides) or not isinstance(row["findings"], str):
        raise ValueError("the labels are not as this program writes them")
    return labels


# What others call the sexes.
_SEXES = {"w": "F"} | {word.casefold(): sex for sex in SEXES for word in (sex, *SUBJECTS[sex], *CHILDREN[sex])}
UNKNOWN_SEXES = ("unknown", "u", "o", "other")
# Words for views that are not frontal, and words that say nothing of AP and PA.
LATERAL = {"lateral", "lat", "llat", "rlat", "ll", "rl", "l"}
OTHER_VIEWS = {
    *(*LATERAL, "lld", "rld", "lao", "rao", "lpo", "rpo", "llo", "rlo"),
    *("axial", "oblique", "decubitus", "lordotic", "swimmers"),
}
VAGUE_VIEWS = {"frontal", "front", "portable", "supine", "erect", "unknown", "other"}
_UNITS = {"": 1, "y": 1, "m": 12, "w": 52, "d": 365}  # of ages, in a year
_AGE = re.compile(
    r"(>=?|≥)?\s?(\d{1,3})(?:[.,](\d*))?\s?(y(?:ears?|rs?|o)?(?:\s?old)?|m(?:onths?)?|w(?:eeks?)?|d(?:ays?)?)?"
    r"\s?(?:\+|or (?:more|older|over))?",
    re.IGNORECASE | re.ASCII,
)


def read_foreign_cells(row: Mapping[str, object], *, is_ours: bool = False) -> PromptLabels:
    """Read labels as tables of other data sets have them, by our names of the columns, each of which may be missing.

    Findings are names in one cell or list, or columns of their own with 1 (there), 0 (not there), -1 or nothing (not
    known), as CheXpert and MIMIC-CXR have them. Ages may be 55, 55.7, 55,0 or DICOM's 055Y and 018M, of which the whole
    years count; of ">89" and "90+" it is the lowest that they allow.

    Args:
        row: cells by `COLUMNS`, sides, or names of findings.
        is_ours: whether the table has our own columns: then a lateral view, an unknown sex, an age above `OLDEST` and
            parts of a year are faults, and not what such data sets hold, too.
    Raises:
        ValueError: a cell is not of its kind; the message names it.
    """
    names, unknown = foreign_findings(row)
    sex = read_cell(row, "sex")
    if sex.casefold() not in _SEXES and (sex and (is_ours or sex.casefold() not in UNKNOWN_SEXES)):
        raise ValueError(f"sex {sex!r} is not one of {', '.join(SEXES)}")
    return PromptLabels(
        findings=names,
        age=_age(read_cell(row, "age"), is_ours=is_ours),
        sex=_SEXES.get(sex.casefold()),
        view=_view(read_cell(row, "view"), is_ours=is_ours),
        sides=_sides(read_cell(row, "sides"), names or ()),
        unknown=unknown,
    )


def _view(cell: str, *, is_ours: bool) -> str | None:
    text = re.sub(r"[^a-z]+", " ", cell.casefold())
    for name, words_of_it in (
        ("ap", r"anter(?:o|ior) ?posterior|\ba p\b"),
        ("pa", r"poster(?:o|ior) ?anterior|\bp a\b"),
    ):
        text = re.sub(words_of_it, name, text)
    words = set(text.split())
    if is_ours or not words:
        words = {cell.casefold()}
    elif words & OTHER_VIEWS or words <= VAGUE_VIEWS:
        return None
    named = [view for view in VIEWS if view.casefold() in words]
    if cell and len(named) != 1:
        raise ValueError(f"view {cell!r} is not one of {', '.join(sorted(VIEWS))}")
    return named[0] if named else None


def is_lateral(cell: str) -> bool:
    """Whether a cell says that a film is a lateral view."""
    return bool(LATERAL & set(re.split(r"[^a-z]+", cell.casefold())))


def _age(cell: str, *, is_ours: bool) -> int | None:
    if not cell:
        return None
    found = _AGE.fullmatch(cell)
    if found and is_ours and (found[3] or "").strip("0"):
        found = None
    years = OLDEST + 1
    if found:
        years = (int(found[2]) + (found[1] == ">")) // _UNITS[(found[4] or "")[:1].casefold()]
    if found and years > OLDEST and not is_ours:
        return None  # NIH's table has some of 148 and of 412 years
    if years > OLDEST:
        raise ValueError(f"age {cell[:60]!r} is not a whole number from 0 to {OLDEST}")
    return years


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
