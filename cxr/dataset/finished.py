"""A finished data set, read again: each image with its recipe, its labels and its place.

Everything that is read was written by this program or is refused, and no name leads out of the folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cxr.compiler import asked_labels
from cxr.dataset.job import FORMAT
from cxr.dataset.labels import labels_of_texts
from cxr.folders.archive import MANIFEST_NAME
from cxr.folders.metadata import IMAGE_NAME, METADATA_NAME, file_sha256, image_index, image_name
from cxr.request.errors import DataError, RequestError
from cxr.request.events import ExportedFile
from cxr.request.recipe import RECIPE_FIELDS, Recipe
from cxr.vocabulary import PromptLabels

FLAT_SPLIT = "train"  # what a folder without splits is for

_PART = r"(?!\.{1,2}(/|$))[^/\\:\x00-\x1f]+"  # never a step up, a drive or a root
_MEMBER = re.compile(rf"{_PART}(/{_PART})*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATIENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class FinishedImage:
    """One image of a finished data set.

    Args:
        path: the PNG.
        split: "train" or another name of the plan.
        recipe: what it was made from.
        labels: what was asked for.
        patient_id: synthetic.
        sha256: of the PNG, in hex.
        row: its line of ``metadata.jsonl``.
    """

    path: Path
    split: str
    recipe: Recipe
    labels: PromptLabels
    patient_id: str
    sha256: str
    row: Mapping[str, Any]

    @property
    def index(self) -> int:
        """Number in the data set, from 0."""
        return image_index(self.path)

    @property
    def file(self) -> ExportedFile:
        """The PNG with its row, for exporters."""
        return ExportedFile(self.path, self.sha256, dict(self.row))


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``: its bytes, and the files that it lists."""

    content: bytes
    files: tuple[ExportedFile, ...]


def read_dataset(directory: str | Path) -> tuple[FinishedImage, ...]:
    """Read what ``python -m cxr dataset`` or ``python -m cxr generate`` has finished, without decoding an image.

    Args:
        directory: the folder. One that ``generate`` wrote has no splits and no patients: its images are all of
            `FLAT_SPLIT`, each of a patient of its own, with the labels that its prompt names.
    Returns:
        At least one image, by index.
    Raises:
        DataError: the folder or an image is missing, a line is damaged, or another program wrote it.
    """
    directory = Path(directory)
    if is_flat(directory):
        images = list(_read_table(directory / METADATA_NAME, None))
    else:
        images = []
        for table in read_manifest(directory).files:
            split, _, name = table.path.relative_to(directory).as_posix().rpartition("/")
            if name == METADATA_NAME and split.isidentifier():
                images += _read_table(table.path, split)
                if file_sha256(table.path) != table.sha256:
                    raise DataError(f"{table.path} has changed since it was written; make the data set again")
    if not images:
        raise DataError(f"{directory} holds no images; make at least one first")
    images.sort(key=lambda image: image.index)
    for image, following in pairwise(images):
        if image.index == following.index:
            raise DataError(f"{directory} holds image {image.index} twice; make the data set again")
    return tuple(images)


def is_flat(directory: Path) -> bool:
    """Whether a folder is one that ``python -m cxr generate`` wrote, without splits.

    Raises:
        DataError: it is no folder.
    """
    if not directory.is_dir():
        raise DataError(f"{directory} is not a folder; name one that python -m cxr dataset wrote")
    return (directory / METADATA_NAME).is_file()


def read_manifest(directory: Path) -> Manifest:
    """Read the list of all files of a data set.

    Raises:
        DataError: there is none, or it is not of this program.
    """
    path = directory / MANIFEST_NAME
    try:
        content = path.read_bytes()
        given = json.loads(content)
        version, files = given["format"], tuple(_listed(directory, row) for row in given["files"])
    except FileNotFoundError as error:
        raise DataError(
            f"{directory} is not a finished data set; name a folder that python -m cxr dataset wrote, "
            "or repeat that command to finish it"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged or of another program; make the data set again") from error
    if version != FORMAT:
        raise DataError(f"{path} has format {version}; this version of the program reads {FORMAT}")
    if len({file.path for file in files}) != len(files):
        raise DataError(f"{path} lists a file twice; make the data set again")
    return Manifest(content, files)


def _listed(directory: Path, row: Mapping[str, Any]) -> ExportedFile:
    name, sha256 = row["file_name"], row["sha256"]
    if not _MEMBER.fullmatch(name) or not _SHA256.fullmatch(sha256) or name == MANIFEST_NAME:
        raise ValueError("no file of a data set")
    return ExportedFile(directory / name, sha256, dict(row))


def _read_table(table: Path, split: str | None) -> Iterator[FinishedImage]:
    try:
        with table.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    image = _parse(json.loads(line), table.parent, split)
                except (AttributeError, KeyError, TypeError, ValueError, RecursionError, RequestError) as error:
                    raise DataError(
                        f"{table} line {number} is damaged or of another program; make the data set again"
                    ) from error
                if not image.path.is_file():
                    raise DataError(f"{image.path} is missing; repeat the command that made the folder, it makes it")
                yield image
    except OSError as error:
        raise DataError(f"cannot read {table}: {(error.strerror or str(error)).lower()}") from error


def _parse(row: dict[str, Any], directory: Path, split: str | None) -> FinishedImage:
    """Turn a line into an image; any error means that the line is not one of this program."""
    recipe = Recipe.from_values({name: row[name] for name in RECIPE_FIELDS if name in row})
    _demand(IMAGE_NAME.fullmatch(row["file_name"]))  # before anything is done with it: it must not lead elsewhere
    path = directory / row["file_name"]
    _demand(path.name == image_name(image_index(path), recipe.seed))
    _demand(_SHA256.fullmatch(row["sha256"]))
    row |= {name: value for name, value in recipe.values.items() if name not in row}  # what older lines lack
    labels = asked_labels(recipe.prompt) if split is None else labels_of_texts(row)
    if split is None:
        row["patient_id"] = f"SYN{image_index(path):07d}"
    row |= asdict(labels)
    row["findings"] = None if labels.findings is None else list(labels.findings)
    _demand(_PATIENT_ID.fullmatch(row["patient_id"]))
    return FinishedImage(path, split or FLAT_SPLIT, recipe, labels, row["patient_id"], row["sha256"], row)


def _demand(allowed: object) -> None:
    if not allowed:
        raise ValueError("not a line of this program")
