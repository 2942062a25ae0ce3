"""Which tables of a folder describe its images, and what their columns are called here and elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from cxr.folders.dataset_manifest import is_dataset
from cxr.folders.file_names import stem_of
from cxr.folders.metadata import METADATA_NAME
from cxr.folders.tables import Row, is_table, read_header, read_rows, repeated_name
from cxr.images.squares import is_image, walk_files
from cxr.labels.finding_cells import finding_of, read_cell
from cxr.request.errors import DataError

CSV_NAME = "metadata.csv"
PICTURES = ("plots", "pictures")  # folders of what this program draws
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
VAGUE = COLUMN_NAMES["findings"][3:]  # beside a prompt they may be anything, but not beside a patient's report


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
    """Refuse images beside the splits: nobody would see that they do not count."""
    table, is_ours = next(iter(with_tables.values()))[0], is_dataset(folder)
    for name in (name for name in names if name not in with_tables):
        is_meant = name.lower() in SPLITS or not (is_ours or name in PICTURES)
        if is_meant and any(map(is_image, walk_files(folder / name))):
            raise DataError(
                f"{folder / name} holds images and no {table.name}, as {table.parent} does; give it one, too, or "
                "take it away"
            )
    beside = next(filter(is_image, sorted(folder.glob("[!.]*"))), None)
    if beside and not is_ours:
        raise DataError(f"{beside} lies beside {table.parent.name}, which has a {table.name}; move it into a split")


@lru_cache(maxsize=64)
def columns_of(names: tuple[str, ...]) -> Mapping[str, str]:
    """Our name of a column -> the table's own, for those that are known."""
    return {ours: them[0] for ours, them in synonyms_of(names).items()}


@lru_cache(maxsize=64)
def synonyms_of(names: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """Our name of a column -> all of the table's own that mean it, the one that counts first."""
    theirs = {_key(name): name for name in reversed(names)}
    known = {ours: tuple(theirs[name] for name in them if name in theirs) for ours, them in COLUMN_NAMES.items()}
    if known["prompt"] and not known["patient_id"]:
        known["findings"] = tuple(name for name in known["findings"] if _key(name) not in VAGUE)
    known["findings"] = known["findings"] or tuple(filter(finding_of, names))[:1]
    return {ours: them for ours, them in known.items() if them}


def cells_of(row: Row) -> Row:
    """Cells by our names of the columns; of several that mean the same, the first with something in it."""
    filled = {
        ours: next((name for name in theirs if read_cell(row, name)), theirs[0])
        for ours, theirs in synonyms_of(tuple(row)).items()
    }
    return {ours: row[theirs] for ours, theirs in filled.items()}


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
    keys = (re.sub(r"\.\d+$", "", _key(name)) for name in header)  # pandas calls the second one "age.1"
    twice, count = repeated_name(key for key in keys if key in read or finding_of(key))
    if twice:
        raise DataError(f"{table} has {count} columns “{twice}”, capitals and spaces aside; keep one")


def stems_in(table: Path) -> Counter[str]:
    """How many rows have a file name of each stem."""
    column = columns_of(read_header(table)).get("file_name", "")
    rows = (row for _, row in read_rows(table) if isinstance(row, dict))
    return Counter(stem_of(row[column]) for row in rows if isinstance(row.get(column), str))
