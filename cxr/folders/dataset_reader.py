"""A finished data set, read again: each image with its recipe, its labels and its place.

Everything that is read was written by this program or is refused, and no name leads out of the folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cxr.folders.dataset_manifest import is_listed_image, is_without_splits, patient_id_of, read_manifest
from cxr.folders.image_record import ImageRecord
from cxr.folders.metadata import IMAGE_NAME, METADATA_NAME, file_sha256, image_index, image_name
from cxr.folders.tables import Row, read_rows
from cxr.labels.cells import read_label_cells
from cxr.prompts import labels_asked_by
from cxr.request.errors import DataError, RequestError
from cxr.request.events import ExportedFile
from cxr.request.init_image import SHA256
from cxr.request.recipe import Recipe

FLAT_SPLIT = "train"  # what a folder without splits is for
MISSING = "{path} is missing; repeat the command that made the folder, it makes it"
DAMAGED = "{table} line {number} is damaged or of another program; make the data set again"
REFUSED = "{table} line {number} is damaged or of another program ({error}); make the data set again"
DERIVED = "{path} began from a picture, which images of a data set do not; take it out"

# What stands in a line besides a recipe; only in that of a data set, but for the first two.
_CELLS = ("file_name", "sha256", "patient_id", "findings", "age", "sex", "view", "sides", "pair_role")
_PATIENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class FinishedImage(ImageRecord):
    """One image of a finished data set, or of a folder of ``generate``, whose row has the labels as they are here.

    Args:
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


def refuse(fault: str) -> None:
    """Stop at the first fault."""
    raise DataError(fault)


def read_dataset(directory: str | Path, found: Callable[[str], None] = refuse) -> tuple[FinishedImage, ...]:
    """Read what ``python -m cxr dataset`` or ``python -m cxr generate`` has finished, without decoding an image.

    Everything that is read was written by this program or is refused, and no name leads out of the folder.

    Args:
        directory: the folder. One that ``generate`` wrote has no splits and no patients: its images are all of
            `FLAT_SPLIT`, each of a patient of its own, with the labels that its prompt names.
        found: called with each fault of a line or of an image; reading continues if it returns.
    Returns:
        At least one image, by index.
    Raises:
        DataError: the folder or all its images are missing, the manifest is damaged, or another program wrote it.
    """
    directory = Path(directory)
    files: tuple[ExportedFile, ...] = ()
    if is_without_splits(directory):
        images = list(_read_finished(directory / METADATA_NAME, "", found))
    else:
        images, files = [], read_manifest(directory).files
        for table in files:
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
    known = {image.path for image in images}
    for file in filter(is_listed_image, files):
        if file.path not in known and file.path.exists():
            found(f"{file.path} has no line in {METADATA_NAME}")
    return tuple(images)


def _read_finished(table: Path, split: str, found: Callable[[str], None]) -> Iterator[FinishedImage]:
    try:
        for number, row in read_rows(table, DAMAGED):
            try:
                image = _checked(row, table.parent, split)
            except RequestError as error:
                found(REFUSED.format(table=table, number=number, error=error))
                continue
            except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
                found(DAMAGED.format(table=table, number=number))
                continue
            if split and image.recipe.is_derived:
                found(DERIVED.format(path=image.path))
            elif image.path.is_file():
                yield image
            else:
                found(MISSING.format(path=image.path))
    except DataError as error:  # a line that is not JSON ends the table
        found(str(error))


def _checked(row: Row, directory: Path, split: str) -> FinishedImage:
    """Turn a line into an image; any error means that the line is not one of this program."""
    cells = _CELLS if split else _CELLS[:2]
    recipe = Recipe.from_values({name: value for name, value in row.items() if name not in cells})
    _demand(IMAGE_NAME.fullmatch(row["file_name"]))  # before anything is done with it: it must not lead elsewhere
    path = directory / row["file_name"]
    _demand(path.name == image_name(image_index(path), recipe.seed))
    _demand(SHA256.fullmatch(row["sha256"]))
    labels = read_label_cells(row) if split else labels_asked_by(recipe)
    patient_id = row["patient_id"] if split else patient_id_of(image_index(path))
    _demand(_PATIENT_ID.fullmatch(patient_id) and isinstance(row.get("pair_role", ""), str))
    findings = None if labels.findings is None else list(labels.findings)
    known = {"findings": findings, "age": labels.age, "sex": labels.sex, "view": labels.view}
    # A line of an older version lacks settings that recipes did not have then.
    row = {**recipe.values, **row, "patient_id": patient_id, **known}
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
