"""The one reader of folders of images: each image with what the folder's tables say about it.

A table is ``metadata.csv`` or ``metadata.jsonl``, at the top of the folder or in each of its splits, or one that NIH
ChestX-ray14, CheXpert, MIMIC-CXR or another program has put there; `cxr.folders.table_columns` knows their columns.
Nothing of a table is dropped silently: a row that cannot be read, and a table without an image in ten, are errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cxr.folders.file_names import FileNames
from cxr.folders.image_folder import REPORT_NAME
from cxr.folders.image_record import ImageRecord, is_generated, record_of_file, record_of_row
from cxr.folders.lost_labels import check_no_column_is_lost, findings_of_folders
from cxr.folders.studies import read_studies, study_of
from cxr.folders.table_columns import (
    COLUMN_NAMES,
    CSV_NAME,
    PICTURES,
    check_columns,
    columns_of,
    find_tables,
    stems_in,
)
from cxr.folders.tables import read_rows
from cxr.folders.unread import check_no_table_is_left, check_no_table_says_more
from cxr.images.squares import find_images, is_image, walk_files
from cxr.labels.radiograph import COLUMNS
from cxr.request.errors import DataError

MIN_LISTED = 0.9  # of the images
MASKS = ("mask", "masks")  # folders beside the images of other data sets


def read_images(folder: Path) -> list[ImageRecord]:
    """All images of a folder, by name; of one with a table in each split, those of the splits.

    Of images that no table lists, only what DICOM files say themselves is known and, without any table, what
    their folders are called (`findings_of_folders`).

    Raises:
        DataError: the folder or its images are missing, a table is damaged, lists too few of the images, or lists them
            in a way that is not read.
    """
    tables = find_tables(folder)
    places = [folder / split for split in tables] or [folder]
    paths = [path for place in places for path in find_images(place) if not _is_of_report(path)]
    read = [table for listed in tables.values() for table in listed]
    known = {record.path: record for record in _listed(tables, folder, paths)}
    if tables and len(known) < MIN_LISTED * len(paths):
        names = ", ".join(listed[0].name for listed in tables.values())
        raise DataError(
            f"{folder}: {names} lists {len(known)} of {len(paths)} images; give each a row with its file name, or take "
            "away the table or the images without one"
        )
    if tables:
        unlisted = [path for path in paths if path not in known]
        check_no_table_says_more({table.parent for table in read}, read, (row.row for row in known.values()), unlisted)
    if any({"findings", "prompt"} & columns_of(tuple(record.row)).keys() for record in known.values()):
        return [known.get(path) or record_of_file(path, None) for path in paths]
    check_no_table_is_left(folder, paths, read)
    if masks := [path for path in paths if path not in known and path.parent.name.casefold() in MASKS]:
        raise DataError(f"{masks[0].parent} holds masks and no radiographs; name a folder without it")
    named = findings_of_folders(folder, paths)
    return [_named(known[path], named) if path in known else record_of_file(path, named.get(path)) for path in paths]


def _is_of_report(path: Path) -> bool:
    """Whether it is a plot or a sheet of a report that was written into a folder of images."""
    return path.parent.name in PICTURES and (path.parent.parent / REPORT_NAME).is_file()


def read_listed(folder: Path) -> list[ImageRecord]:
    """The images that the tables of a folder list, in their order; the tables need our `COLUMNS`, an image a patient.

    Args:
        folder: with at least one table.
    Raises:
        DataError: there is no table, it is damaged or lacks a column, or lists an image that is not there.
    """
    tables = find_tables(folder)
    if not tables:
        raise DataError(f"{folder / CSV_NAME} is missing; a data folder holds images and a {CSV_NAME}")
    places = [folder / split for split in tables]
    # Each row says what is missing.
    paths = [path for place in places for path in sorted(filter(is_image, walk_files(place)))]
    return list(_listed(tables, folder, paths, COLUMNS))


def _listed(
    tables: Mapping[str, Sequence[Path]], folder: Path, paths: Iterable[Path], columns: Sequence[str] = ()
) -> Iterator[ImageRecord]:
    """The images that tables list, each once."""
    paths, seen = list(paths), set()
    for split, listed in tables.items():
        place = folder / split
        names = FileNames(place, [path for path in paths if path.is_relative_to(place)])
        for table in listed:
            for number, record in _read_records(table, split, names, columns):
                if record.path in seen:
                    raise DataError(f"{table} line {number} lists {record.path.name} a second time; keep one row")
                seen.add(record.path)
                yield record


def _read_records(
    table: Path, split: str, names: FileNames, columns: Sequence[str]
) -> Iterator[tuple[int, ImageRecord]]:
    check_columns(table, columns)
    check_no_column_is_lost(table)
    studies, stems, joined, count, missing = read_studies(table), stems_in(table), 0, 0, 0
    for number, row in read_rows(table):
        if row == "":
            continue  # an empty line
        row = row if isinstance(row, dict) else {}
        study = studies.get(study_of(row))
        row = {**row, **(study or {})}
        known = columns_of(tuple(row))
        if not isinstance(row.get(known.get("file_name", "")), str):
            raise DataError(f"{table} has rows without file_name; each image needs its name there")
        if known.keys() <= {"file_name", "sides"}:
            raise DataError(f"{table} says nothing about the images; name a column {', '.join(COLUMN_NAMES)}")
        try:
            record = record_of_row(row, known, split, lambda name: names.find(name, lambda stem: stems[stem] == 1))
        except ValueError as error:
            raise DataError(f"{table} line {number}: {error}") from error
        if record and columns and not record.patient_id:
            raise DataError(f"{table} line {number} has no patient_id; without it nobody can be held out")
        if record:
            joined, count = joined + (study is not None), count + 1
            yield number, record
        else:
            missing += is_generated(row)
    if 0 < count < MIN_LISTED * (count + missing):
        raise DataError(
            f"{table} has prompts of {missing} images that are not in the folder; add them, or take their rows away"
        )
    if studies and joined < MIN_LISTED * count:
        raise DataError(
            f"the table of findings beside {table} has the studies of {joined} of {count} images; "
            "add those that it lacks, or take it away"
        )


def _named(record: ImageRecord, findings: Mapping[Path, tuple[str, ...]]) -> ImageRecord:
    """A record of a table that knows no findings, with those that its folder is called by."""
    return replace(record, labels=replace(record.labels, findings=findings.get(record.path)))
