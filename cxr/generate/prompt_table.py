"""One prompt, or a CSV of prompts -> numbered requests, and what is left of them when a folder is continued."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr.request.errors import RequestError, naming_fields
from cxr.request.generation_request import GenerationRequest
from cxr.request.settings import COLUMNS, MAX_NUMBER_CHARACTERS, SETTINGS, parse_number

MAX_TOTAL_IMAGES = 1_000_000  # file names count with six digits
FIELDS = {column: name for name, column in COLUMNS.items()}


@dataclass(frozen=True)
class Job:
    """One request whose image k gets the number ``first_index + k`` in its folder.

    ``source`` says where the request stands, "row 3" for example; empty when it was given directly.
    """

    first_index: int
    request: GenerationRequest
    source: str = ""

    def part(self, first: int, end: int) -> Job:
        """The images from ``first`` up to, not including, ``end``."""
        return Job(self.first_index + first, self.request.part(first, end), self.source)


def remaining_jobs(jobs: Sequence[Job], is_done: Callable[[Job, int], bool]) -> list[Job]:
    """What is still to be made.

    Args:
        jobs: all jobs of the run.
        is_done: told a job and the number k of an image in it, says whether the image exists.
    """
    remaining = []
    for job in jobs:
        missing = [k for k in range(job.request.num_images) if not is_done(job, k)]
        remaining += [job.part(first, end) for first, end in _consecutive(missing)]
    return remaining


def read_jobs(path: str | Path, settings: Mapping[str, Any]) -> tuple[list[Job], tuple[str, ...]]:
    """Read a list of prompts.

    Row numbers in messages are those of a spreadsheet: the header is row 1. A row without a seed takes
    ``settings["seed"]`` plus the number of its first image, whatever the other rows say.

    Args:
        path: CSV in UTF-8 with a header row that names ``prompt`` and maybe ``negative_prompt``, ``seed``, ``count``.
        settings: values of ``GenerationRequest`` for what a row leaves open; ``seed`` is the first image's.
    Returns:
        The jobs, and the names of columns that are not used.
    Raises:
        RequestError: the file cannot be read, or a row is wrong; the message names the row.
    """
    path = Path(path)
    rows = _read_rows(path)
    _, header = next(rows, (1, []))
    columns = _check_header(path, header)
    jobs: list[Job] = []
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
        given = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if name in FIELDS}
        with naming_fields(COLUMNS, f"{path.name} {source}: "):
            jobs.append(Job(total, _row_request(given, settings, total), source))
        total += jobs[-1].request.num_images
        if total > MAX_TOTAL_IMAGES:
            raise RequestError(f"{path.name} asks for more than {MAX_TOTAL_IMAGES:,} images by {source}; split it")
    if not jobs:
        raise RequestError(f"{path.name} holds no prompts below its header row")
    return jobs, tuple(name for name in columns if name not in FIELDS)


def _row_request(given: Mapping[str, str], settings: Mapping[str, Any], first_index: int) -> GenerationRequest:
    values = dict(settings) | {"prompt": "", "seed": settings["seed"] + first_index}
    for column, text in given.items():
        name = FIELDS[column]
        if text:
            values[name] = text if SETTINGS[name].kind == "text" else _read_number(name, text)
    return GenerationRequest(**values)


def _read_number(name: str, text: str) -> int | float:
    try:
        return parse_number(text)
    except ValueError as error:
        kind = SETTINGS[name].kind
        raise RequestError(f"is {text[:MAX_NUMBER_CHARACTERS]!r}; use a {kind}", field=name) from error


def _check_header(path: Path, header: list[str]) -> list[str]:
    columns = [name.strip().lower() for name in header]
    if "prompt" not in columns:
        found = ", ".join(columns)[:200] or "nothing"
        raise RequestError(f"{path.name} has no column “prompt”; its first row names {found} (separate with commas)")
    for name in FIELDS:
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


def _consecutive(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut an ascending sequence into runs without gaps: (first, end) each."""
    start = 0
    for position in range(1, len(numbers) + 1):
        if position == len(numbers) or numbers[position] != numbers[position - 1] + 1:
            yield numbers[start], numbers[position - 1] + 1
            start = position
