"""Plans as users give them - a table with a few fields, or text in YAML or CSV - -> checked plans, and back."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cxr.dataset.cohort import KEYS
from cxr.dataset.plan import Plan, build_plan
from cxr.dataset.plan_file import read_parts, read_plan
from cxr.request.errors import RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import shown
from cxr.request.settings import PLAN_SETTINGS
from cxr.web.jobs.plan_cells import Table, plan_as_yaml, read_cohort_rows, write_rows
from cxr.web.server.uploads import TEXT_SUFFIXES

MAX_TEXT_BYTES = 1_000_000
MARKS_OF_AN_IMAGE = 20  # a prompt of 300 words has about as many commas
SPARE_ROWS = 20  # a table may have empty ones
_MARKS = re.compile(r"[\n,\[{]|[-?:!&] ")
SPLITS = ("train", "validation", "test")
NAME = "dataset"  # of a data set that has no other
# The settings that the page has fields for.
FIELDS = tuple(name for name in PLAN_SETTINGS if name not in ("negative_prompt", "reword"))

Rows = list[list[str]]


def plan_of_fields(
    rows: Table, name: str, seed: int, settings: Sequence[float], shares: Sequence[float], max_images: int
) -> Plan:
    """Make a plan from the table and the fields of the page.

    Args:
        rows: of the table, the cells by their column, one of `KEYS`; empty rows are passed over.
        name: of the data set; may be empty.
        seed: of the first image.
        settings: one for each of `FIELDS`.
        shares: one for each of `SPLITS`.
        max_images: images that the plan may ask for.
    Raises:
        RequestError: something in it is not allowed.
    """
    _check_rows(len(rows), max_images)
    _check_marks("".join(str(cell) for row in rows for cell in row.values()), max_images)
    return build_plan(_parts(read_cohort_rows(rows), name, seed, settings, shares), NAME, max_images)


def text_of_fields(rows: Table, name: str, seed: int, settings: Sequence[float], shares: Sequence[float]) -> str:
    """The table and the fields of the page as the text of the same plan; what is wrong in them is wrong there, too."""
    return plan_as_yaml(_parts(write_rows(rows), name, seed, settings, shares))


def _parts(
    cohort: list[dict[str, object]], name: str, seed: int, settings: Sequence[float], shares: Sequence[float]
) -> dict[str, object]:
    return {
        "name": str(name or "").strip() or NAME,
        "seed": seed,
        "settings": dict(zip(FIELDS, settings, strict=True)),
        "cohort": cohort,
        "split": dict(zip(SPLITS, shares, strict=True)),
    }


def plan_of_text(text: object, max_images: int) -> Plan:
    """Make a plan from text in YAML or CSV; its first line tells which.

    Raises:
        RequestError: it is neither, or something in it is not allowed.
    """
    checked = _checked(text)
    _check_length(checked, max_images)
    with tempfile.TemporaryDirectory() as folder:
        plan = read_plan(_saved(checked, Path(folder)), max_images)
    for image in plan.images:
        if image.split not in SPLITS:  # they name folders, and no text of users gets into names
            raise RequestError(f"the plan has a split {shown(image.split)}; use {', '.join(SPLITS)}")
    return plan


def text_of_file(path: Path) -> str:
    """The text of an uploaded plan.

    Raises:
        RequestError: it is not a plan, too large or not text.
    """
    if path.suffix.lower() not in TEXT_SUFFIXES:
        raise RequestError(f"this file is not a plan; use {', '.join(TEXT_SUFFIXES)}")
    with path.open("rb") as file:
        content = file.read(MAX_TEXT_BYTES + 1)
    _check_size(len(content))
    try:
        return _checked(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RequestError("this file is not UTF-8 text; save it as UTF-8") from error


def fields_of_text(text: str, max_images: int) -> tuple[Rows, str, int, list[float], list[float]] | None:
    """What the table and the fields have to hold to be the same plan, as `plan_of_fields` takes it.

    Returns:
        None for a plan that has more than they can hold, such as prompts or a grid.
    Raises:
        RequestError: the text is not a plan, or something in it is not allowed.
    """
    plan = plan_of_text(text, max_images)
    with tempfile.TemporaryDirectory() as folder:
        parts = read_parts(_saved(_checked(text), Path(folder)))
    if parts is None:
        return None
    settings, split = parts.get("settings") or {}, parts.get("split") or {SPLITS[0]: 1.0}
    defaults = GenerationRequest("any")
    fields = (
        [[_cell(entry.get(key)) for key in KEYS] for entry in parts.get("cohort") or []],
        plan.name,
        parts.get("seed", 0),
        [settings.get(name, getattr(defaults, name)) for name in FIELDS],
        [split.get(name, 0) for name in SPLITS],
    )
    table = [dict(zip(KEYS, row, strict=True)) for row in fields[0]]
    try:
        same = plan_of_fields(table, *fields[1:], max_images).sha256 == plan.sha256
    except RequestError:
        return None
    return fields if same else None


def _checked(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise RequestError("the plan is empty; give it as YAML or CSV")
    try:
        _check_size(len(text.encode()))
    except UnicodeEncodeError as error:
        raise RequestError("the plan holds half a character; save it as UTF-8") from error
    return text.removeprefix("\ufeff").lstrip("\r\n")


def _check_size(size: int) -> None:
    if size > MAX_TEXT_BYTES:
        raise RequestError(f"the plan has more than {MAX_TEXT_BYTES // 1_000_000} MB; write several")


def _check_length(text: str, max_images: int) -> None:
    """Refuse a plan that would take long to read; the time YAML takes depends on its marks, not its letters.

    Raises:
        RequestError: it has more rows or marks than a plan of ``max_images`` images needs.
    """
    if not _is_csv(text):
        _check_marks(text, max_images)
        return
    with contextlib.suppress(csv.Error):  # reading the plan says so
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
        _check_rows(len(rows) - 1, max_images)
        _check_marks("".join(cell for row in rows for cell in row if cell.lstrip()[:1] in ("[", "{")), max_images)


def _check_marks(text: str, max_images: int) -> None:
    if (marks := len(_MARKS.findall(text))) > (allowed := MARKS_OF_AN_IMAGE * (max_images + 50)):
        raise RequestError(
            f"the plan has {marks:,} lines, commas and brackets, more than a plan of {max_images:,} images needs "
            f"({allowed:,}); write several"
        )


def _check_rows(rows: int, max_images: int) -> None:
    if rows > max_images + SPARE_ROWS:
        raise RequestError(f"the plan has {rows:,} rows, each of one image or more; use at most {max_images:,}")


def _saved(text: str, folder: Path) -> Path:
    path = folder / f"{NAME}.{'csv' if _is_csv(text) else 'yaml'}"
    path.write_text(text, encoding="utf-8", newline="")
    return path


def _is_csv(text: str) -> bool:
    try:
        header = {cell.strip().lower() for cell in next(csv.reader([text.partition("\n")[0]]), [])}
    except csv.Error:
        header = set()
    return bool(header & {"prompt", "findings"})


def _cell(value: object) -> str:
    """A value of a cohort as the text of a cell, lists and shares as in YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {share}" for key, share in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_cell, value)) + "]"
    return "" if value is None else str(value)
