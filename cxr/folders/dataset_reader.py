"""A finished data set, read again: each image with its recipe, its labels and its place.

Everything that is read was written by this program or is refused, and no name leads out of the folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cxr.folders.metadata import IMAGE_NAME, MANIFEST_NAME, METADATA_NAME, file_sha256, image_index, image_name
from cxr.folders.reader import ImageRecord
from cxr.folders.tables import Row, read_rows
from cxr.images.guarded import read_regular, reason_of
from cxr.labels.cells import read_label_cells
from cxr.prompts import asked_labels
from cxr.request.errors import DataError, RequestError
from cxr.request.events import ExportedFile
from cxr.request.init_image import SHA256
from cxr.request.recipe import Recipe, once

FORMAT = 1  # of data sets
WORK_NAME = ".cxr-dataset"  # what is known of a data set while it is made
FLAT_SPLIT = "train"  # what a folder without splits is for
PAIRS_NAME = "pairs"  # folder of what differs between the two images of a pair
MAX_MANIFEST_BYTES = 1_000_000_000
MISSING = "{path} is missing; repeat the command that made the folder, it makes it"
DAMAGED = "{table} line {number} is damaged or of another program; make the data set again"
DERIVED = "{path} began from a picture, which images of a data set do not; take it out"

_PART = r"(?!\.{1,2}(/|$))[^/\\:\x00-\x1f]+"  # never a step up, a drive or a root
_MEMBER = re.compile(rf"{_PART}(/{_PART})*")
# What stands in a line besides a recipe; only in that of a data set, but for the first two.
_CELLS = ("file_name", "sha256", "patient_id", "findings", "age", "sex", "view", "pair_role")
_PATIENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class FinishedImage(ImageRecord):
    """One image of a finished data set, or of a folder of ``generate``, whose row has the labels as they are here.

    Args:
        recipe: what it was made from.
        sha256: of the PNG, in hex.
    """

    recipe: Recipe
    sha256: str

    @property
    def index(self) -> int:
        """Number in the data set, from 0."""
        return image_index(self.path)

    @property
    def pair_role(self) -> str:
        """`FACTUAL` or `COUNTERFACTUAL` for an image of a pair, else empty."""
        return str(self.row.get("pair_role") or "")

    @property
    def file(self) -> ExportedFile:
        """The PNG with its row, for exporters."""
        return ExportedFile(self.path, self.sha256, dict(self.row))


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``: its bytes, the files that it lists, and all that it says."""

    content: bytes
    files: tuple[ExportedFile, ...]
    facts: Row


def patient_id_of(index: int) -> str:
    """The synthetic patient whose first image has this index."""
    return f"SYN{index:07d}"


def pair_pictures(patient_id: str) -> tuple[str, str]:
    """Names in a data set of the signed difference and of the mask of a pair."""
    return f"{PAIRS_NAME}/{patient_id}_difference.png", f"{PAIRS_NAME}/{patient_id}_mask.png"


def refuse(fault: str) -> None:
    """Stop at the first fault."""
    raise DataError(fault)


def read_dataset(directory: str | Path, found: Callable[[str], None] = refuse) -> tuple[FinishedImage, ...]:
    """Read what ``python -m cxr dataset`` or ``python -m cxr generate`` has finished, without decoding an image.

    Everything that is read was written by this program or is refused, and no name leads out of the folder.

    Args:
        directory: the folder. One that ``generate`` wrote has no splits and no patients: its images are all of
            `FLAT_SPLIT`, each of a patient of its own, with the labels that its prompt names.
        found: called with each fault of a line or of an image; what returns from it goes on with the next.
    Returns:
        At least one image, by index.
    Raises:
        DataError: the folder or all its images are missing, the manifest is damaged, or another program wrote it.
    """
    directory = Path(directory)
    if is_flat(directory):
        images = list(_read_finished(directory / METADATA_NAME, "", found))
    else:
        images = []
        for table in read_manifest(directory).files:
            split, _, name = table.path.relative_to(directory).as_posix().rpartition("/")
            if name == METADATA_NAME and split.isidentifier():
                images += _read_finished(table.path, split, found)
                if table.path.is_file() and file_sha256(table.path) != table.sha256:
                    found(f"{table.path} has changed since it was written; make the data set again")
    if not images:
        raise DataError(f"{directory} holds no images; make at least one first")
    images.sort(key=lambda image: image.index)
    for image, following in pairwise(images):
        if image.index == following.index:
            found(f"{directory} holds image {image.index} twice; make the data set again")
    return tuple(images)


