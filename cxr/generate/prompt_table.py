"""A CSV of prompts -> requests."""

from __future__ import annotations

import csv
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr.folders.tables import repeated_name
from cxr.images.guarded import reason_of
from cxr.request.errors import RequestError, naming_fields
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import shown_names
from cxr.request.setting import MAX_NUMBER_CHARACTERS, parse_number
from cxr.request.settings import COLUMNS, SETTINGS

MAX_TOTAL_IMAGES = 1_000_000  # file names count with six digits
FIELDS = {column: name for name, column in COLUMNS.items()}


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


def read_prompt_table(path: str | Path, settings: Mapping[str, Any]) -> PromptTable:
    """Read a list of prompts.

    Row numbers in messages are those of a spreadsheet: the header is row 1. A row without a seed takes
    ``settings["seed"]`` plus the number of its first image, whatever the other rows say.

    Args:
        path: CSV in UTF-8 with a header row that names ``prompt`` and perhaps ``negative_prompt``, ``seed``, ``count``.
        settings: values of ``GenerationRequest`` for what a row leaves open; ``seed`` is the first image's.
    Raises:
        RequestError: the file cannot be read, or a row is wrong; the message names the row.
    """
    path = Path(path)
    rows = read_csv_rows(path)
    _, header = next(rows, (1, []))
    columns = _check_header(path, header)
    requests: dict[str, GenerationRequest] = {}
    total = 0
    for number, cells in rows:
        source, is_empty = f"row {number}", not any(cell.strip() for cell in cells)
        if is_empty and len(cells) > 1:
            raise RequestError(f"{path.name} {source} is empty; delete it")
        if is_empty:
            continue
        if len(cells) > len(columns):
            raise RequestError(
                f"{path.name} {source} has {len(cells)} cells, the header {len(columns)}; "
                "put a prompt that holds a comma between double quotes"
            )
        row = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if name in FIELDS}
        with naming_fields(COLUMNS, f"{path.name} {source}: "):
            requests[source] = _row_request(row, settings, total)
        total += requests[source].num_images
        if total > MAX_TOTAL_IMAGES:
            raise RequestError(f"{path.name} asks for more than {MAX_TOTAL_IMAGES:,} images by {source}; split it")
    if not requests:
        raise RequestError(f"{path.name} holds no prompts below its header row")
    unused = tuple(name for name in columns if name not in FIELDS)
    return PromptTable(tuple(requests.values()), tuple(requests), unused)


def _row_request(row: Mapping[str, str], settings: Mapping[str, Any], first_index: int) -> GenerationRequest:
    values = dict(settings) | {"prompt": "", "seed": settings["seed"] + first_index}
    for column, text in row.items():
        name = FIELDS[column]
        if text:
            values[name] = text if SETTINGS[name].kind == "text" else _read_number(name, text)
    return GenerationRequest(**values)


def _read_number(name: str, text: str) -> int | float:
    kind = SETTINGS[name].kind
    try:
        number = parse_number(text)
        if kind == "whole number" and "e" in text.lower():  # spreadsheets cut long numbers: 9.0072E+15
            raise ValueError("digits are missing")
        return number
    except ValueError as error:
        raise RequestError(f"is {text[:MAX_NUMBER_CHARACTERS]!r}; use a {kind}", field=name) from error


def _check_header(path: Path, header: list[str]) -> list[str]:
    columns = [name.strip().lower() for name in header]
    if "prompt" not in columns:
        found, word = shown_names(columns) or "nothing", other_separator(columns, FIELDS)
        raise RequestError(
            f"{path.name} has no column “prompt”; its first row names {found} (separate with commas)"
            + (f"; its separator is not the comma: save it without {word}" if word else "")
        )
    twice, count = repeated_name(columns)
    if twice:
        raise RequestError(f"{path.name} has {count} columns “{shown_names([twice])}”; keep one")
    return columns


def other_separator(header: Sequence[str], names: Container[str]) -> str:
    """What separates the cells of a table, if it is not commas: "semicolons" for example, else "".

    Args:
        header: its first row, in lower case, cut at commas.
        names: of columns that are known.
    """
    for word, separator in (("semicolons", ";"), ("tabs", "\t"), ("vertical bars", "|")):
        if any(separator in name and part.strip(' "') in names for name in header for part in name.split(separator)):
            return word
    return ""


def read_csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Numbers of the rows, as spreadsheets count them, and their cells; empty rows are there, too.

    Raises:
        RequestError: the file cannot be read, or is not CSV in UTF-8.
    """
    number = 0
    try:
        # utf-8-sig drops the mark that spreadsheets put first; newline="" keeps line breaks inside quotes.
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, cells in enumerate(csv.reader(file, strict=True), start=1):
                yield number, cells
    except OSError as error:
        raise RequestError(f"cannot read {path}: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        after = f" after row {number}" if number else ""
        raise RequestError(f"{path.name} is not UTF-8 text{after}; save it as “CSV UTF-8”") from error
    except csv.Error as error:
        raise RequestError(f"{path.name} row {number + 1} is not valid CSV: {error}; save it as “CSV UTF-8”") from error
