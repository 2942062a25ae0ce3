"""The one reader of folders of images: each image with what the folder's tables tell of it.

A table is ``metadata.csv`` or ``metadata.jsonl``, at the top of the folder or in each of its splits; what its columns
mean stands in `MAPPINGS` alone. ``labels.csv`` repeats what they tell, and is not read.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxr.folders.metadata import METADATA_NAME
from cxr.images.squares import find_images
from cxr.labels.cells import read_label_cells
from cxr.labels.radiograph import COLUMNS
from cxr.labels.vocabulary import PromptLabels
from cxr.prompts import asked_labels
from cxr.request.errors import DataError

CSV_NAME = "metadata.csv"
PROMPT_COLUMNS = ("prompt", "text")
UNKNOWN = PromptLabels(None, None, None, None)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ImageRecord:
    """One image and what its folder's table tells of it.

    Args:
        path: the file.
        split: "train" or another name; empty in a folder without splits.
        labels: what is known, or asked for by the prompt.
        patient_id: empty where the table tells none.
        prompt: empty where the table tells none.
        is_real: whether a table of radiographs lists it.
        row: its line of the table; empty for an image that no table lists.
    """

    path: Path
    split: str = ""
    labels: PromptLabels = UNKNOWN
    patient_id: str = ""
    prompt: str = ""
    is_real: bool = False
    row: Row = field(default_factory=dict)


def read_images(folder: Path) -> list[ImageRecord]:
    """All images of a folder, by name; of one with a table in each split, those of the splits.

    Images that no table lists are of unknown things.

    Raises:
        DataError: the folder or its images are missing, or a table is damaged.
    """
    tables = find_tables(folder)
    known = {record.path: record for split, table in tables.items() for record in read_records(table, split)}
    places = [folder / split for split in tables] or [folder]
    return [known.get(path) or ImageRecord(path) for place in places for path in find_images(place)]


def find_tables(folder: Path) -> dict[str, Path]:
    """The table of a folder, under "", or else those of its splits, by their names."""
    for name in (CSV_NAME, METADATA_NAME):
        if (folder / name).is_file():
            return {"": folder / name}
    return {table.parent.name: table for table in sorted(folder.glob(f"*/{METADATA_NAME}"))}


def read_records(table: Path, split: str = "", columns: Sequence[str] = ()) -> Iterator[ImageRecord]:
    """The images that a table lists, whatever other columns it has.

    Args:
        table: ``metadata.csv`` or ``metadata.jsonl``.
        split: of its images.
        columns: that it needs.
    Raises:
        DataError: it is damaged, lacks a column, lists a radiograph that is not there, or a cell is not of its kind.
    """
    for number, row in read_rows(table, columns=columns):
        if row == "":
            continue  # an empty line
        if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
            raise DataError(f"{table} has rows without file_name; each image needs its name there")
        mapping = next(mapping for known, mapping in MAPPINGS if known <= row.keys())
        try:
            record = mapping(table.parent / row["file_name"], split, row)
        except ValueError as error:
            raise DataError(f"{table} line {number}: {error}") from error
        if record.is_real and not record.path.is_file():
            raise DataError(f"{table} line {number} lists {row['file_name']}, which is not in the folder")
        yield record


def from_labels(path: Path, split: str, row: Row) -> ImageRecord:
    """A table of radiographs."""
    return ImageRecord(path, split, read_label_cells(row), str(row["patient_id"]), is_real=True, row=row)


def from_labels_and_recipe(path: Path, split: str, row: Row) -> ImageRecord:
    """A split of a data set of this program: labels that were asked for, and the prompts that asked for them."""
    return ImageRecord(path, split, read_label_cells(row), str(row["patient_id"]), str(row["prompt"]), row=row)


def from_prompt(path: Path, split: str, row: Row) -> ImageRecord:
    """A folder of ``generate``, or an imagefolder of another program: prompts, if anything."""
    prompt = next((row[name] for name in PROMPT_COLUMNS if isinstance(row.get(name), str)), "")
    return ImageRecord(path, split, asked_labels(prompt) if prompt else UNKNOWN, prompt=prompt, row=row)


# Columns of a table -> how its rows are read; the first line whose columns are all there. A table of another data set,
# with columns of its own, gets a line here.
MAPPINGS: tuple[tuple[set[str], Callable[[Path, str, Row], ImageRecord]], ...] = (
    ({*COLUMNS, "prompt", "model_revision"}, from_labels_and_recipe),
    ({*COLUMNS}, from_labels),
    ({"file_name"}, from_prompt),
)


def read_rows(
    table: Path, damaged: str = "{table} cannot be read: {error}", columns: Sequence[str] = ()
) -> Iterator[tuple[int, Any]]:
    """Line numbers, of a CSV as spreadsheets count them, and rows, which may be any JSON; "" for an empty line.

    Args:
        table: whose suffix tells what it is.
        damaged: message for one that is, with the fields table, number and error.
        columns: that the header of a CSV needs.
    Raises:
        DataError: it cannot be read, or a column is missing.
    """
    number = 0
    try:
        if table.suffix == ".csv":
            with table.open(newline="", encoding="utf-8-sig") as file:
                rows = csv.DictReader(file, restval="")
                if missing := [name for name in columns if name not in (rows.fieldnames or ())]:
                    raise DataError(f"{table} has no column {', '.join(missing)}; it needs {', '.join(columns)}")
                yield from enumerate(rows, start=2)
            return
        with table.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, json.loads(line) if line.strip() else ""
    except OSError as error:
        raise DataError(f"cannot read {table}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise DataError(damaged.format(table=table, number=number, error=error)) from error
