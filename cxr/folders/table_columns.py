"""Which tables of a folder describe its images, and what their columns are called here and elsewhere."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path

from cxr.folders.file_names import stem_of
from cxr.folders.metadata import METADATA_NAME
from cxr.folders.tables import is_table, read_header, read_rows, repeated_name
from cxr.images.guarded import read_regular
from cxr.images.squares import is_image, walk_files
from cxr.labels.cells import finding_of
from cxr.request.errors import DataError

CSV_NAME = "metadata.csv"
SIDECARS = (".txt", ".json", ".caption")
LISTS = (".txt", ".lst", ".list", ".yaml", ".yml")
MIN_TEXTS = 0.5  # of the images that have one beside them
MAX_JSON_BYTES = 100_000_000
# Tables that other programs write.
UNREAD = re.compile(
    r".*\.(xlsx?|ods|parquet|feather|json)|.*\.(csv|tsv|jsonl?)\.(bz2|xz|zip|zst|7z)|(metadata|prompts|captions|labels)\.txt",
    re.IGNORECASE,
)
SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing", "holdout")
# What a column is called here and elsewhere, in lower case and with "_" for spaces; the first that is there counts.
COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "file_name": (
        *("file_name", "filename", "image_index", "path", "img_savename", "image_path", "img_path", "image_name"),
        *("image", "img", "file", "image_id", "dicom_id", "image_file", "image_file_name", "img_name"),
        *("file_path", "filepath", "pngpath", "dicompath", "path_to_image"),
    ),
    "prompt": ("prompt", "caption", "text", "annotated_prompt", "prompts", "captions", "report", "impression"),
    "findings": (
        *("findings", "finding_labels", "findinglabels"),
        *("labels", "label", "diagnosis", "pathology", "disease", "finding", "pathologies", "diseases"),
    ),
    "sides": ("sides",),
    "age": ("age", "patient_age", "patientage"),
    "sex": ("sex", "gender", "patient_sex", "patient_gender", "patientsex"),
    "projection": ("projection", "frontal/lateral", "frontal_lateral"),
    "view": ("view", "view_position", "viewposition", "ap/pa", "ap_pa"),
    "patient_id": ("patient_id", "patientid", "patient", "subject_id", "deid_patient_id"),
}
VAGUE = COLUMN_NAMES["findings"][3:]  # beside a prompt they may be anything


def find_tables(folder: Path) -> dict[str, list[Path]]:
    """The tables of a folder, under "", or else those of its splits, by their names.

    Raises:
        DataError: a table cannot be read, two may say different things, or a split has none.
    """
    own, places = _own_table(folder), [place for place in sorted(folder.glob("*/")) if not place.name.startswith(".")]
    splits = {place.name: table for place in places if (table := _own_table(place))}
    if own and splits:
        raise _twice(own[0], next(iter(splits.values()))[0])
    if own:
        return {"": own}
    if splits:
        _check_splits(folder, [place.name for place in places], splits)
        return splits
    found = {path: columns_of(read_header(path)) for path in sorted(folder.glob("*")) if is_table(path)}
    found = {path: columns for path, columns in found.items() if "file_name" in columns}
    # The tables that say most, not a list of boxes or of splits beside them.
    largest = max(found.values(), key=len, default={})
    for path, columns in found.items():
        if not columns.keys() <= largest.keys():
            raise _twice(next(one for one in found if found[one] is largest), path)
    best = [path for path, columns in found.items() if len(columns) == len(largest)]
    return {"": best} if best else {}


def _twice(first: Path, second: Path) -> DataError:
    return DataError(f"{first} and {second} both describe the images; keep one, with all that is known of them")


def _own_table(folder: Path) -> list[Path]:
    names = (CSV_NAME, METADATA_NAME)
    own = [path for path in sorted(folder.glob("[mM]*")) if path.name.lower().removesuffix(".gz") in names]
    if len(own) > 1:
        raise DataError(f"{folder} holds {own[0].name} and {own[1].name}; keep the one that is right")
    return own


def _check_splits(folder: Path, names: Iterable[str], with_tables: Mapping[str, Sequence[Path]]) -> None:
    for name in names:
        if name.lower() in SPLITS and name not in with_tables and any(map(is_image, walk_files(folder / name))):
            table = next(iter(with_tables.values()))[0]
            raise DataError(
                f"{folder / name} holds images and no {table.name}, as {table.parent} does; give it one, too"
            )


def check_no_table_is_left(folder: Path, images: Collection[Path]) -> None:
    """Refuse a folder whose images are described only by a table that is not read: labels would be lost silently.

    It may lie in the folder, in one of its folders or beside it.

    Raises:
        DataError: it has one; the message says how to have it read.
    """
    texts = [text for path in images for end in SIDECARS if (text := path.with_suffix(end)).is_file()]
    if len(texts) >= MIN_TEXTS * len(images):
        raise DataError(f"texts beside the images, as {texts[0]}, are not read; write {CSV_NAME}: file_name,prompt")
    names = {name for path in images for name in (path.name.casefold(), stem_of(path.name))}
    for path in walk_files(folder):
        if UNREAD.fullmatch(path.name) and (path.suffix.lower() != ".json" or names & _json_names(path)):
            raise DataError(f"{path} is not read; save it as {CSV_NAME}, with the names of the images as file_name")
        if path.suffix.lower() in LISTS and _is_list_with_labels(path, {image.name.casefold() for image in images}):
            raise DataError(f"{path} says something of the images and is not read; save it as {CSV_NAME}")
        if is_table(path) and path.parent == folder and (column := _naming_column(path, names)):
            raise DataError(f"{path} names the images in its column {column}; call that column file_name")
    elsewhere = chain(walk_files(folder), folder.absolute().parent.glob("*"))
    for path in (path for path in elsewhere if path.parent != folder and is_table(path)):
        with contextlib.suppress(DataError):  # it may be anything
            if _naming_column(path, names):
                break
    else:
        return
    raise DataError(f"{path} names images of {folder} and is not read there; move it there, or name {path.parent}")


def _naming_column(table: Path, names: set[str]) -> str:
    """The column that names any of the images, by file names or stems; numbers may be anything."""
    columns = columns_of(read_header(table))
    for _, row in read_rows(table):
        for column, cell in row.items() if isinstance(row, Mapping) else ():
            last = re.split(r"[/\\]", cell)[-1].strip().casefold() if isinstance(cell, str) else ""
            if {last, last.rpartition(".")[0]} & names and (not last.isdecimal() or columns.get("file_name") == column):
                return str(column)
    if {"findings", "patient_id"} <= columns.keys():
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


@lru_cache(maxsize=64)
def columns_of(names: tuple[str, ...]) -> Mapping[str, str]:
    """Our name of a column -> the table's own, for those that are known."""
    theirs = {_key(name): name for name in reversed(names)}
    known = {ours: next((theirs[name] for name in them if name in theirs), "") for ours, them in COLUMN_NAMES.items()}
    if known["prompt"] and _key(known["findings"]) in VAGUE:
        known["findings"] = ""
    known["findings"] = known["findings"] or next(filter(finding_of, names), "")
    return {ours: name for ours, name in known.items() if name}


def _key(name: str) -> str:
    """A column's name as `COLUMN_NAMES` has it; PadChest adds where it is from."""
    return re.sub(r"[\s-]+", "_", name.strip()).casefold().removesuffix("_dicom")


def check_columns(table: Path, needed: Sequence[str]) -> None:
    """Refuse a table without a column, by our names, or with two of which one would be dropped: “Age” and “age”.

    Raises:
        DataError: it is such a table, or cannot be read.
    """
    header, read = read_header(table), {name for them in COLUMN_NAMES.values() for name in them}
    if missing := [name for name in needed if name not in columns_of(header)]:
        raise DataError(f"{table} has no column {', '.join(missing)}; it needs {', '.join(needed)}")
    twice, count = repeated_name(key for name in header if (key := _key(name)) in read or finding_of(name))
    if twice:
        raise DataError(f"{table} has {count} columns “{twice}”, capitals and spaces aside; keep one")


def stems_in(table: Path) -> Counter[str]:
    """How many rows have a file name of each stem."""
    column = columns_of(read_header(table)).get("file_name", "")
    rows = (row for _, row in read_rows(table) if isinstance(row, dict))
    return Counter(stem_of(row[column]) for row in rows if isinstance(row.get(column), str))
