"""A folder of images as columns: files, prompts, labels, patients, recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.folders.metadata import hash_files
from cxr.folders.reader import read_images
from cxr.labels.radiograph import plain_id
from cxr.labels.targets import targets_of
from cxr.labels.vocabulary import PromptLabels
from cxr.request.settings import SHARED

# How images were generated, and by what; seeds and prompts differ by image.
GENERATION_SETTINGS = (
    *(name for name in SHARED if name not in ("num_images", "bit_depth")),
    *("scheduler", "weight_dtype"),
)
RECIPE_FACTS = ("model", "model_revision", "adapter", "adapter_sha256", *GENERATION_SETTINGS)
MIN_IMAGES = 20  # images of a set; fewer say nothing


@dataclass(frozen=True)
class ImageSet:
    """Images of one folder, by name.

    Args:
        folder: where they are.
        paths: the N files.
        hashes: SHA-256 of each.
        labels: what is known of each, or asked for by its prompt.
        prompts: of each image; "" where the table has none.
        patients: of each image; the file's own hash where the table has none, as if no two were of one patient.
        recipe: what all images have in common of `RECIPE_FACTS`; empty if the table has nothing of them.
        is_real: whether any of them is a radiograph of a patient.
        lateral: those files that are said to be lateral views.
        unlisted: those that its tables do not list; empty without tables.
    """

    folder: Path
    paths: tuple[Path, ...]
    hashes: tuple[str, ...]
    labels: tuple[PromptLabels, ...] = field(repr=False)
    prompts: tuple[str, ...] = field(repr=False)
    patients: tuple[str, ...] = field(repr=False)
    recipe: Mapping[str, object]
    is_real: bool = False
    lateral: frozenset[Path] = frozenset()
    unlisted: frozenset[Path] = frozenset()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    @property
    def names(self) -> tuple[str, ...]:
        """What reports call each file."""
        return short_names(self.paths)

    @property
    def has_prompts(self) -> bool:
        """Whether the prompt of any image is known."""
        return any(self.prompts)

    @property
    def num_unknown_patients(self) -> int:
        """Images without a patient in the table."""
        return sum(patient == sha256 for patient, sha256 in zip(self.patients, self.hashes, strict=True))

    @property
    def owners(self) -> tuple[str, ...]:
        """The group of each image: its patient, or a group of its own where no patient is known.

        A generated image that comes twice, byte for byte, is two images; they must not pass for one patient's.
        """
        if self.is_real or not self.num_unknown_patients:
            return self.patients
        pairs = enumerate(zip(self.patients, self.hashes, strict=True))
        return tuple(f"{patient} {k}" if patient == sha256 else patient for k, (patient, sha256) in pairs)

    @property
    def targets(self) -> NDArray[np.float32]:
        """[N, len(LABELS) + 1], as `targets_of`."""
        return targets_of(self.labels)

    @property
    def manifest_sha256(self) -> str:
        """One hash for the whole set, whatever the files are called."""
        return hashlib.sha256("\n".join(sorted(self.hashes)).encode()).hexdigest()

    @property
    def identity(self) -> str:
        """One hash for all that a figure can depend on: files in their order, names, prompts, labels, patients."""
        digest = hashlib.sha256(self.targets.tobytes())
        sides = [labels.sides for labels in self.labels]
        for column in (self.hashes, self.prompts, self.patients, self.names, sides):
            digest.update(json.dumps(column).encode())
        return digest.hexdigest()

    def take(self, rows: Sequence[int]) -> ImageSet:
        """Some of the images."""
        return replace(
            self,
            paths=tuple(self.paths[k] for k in rows),
            hashes=tuple(self.hashes[k] for k in rows),
            labels=tuple(self.labels[k] for k in rows),
            prompts=tuple(self.prompts[k] for k in rows),
            patients=tuple(self.patients[k] for k in rows),
        )

    def describe(self) -> dict[str, object]:
        """What a report says of the set; only the folder's own name, its place is the user's."""
        facts: dict[str, object] = {"folder": self.folder.resolve().name, "num_images": len(self)}
        facts["manifest_sha256"] = self.manifest_sha256
        if self.is_real and not self.num_unknown_patients:
            facts["num_patients"] = len(set(self.patients))
        return facts | dict(self.recipe)


def read_set(folder: Path) -> ImageSet:
    """Read a folder of images with, if there is one, its table.

    A table with the columns of a data folder gives labels and patients; one with ``file_name`` and ``prompt`` (or
    ``text``) gives prompts; the tables of a data set's splits give all of it. Images that no table lists count as
    unlabelled.

    Raises:
        DataError: the folder or its images are missing, or its table is damaged.
    """
    records = read_images(folder)
    hashes = hash_files([record.path for record in records])
    spelled: dict[str, str] = {}  # 61, 00000061 and 61.0 are one patient
    ids = [spelled.setdefault(plain_id(record.patient_id), record.patient_id) for record in records]
    has_table = any(record.row for record in records)
    return ImageSet(
        folder,
        paths=tuple(record.path for record in records),
        hashes=tuple(hashes),
        labels=tuple(record.labels for record in records),
        prompts=tuple(record.prompt for record in records),
        patients=tuple(patient or sha256 for patient, sha256 in zip(ids, hashes, strict=True)),
        recipe=common_facts(record.row for record in records),
        is_real=any(record.is_real for record in records),
        lateral=frozenset(record.path for record in records if record.is_lateral),
        unlisted=frozenset(record.path for record in records if has_table and not record.row),
    )


def short_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Folder and name of each file, or more of all paths where these would be the same of two files."""
    longest = max((len(path.parts) for path in paths), default=0)
    for count in range(2, longest):
        names = tuple("/".join(path.parts[-count:]) for path in paths)
        if len(set(names)) == len(names):
            return names
    return tuple(path.as_posix() for path in paths)


def common_facts(rows: Iterable[Mapping[str, object]]) -> dict[str, object]:
    """Of `RECIPE_FACTS`, those that all rows agree on; where they differ, all the values."""
    values: dict[str, list[object]] = {}
    for row in rows:
        for name in RECIPE_FACTS:
            if name in row and row[name] not in values.setdefault(name, []):
                values[name].append(row[name])
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def shared_hashes(first: ImageSet, second: ImageSet) -> int:
    """How many files of one set are in the other too, byte for byte."""
    return len(set(first.hashes) & set(second.hashes))
