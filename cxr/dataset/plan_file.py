"""Files of plans, YAML or CSV -> plans."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cxr.dataset.cohort import KEYS, read_entry
from cxr.dataset.plan import SECTIONS, SPLIT, Plan, build_plan, plan_of
from cxr.dataset.wishes import Wish, check_total
from cxr.folders.tables import repeated_name
from cxr.generate.planned_image import single_images
from cxr.generate.prompt_table import MAX_TOTAL_IMAGES, other_separator, read_csv_rows, read_prompt_table
from cxr.metrics.result import Json
from cxr.prompts import asked_labels
from cxr.request.errors import RequestError
from cxr.request.messages import shown, shown_names
from cxr.request.setting import MAX_NUMBER_CHARACTERS, parse_number
from cxr.request.settings import COLUMNS


def read_plan(path: Path, max_images: int = MAX_TOTAL_IMAGES, defaults: Mapping[str, Any] | None = None) -> Plan:
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


def _read_prompts(path: Path, max_images: int, defaults: Mapping[str, Any]) -> Plan:
    table = read_prompt_table(path, {"seed": 0, **defaults})
    if table.unused_columns:
        names = shown_names(name or "one without a name" for name in table.unused_columns)
        raise RequestError(
            f"{path.name} row 1 has columns that are not used: {names}; use {', '.join(COLUMNS.values())}, and a "
            "YAML plan for other settings"
        )
    check_total(sum(request.num_images for request in table.requests), max_images)
    wishes = [Wish(request, asked_labels(request.prompt)) for request in single_images(table.requests)]
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
    return {
        name: _parse_yaml(str(value), f"{where}: the cell {shown_names([value])}".removeprefix(": "))
        if str(value)[:1] in "[{"
        else value
        for name, value in entry.items()
    }


def _load_yaml(path: Path) -> Mapping[str, object]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RequestError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path.name} is not UTF-8 text; save it as UTF-8") from error
    content = _parse_yaml(text, path.name)
    if not isinstance(content, Mapping):
        raise RequestError(f"{path.name} holds no table; a plan holds {', '.join(SECTIONS)}")
    return content


class _PlainLoader(yaml.SafeLoader):
    """YAML without what people do not mean by it: references to other parts, keys that win over equal ones before
    them, and numbers of other bases, of which 010 is 8 and 1:30 is 90.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _RefusedError(event, "a plan has no aliases (*name); write that part out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise _RefusedError(key_node, "<< takes keys over from elsewhere; write them out")
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise _RefusedError(key_node, "a list or table cannot be a name")
            if key in seen:
                raise _RefusedError(key_node, f"{shown(key)} appears a second time; keep one")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_plain_int(self, node: yaml.ScalarNode) -> int:
        text = node.value.replace("_", "")
        if not re.fullmatch(r"[+-]?(0|[1-9]\d*)", text):
            raise _RefusedError(
                node, f"{shown(node.value)} is not a plain number; write it with the digits 0 to 9, without a leading 0"
            )
        if len(text) > MAX_NUMBER_CHARACTERS:
            raise ValueError(f"line {node.start_mark.line + 1}: a number of {len(text)} digits is too large")
        return int(text)

    def construct_plain_float(self, node: yaml.ScalarNode) -> float:
        if ":" in node.value:
            raise _RefusedError(node, f"{shown(node.value)} is not a plain number; put text between quotes")
        return float(super().construct_yaml_float(node))


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_plain_int)
_PlainLoader.add_constructor("tag:yaml.org,2002:float", _PlainLoader.construct_plain_float)


class _RefusedError(ValueError):
    """Something that is YAML and yet not what anybody means, with its line."""

    def __init__(self, part: yaml.Node | yaml.Event, reason: str) -> None:
        assert part.start_mark is not None, "it was read from a text"
        super().__init__(f"line {part.start_mark.line + 1}: {reason}")


def _parse_yaml(text: str, where: str) -> object:
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506  it is a SafeLoader
    except _RefusedError as refused:
        raise RequestError(f"{where} {refused}") from refused
    except RecursionError as error:
        raise RequestError(f"{where} is not YAML: too many lists or tables inside one another") from error
    except (AttributeError, KeyError, TypeError) as error:  # !!bool 5, !!map [a]
        raise RequestError(
            f"{where} is not YAML: a value is not what its tag (!!name) says; leave out the tag"
        ) from error
    except (ValueError, yaml.YAMLError) as error:
        # ValueError: what looks like a date or a number and is none.
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"{where} is not YAML: {reason}") from error
