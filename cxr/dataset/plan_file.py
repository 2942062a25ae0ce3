"""Files of plans, YAML or CSV -> plans."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from cxr.dataset.cohort import KEYS, read_entry
from cxr.dataset.plain_yaml import parse_yaml
from cxr.dataset.plan import SECTIONS, SPLIT, Plan, build_plan, plan_of
from cxr.dataset.wishes import Wish, check_total
from cxr.folders.tables import repeated_name
from cxr.generate.planned_image import single_images
from cxr.generate.prompt_table import MAX_TOTAL_IMAGES, other_separator, read_csv_rows, read_prompt_table
from cxr.images.guarded import reason_of
from cxr.metrics.result import Json
from cxr.prompts import labels_asked_by
from cxr.request.errors import RequestError
from cxr.request.messages import shown_names
from cxr.request.setting import parse_number
from cxr.request.settings import COLUMNS


def read_plan(path: Path, max_images: int = MAX_TOTAL_IMAGES, defaults: Mapping[str, object] | None = None) -> Plan:
    """Read a plan.

    Args:
        path: ``.yaml`` or ``.yml`` with the parts of `SECTIONS`, or a ``.csv`` with a column ``prompt`` (as
            ``python -m cxr generate --prompts`` takes it) or with the columns of a cohort.
        max_images: images that it may ask for.
        defaults: settings that the model is used with where the plan has none.
    Raises:
        RequestError: the file cannot be read, or something in it is not allowed.
    """
    content = read_parts(path)
    if content is None:
        return _read_prompts(path, max_images, defaults or {})
    return build_plan(content, path.stem, max_images, defaults)


def read_parts(path: Path) -> Mapping[str, Json] | None:
    """What the file of a plan holds, for `build_plan`; None for a CSV of prompts, which has no parts.

    Raises:
        RequestError: the file cannot be read, or is not a plan.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _read_csv(path)
    if suffix not in {".yaml", ".yml"}:
        raise RequestError(f"{path.name} is not a plan; use a .yaml, .yml or .csv file")
    content = _load_yaml(path)
    unknown = [str(name) for name in content if name not in SECTIONS]
    if unknown:
        raise RequestError(f"{path.name} has {shown_names(unknown)}; a plan holds {', '.join(SECTIONS)}")
    return content


def _read_prompts(path: Path, max_images: int, defaults: Mapping[str, object]) -> Plan:
    table = read_prompt_table(path, {"seed": 0, **defaults})
    if table.unused_columns:
        names = shown_names(name or "one without a name" for name in table.unused_columns)
        raise RequestError(
            f"{path.name} row 1 has columns that are not used: {names}; use {', '.join(COLUMNS.values())}, and a "
            "YAML plan for other settings"
        )
    check_total(sum(request.num_images for request in table.requests), max_images)
    wishes = [Wish(request, labels_asked_by(request)) for request in single_images(table.requests)]
    return plan_of(path.stem, wishes, SPLIT, 0, {})


def _read_csv(path: Path) -> Mapping[str, object] | None:
    rows = read_csv_rows(path)
    _, header = next(rows, (1, []))
    header = [name.strip().lower() for name in header]
    if "prompt" in header:
        return None
    if header and header[0].startswith("sep="):
        raise RequestError(
            f"{path.name} row 1 names a separator; delete this row, and save it with commas as separator"
        )
    if word := other_separator(header, (*KEYS, *COLUMNS.values())):
        raise RequestError(f"{path.name} row 1: the cells are separated by {word}; save it with commas as separator")
    if "findings" not in header:
        raise RequestError(f"{path.name} has neither a column prompt nor findings; see python -m cxr dataset --help")
    if unknown := [name or "one without a name" for name in header if name not in KEYS]:
        raise RequestError(
            f"{path.name} row 1 has columns that are not used: {shown_names(unknown)}; use {', '.join(KEYS)}"
        )
    twice, count = repeated_name(header)
    if twice:
        raise RequestError(f"{path.name} row 1 has {count} columns “{twice}”; keep one")
    return {"cohort": [_read_entry(path, number, header, cells) for number, cells in rows if cells]}


def _read_entry(path: Path, number: int, header: Sequence[str], cells: Sequence[str]) -> dict[str, object]:
    where = f"{path.name} row {number}"
    if not any(cell.strip() for cell in cells):
        raise RequestError(f"{where} is empty; delete it")
    if any(cell.strip() for cell in cells[len(header) :]):
        raise RequestError(f"{where} has {len(cells)} cells, the header {len(header)}")
    entry = read_cells(dict(zip(header, cells, strict=False)), where)
    read_entry(entry, where)  # so that a wrong cell is named by its row
    return entry


def read_cells(row: Mapping[str, object], where: str = "") -> dict[str, object]:
    """One row of a table as an entry of a cohort; lists and shares stand in cells as in YAML, {F: 50, M: 50}.

    Args:
        row: cells by the names of their columns.
        where: what messages begin with.
    Raises:
        RequestError: a cell that begins like a list or shares is neither.
    """
    entry: dict[str, str | int] = {
        name.strip().lower(): value.strip()
        for name, value in row.items()
        if name and isinstance(value, str) and value.strip()
    }
    with contextlib.suppress(ValueError):  # the entry's own check says what is wrong with the count
        count = parse_number(str(entry.get("count", "")))
        entry["count"] = count if isinstance(count, int) else entry["count"]
    where += ": " if where else ""
    return {
        name: parse_yaml(str(value), f"{where}the cell {shown_names([value])}") if str(value)[:1] in "[{" else value
        for name, value in entry.items()
    }


def _load_yaml(path: Path) -> Mapping[str, object]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RequestError(f"cannot read {path}: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path.name} is not UTF-8 text; save it as UTF-8") from error
    content = parse_yaml(text, path.name)
    if not isinstance(content, Mapping):
        raise RequestError(f"{path.name} holds no table; a plan holds {', '.join(SECTIONS)}")
    return content
