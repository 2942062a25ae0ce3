"""Files of plans, YAML or CSV -> plans."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cxr.dataset.plan import SECTIONS, SPLIT, Plan, build_plan, check_total, plan_of
from cxr.generate.planned_image import single_images
from cxr.generate.prompt_table import MAX_TOTAL_IMAGES, read_prompt_table
from cxr.prompts import asked_labels
from cxr.request.errors import RequestError
from cxr.request.settings import parse_number


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


def read_parts(path: Path) -> Mapping[str, Any] | None:
    """What the file of a plan holds, for `build_plan`; None for a CSV of prompts, which has no parts.

    Raises:
        RequestError: the file cannot be read, or is no plan.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _read_csv(path)
    if suffix not in {".yaml", ".yml"}:
        raise RequestError(f"{path.name} is no plan; use a .yaml, .yml or .csv file")
    content = _load_yaml(path)
    unknown = [str(name) for name in content if name not in SECTIONS]
    if unknown:
        raise RequestError(f"{path.name} has {', '.join(unknown)}; a plan holds {', '.join(SECTIONS)}")
    return content


def _read_prompts(path: Path, max_images: int, defaults: Mapping[str, Any]) -> Plan:
    requests = read_prompt_table(path, {"seed": 0, **defaults}).requests
    check_total(sum(request.num_images for request in requests), max_images)
    wishes = [(request, asked_labels(request.prompt), False) for request in single_images(requests)]
    return plan_of(path.stem, wishes, SPLIT, 0, {})


def _read_csv(path: Path) -> Mapping[str, Any] | None:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            header = [name.strip().lower() for name in rows.fieldnames or ()]
            if "prompt" in header:
                return None
            if "findings" not in header:
                raise RequestError(
                    f"{path.name} has neither a column prompt nor findings; see python -m cxr dataset --help"
                )
            return {"cohort": [read_cells(row) for row in rows]}
    except OSError as error:
        raise RequestError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{path.name} is not UTF-8 CSV; save it as “CSV UTF-8”") from error


def read_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of a table as an entry of a cohort; lists and shares stand in cells as in YAML, {F: 50, M: 50}.

    Raises:
        RequestError: a cell that begins like a list or shares is neither.
    """
    entry: dict[str, Any] = {
        name.strip().lower(): value.strip()
        for name, value in row.items()
        if name and isinstance(value, str) and value.strip()
    }
    with contextlib.suppress(ValueError):  # the entry's own check says what is wrong with the count
        count = parse_number(entry.get("count", ""))
        entry["count"] = count if isinstance(count, int) else entry["count"]
    return {
        name: _parse_yaml(value, f"the cell {value}") if str(value)[:1] in "[{" else value
        for name, value in entry.items()
    }


def _load_yaml(path: Path) -> Mapping[str, Any]:
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
    """YAML without aliases, by which a few lines can stand for billions."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise RequestError("a plan has no aliases (*name); write that part out")
        return super().compose_node(parent, index)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506  it is a SafeLoader
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        # ValueError: what looks like a date or a number and is none.
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"{where} is not YAML: {reason}") from error
