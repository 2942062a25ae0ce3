"""A CSV of prompts -> requests."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr.request.errors import RequestError
from cxr.request.generation_request import GenerationRequest

MAX_TOTAL_IMAGES = 1_000_000  # file names count with six digits
COLUMNS = {"prompt": "prompt", "negative_prompt": "negative_prompt", "seed": "seed", "count": "num_images"}
MAX_NUMBER_CHARACTERS = 40


@dataclass(frozen=True)
class PromptTable:
    """A list of prompts, read and checked.

    Args:
        requests: one for each row, with as many images as the row asks for.
        sources: where each of them stands, "row 3" for example.
        unused_columns: names of columns that are not read.
    """

    requests: tuple[GenerationRequest, ...]
    sources: tuple[str, ...]
    unused_columns: tuple[str, ...]


def parse_number(text: str) -> int | float:
    """Read a number as exactly as it was typed; its range is for the request to check.

    Raises:
        ValueError: not a number.
    """
    try:
        # Far longer ones are out of every range, and int() of many digits is slow.
        return int(text) if len(text) <= MAX_NUMBER_CHARACTERS else float(text)
    except ValueError:
        return float(text)


def renamed(error: RequestError, names: Mapping[str, str]) -> str:
    """The message of a request, with the field that it begins with under the name that the user knows."""
    field, space, rest = str(error).partition(" ")
    return names.get(field, field) + space + rest


def read_prompt_table(path: str | Path, settings: Mapping[str, Any]) -> PromptTable:
    """Read a list of prompts.

    Row numbers in messages are those of a spreadsheet: the header is row 1. A row without a seed takes
    ``settings["seed"]`` plus the number of its first image, whatever the other rows say.

    Args:
        path: CSV in UTF-8 with a header row that names ``prompt`` and maybe ``negative_prompt``, ``seed``, ``count``.
        settings: values of ``GenerationRequest`` for what a row leaves open; ``seed`` is the first image's.
    Raises:
        RequestError: the file cannot be read, or a row is wrong; the message names the row.
    """
    path = Path(path)
    rows = _read_rows(path)
    _, header = next(rows, (1, []))
    columns = _check_header(path, header)
    requests: dict[str, GenerationRequest] = {}
    total = 0
    for number, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        source = f"row {number}"
        if len(cells) > len(columns):
            raise RequestError(
                f"{path.name} {source} has {len(cells)} cells, the header {len(columns)}; "
                "put a prompt that holds a comma between double quotes"
            )
        row = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if name in COLUMNS}
        try:
            requests[source] = _row_request(row, settings, total)
        except RequestError as error:
            fields = {field: column for column, field in COLUMNS.items()}
            raise RequestError(f"{path.name} {source}: {renamed(error, fields)}") from error
        total += requests[source].num_images
        if total > MAX_TOTAL_IMAGES:
            raise RequestError(f"{path.name} asks for more than {MAX_TOTAL_IMAGES:,} images by {source}; split it")
    if not requests:
        raise RequestError(f"{path.name} holds no prompts below its header row")
    unused = tuple(name for name in columns if name not in COLUMNS)
    return PromptTable(tuple(requests.values()), tuple(requests), unused)


def _row_request(row: Mapping[str, str], settings: Mapping[str, Any], first_index: int) -> GenerationRequest:
    values = dict(settings) | {"prompt": row.get("prompt", ""), "seed": settings["seed"] + first_index}
    if row.get("negative_prompt"):
        values["negative_prompt"] = row["negative_prompt"]
    for column in ("seed", "count"):
        if text := row.get(column):
            try:
                values[COLUMNS[column]] = parse_number(text)
            except ValueError as error:
                raise RequestError(f"{column} is {text[:MAX_NUMBER_CHARACTERS]!r}; use a whole number") from error
    return GenerationRequest(**values)


def _check_header(path: Path, header: list[str]) -> list[str]:
    columns = [name.strip().lower() for name in header]
    if "prompt" not in columns:
        found = ", ".join(columns)[:200] or "nothing"
        raise RequestError(f"{path.name} has no column “prompt”; its first row names {found} (separate with commas)")
    for name in COLUMNS:
        if columns.count(name) > 1:
            raise RequestError(f"{path.name} has {columns.count(name)} columns “{name}”; keep one")
    return columns


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    number = 0
    try:
        # utf-8-sig drops the mark that spreadsheets put first; newline="" keeps line breaks inside quotes.
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, cells in enumerate(csv.reader(file, strict=True), start=1):
                yield number, cells
    except OSError as error:
        raise RequestError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path.name} is not UTF-8 text after row {number}; save it as “CSV UTF-8”") from error
    except csv.Error as error:
        raise RequestError(f"{path.name} row {number + 1} is not valid CSV: {error}") from error
