"""Which tables of a folder describe its images, and what their columns are called here and elsewhere."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path, PureWindowsPath

from cxr.folders.metadata import LABELS_NAME, METADATA_NAME
from cxr.folders.tables import Row, is_table, read_header, read_rows
from cxr.labels.cells import OBSERVATIONS
from cxr.labels.radiograph import NO_FINDING
from cxr.request.errors import DataError

CSV_NAME = "metadata.csv"
UNREAD = (".xlsx", ".xls", ".ods", ".parquet", ".feather", "metadata.json")  # tables that other programs write
ROWS_LOOKED_AT = 100  # of a table that may be about something else
# What a column is called here and elsewhere, in lower case and with "_" for spaces; the first that is there counts.
COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "file_name": (
        *("file_name", "filename", "image_index", "path", "img_savename", "image_path", "img_path", "image_name"),
        *("image", "img", "file", "image_id", "dicom_id"),
    ),
    "prompt": ("prompt", "caption", "text", "annotated_prompt", "report", "impression"),
    "findings": ("findings", "finding_labels"),
    "sides": ("sides",),
    "age": ("age", "patient_age", "patientage"),
    "sex": ("sex", "gender", "patient_sex", "patient_gender", "patientsex"),
    "view": ("view", "view_position", "viewposition", "ap/pa"),
    "patient_id": ("patient_id", "patientid", "patient", "subject_id"),
}


def find_tables(folder: Path) -> dict[str, list[Path]]:
    """The tables of a folder, under "", or else those of its splits, by their names.

    Raises:
        DataError: a table cannot be read, or two say the same in different ways.
    """
    if own := _own_table(folder):
        return {"": own}
    if splits := {place.name: own for place in sorted(folder.glob("*/")) if (own := _own_table(place))}:
        return splits
    found = [path for path in sorted(folder.glob("*")) if is_table(path) and path.name != LABELS_NAME]
    by_rank: dict[int, list[Path]] = {}
    for path in found:
        columns = columns_of(tuple(read_header(path)))
        if "file_name" in columns:  # the table that says most, not a list of boxes or of splits beside it
            by_rank.setdefault(len(columns), []).append(path)
    return {"": by_rank[max(by_rank)]} if by_rank else {}


def _own_table(folder: Path) -> list[Path]:
    own = [folder / name for name in (CSV_NAME, METADATA_NAME) if (folder / name).is_file()]
    if len(own) > 1:
        raise DataError(f"{folder} holds {CSV_NAME} and {METADATA_NAME}; keep the one that is right")
    return own


def check_no_table_is_left(folder: Path, images: Collection[Path]) -> None:
    """A folder without a table that is read has none that is about its images: their labels would be lost in silence.

    Raises:
        DataError: it has one; the message says how to have it read.
    """
    stems = {path.stem for path in images}
    for path in sorted(folder.glob("*")):
        if path.name.lower().endswith(UNREAD):
            raise DataError(f"{path} is not read; save it as {CSV_NAME}, with the names of the images as file_name")
        if not is_table(path) or path.name == LABELS_NAME:
            continue
        for _, row in islice(read_rows(path), ROWS_LOOKED_AT):
            for column, cell in row.items() if isinstance(row, Mapping) else ():
                if isinstance(cell, str) and PureWindowsPath(cell.strip()).stem in stems:
                    raise DataError(f"{path} names the images in its column {column}; call that column file_name")


@lru_cache(maxsize=64)
def columns_of(names: tuple[str, ...]) -> Mapping[str, str]:
    """Our name of a column -> the table's own, for those that are known."""
    theirs = {re.sub(r"[\s-]+", "_", name.strip()).casefold(): name for name in reversed(names)}
    known = {ours: next((theirs[name] for name in them if name in theirs), "") for ours, them in COLUMN_NAMES.items()}
    known["findings"] = known["findings"] or next((name for name in OBSERVATIONS if name in names), "")
    return {ours: name for ours, name in known.items() if name}


def read_studies(table: Path) -> Mapping[str, Row]:
    """MIMIC-CXR lists findings by study, in a table of its own beside the one of the images."""
    if "dicom_id" not in (header := read_header(table)) or NO_FINDING in header:
        return {}
    for other in sorted(table.parent.glob("*")):
        if is_table(other) and {"study_id", NO_FINDING} <= {*(names := read_header(other))} and "dicom_id" not in names:
            return {str(row["study_id"]): dict(row) for _, row in read_rows(other)}
    return {}
