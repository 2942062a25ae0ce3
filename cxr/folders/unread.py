"""Tables and texts about the images of a folder that are not read: their labels would be lost in silence."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from pathlib import Path

from cxr.folders.file_names import stem_of
from cxr.folders.table_columns import COLUMN_NAMES, CSV_NAME, columns_of
from cxr.folders.tables import Row, is_table, read_header, read_rows
from cxr.images.guarded import read_regular
from cxr.images.squares import walk_files
from cxr.request.errors import DataError

SIDECARS = (".txt", ".json", ".caption", ".xml")
LISTS = (".txt", ".lst", ".list", ".yaml", ".yml")
MIN_TEXTS = 0.1  # of the images that have one called like them
MAX_JSON_BYTES = 100_000_000
# Tables that other programs write.
UNREAD = re.compile(
    r".*\.(xls[bmx]?|ods|parquet|feather|arrow|json|ndjson)|.*\.(csv|tsv|jsonl?)\.(bz2|xz|zip|zst|7z)|(metadata|prompts|captions|labels)\.txt",
    re.IGNORECASE,
)
STUDY_FOLDER = re.compile(r"s?\d+")  # of MIMIC-CXR, whose reports are called like the folders of their studies


def check_no_table_is_left(folder: Path, images: Collection[Path], read: Collection[Path] = ()) -> None:
    """A folder whose tables say nothing of what the images show has none beside them that is about its images.

    It may lie in the folder, in one of its folders or beside it.

    Args:
        folder: of the images.
        images: in it.
        read: tables that are read, which know neither findings nor prompts.
    Raises:
        DataError: it has one; the message says how to have it read.
    """
    names = {name for path in images for name in (path.name.casefold(), stem_of(path.name))}
    studies = {name for path in images if STUDY_FOLDER.fullmatch(name := path.parent.name.casefold())}
    texts = [path for path in walk_files(folder) if path.suffix.lower() in SIDECARS]
    texts = [path for path in texts if path.stem.casefold() in names | studies]
    if len(texts) > MIN_TEXTS * len(images):
        raise DataError(f"texts beside the images, as {texts[0]}, are not read; write {CSV_NAME}: file_name,prompt")
    for path in walk_files(folder):
        if UNREAD.fullmatch(path.name) and (not path.suffix.lower().endswith("json") or names & _json_names(path)):
            raise DataError(f"{path} is not read; save it as {CSV_NAME}, with the names of the images as file_name")
        if path.suffix.lower() in LISTS and _is_list_with_labels(path, {image.name.casefold() for image in images}):
            raise DataError(f"{path} says something of the images and is not read; save it as {CSV_NAME}")
        if not read and is_table(path) and path.parent == folder and (column := _naming_column(path, names)):
            raise DataError(f"{path} names the images in its column {column}; call that column file_name")
    elsewhere = chain(walk_files(folder), folder.absolute().parent.glob("*"))
    for path in (path for path in elsewhere if path.parent != folder and is_table(path) and path not in read):
        with contextlib.suppress(DataError):  # it may be anything
            if _naming_column(path, names):
                break
    else:
        return
    raise DataError(f"{path} names images of {folder} and is not read there; move it there, or name {path.parent}")


def check_no_table_says_more(
    places: Iterable[Path], read: Collection[Path], rows: Iterable[Row], unlisted: Iterable[Path]
) -> None:
    """Refuse tables beside those that are read that say more of the images, or list others of them.

    Args:
        places: folders of the tables.
        read: tables that are read.
        rows: of theirs, with what was joined to them.
        unlisted: images in none of them.
    Raises:
        DataError: there is such a table.
    """
    headers = {tuple(row) for row in rows}
    known = {"file_name", "sides", "projection"}.union(*map(columns_of, headers))
    missing = {stem_of(path.name) for path in unlisted}
    for path in (path for place in places for path in sorted(place.glob("*")) if is_table(path) and path not in read):
        with contextlib.suppress(DataError):  # it may be anything
            names = read_header(path)
            columns = columns_of(names)
            is_joined = bool({"file_name", "patient_id"} & columns.keys()) or "study_id" in map(str.casefold, names)
            more = [name for name in COLUMN_NAMES if name in columns.keys() - known]
            if (is_joined and more) or (len(columns) > 1 and _lists(path, columns.get("file_name", ""), missing)):
                break
    else:
        return
    what = f"has {more[0]} of the images" if more else "lists images that no other table does"
    raise DataError(
        f"{path} {what} and is not read; put all that is known of the images into one table, or take it away"
    )


def _lists(table: Path, column: str, stems: Collection[str]) -> bool:
    rows = (row for _, row in read_rows(table) if isinstance(row, Mapping)) if column and stems else ()
    return any(stem_of(str(row[column])) in stems for row in rows)


def _naming_column(table: Path, names: set[str]) -> str:
    """The column that names any of the images, by file names or stems; numbers may be anything."""
    columns = columns_of(header := read_header(table))
    if first := next((name for name in header if "." in name and name.casefold() in names), ""):
        return first  # of a table that begins without a header
    for _, row in read_rows(table):
        for column, cell in row.items() if isinstance(row, Mapping) else ():
            last = re.split(r"[/\\]", cell)[-1].strip().casefold() if isinstance(cell, str) else ""
            if {last, last.rpartition(".")[0]} & names and (not last.isdecimal() or columns.get("file_name") == column):
                return str(column)
    if "prompt" in columns or {"findings", "patient_id"} <= columns.keys():
        raise DataError(f"{table} names no images; add a column file_name")
    return ""


def _json_names(path: Path) -> set[str]:
    """Names of files that stand in a JSON file."""
    with contextlib.suppress(OSError):
        found = re.findall(rb'"([^"\\]{1,300}\.\w{3,5})"', read_regular(path, MAX_JSON_BYTES))
        return {name.decode(errors="replace").rpartition("/")[2].casefold() for name in found}
    return set()


def _is_list_with_labels(path: Path, names: Collection[str]) -> bool:
    """Whether most lines of a text name an image and say something else, too; lists of names alone are no loss."""
    with contextlib.suppress(OSError):
        lines = read_regular(path, MAX_JSON_BYTES).decode(errors="replace").casefold().splitlines()
        words = [re.split(r"[\s,;:|]+", line.strip(" \t-\"'")) for line in lines if line.strip()]
        named = [len(line) > 1 and any(re.split(r"[/\\]", word)[-1] in names for word in line) for line in words]
        return sum(named) > len(words) / 2
    return False