def is_flat(directory: Path) -> bool:
    """Whether a folder is one that ``python -m cxr generate`` wrote, without splits.

    Raises:
        DataError: it is not a folder.
    """
    if not directory.is_dir():
        raise DataError(f"{directory} is not a folder; name one that python -m cxr dataset wrote")
    return (directory / METADATA_NAME).is_file() and not is_dataset(directory)


def is_dataset(directory: Path) -> bool:
    """Whether a folder is one that ``python -m cxr dataset`` has finished or begun."""
    if (directory / WORK_NAME).is_dir():
        return True
    if not (directory / MANIFEST_NAME).is_file():
        return False
    try:  # the manifest in a ZIP of generate's folder is another
        return any(directory.glob(f"*/{METADATA_NAME}")) or "format" in read_manifest(directory).facts
    except DataError:
        return False


def read_manifest(directory: Path) -> Manifest:
    """Read the list of all files of a data set.

    Raises:
        DataError: there is none, or it is not of this program.
    """
    path = directory / MANIFEST_NAME
    try:
        content = read_regular(path, MAX_MANIFEST_BYTES)
        manifest = json.loads(content, object_pairs_hook=once)
        version, files = manifest["format"], tuple(_listed(directory, row) for row in manifest["files"])
    except FileNotFoundError as error:
        raise DataError(
            f"{directory} is not a finished data set; name a folder that python -m cxr dataset wrote, "
            "or repeat that command to finish it"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason_of(error)}") from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged or of another program; make the data set again") from error
    if version != FORMAT:
        raise DataError(f"{path} has format {version}; this version of the program reads {FORMAT}")
    if len({file.path for file in files}) != len(files):
        raise DataError(f"{path} lists a file twice; make the data set again")
    return Manifest(content, files, manifest)


def _listed(directory: Path, row: Row) -> ExportedFile:
    name, sha256 = row["file_name"], row["sha256"]
    if not _MEMBER.fullmatch(name) or not SHA256.fullmatch(sha256) or name == MANIFEST_NAME:
        raise ValueError("no file of a data set")
    return ExportedFile(directory / name, sha256, dict(row))


def _read_finished(table: Path, split: str, found: Callable[[str], None]) -> Iterator[FinishedImage]:
    try:
        for number, row in read_rows(table, DAMAGED):
            try:
                image = _checked(row, table.parent, split)
            except (AttributeError, KeyError, TypeError, ValueError, RecursionError, RequestError):
                found(DAMAGED.format(table=table, number=number))
                continue
            if split and image.recipe.is_derived:
                found(DERIVED.format(path=image.path))
            elif image.path.is_file():
                yield image
            else:
                found(MISSING.format(path=image.path))
    except DataError as error:  # a line that is no JSON ends the table
        found(str(error))


def _checked(row: dict[str, Any], directory: Path, split: str) -> FinishedImage:
    """Turn a line into an image; any error means that the line is not one of this program."""
    cells = _CELLS if split else _CELLS[:2]
    recipe = Recipe.from_values({name: value for name, value in row.items() if name not in cells})
    _demand(IMAGE_NAME.fullmatch(row["file_name"]))  # before anything is done with it: it must not lead elsewhere
    path = directory / row["file_name"]
    _demand(path.name == image_name(image_index(path), recipe.seed))
    _demand(SHA256.fullmatch(row["sha256"]))
    labels = read_label_cells(row) if split else asked_labels(recipe.prompt)
    patient_id = row["patient_id"] if split else patient_id_of(image_index(path))
    _demand(_PATIENT_ID.fullmatch(patient_id) and isinstance(row.get("pair_role", ""), str))
    findings = None if labels.findings is None else list(labels.findings)
    known = {"findings": findings, "age": labels.age, "sex": labels.sex, "view": labels.view}
    # A line of an older version lacks what recipes had no word for then.
    row = recipe.values | row | {"patient_id": patient_id} | known
    return FinishedImage(
        path=path,
        split=split or FLAT_SPLIT,
        labels=labels,
        patient_id=patient_id,
        prompt=recipe.prompt,
        row=row,
        recipe=recipe,
        sha256=row["sha256"],
    )


def _demand(allowed: object) -> None:
    if not allowed:
        raise ValueError("not a line of this program")
