"""A folder of images and what its table says of them: prompts, labels, patients, the recipe."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.compiler import asked_labels
from cxr.evaluate.extractors.cache import hash_files
from cxr.folders.radiographs import read_folders
from cxr.images.squares import find_images
from cxr.labels.radiograph import COLUMNS, Radiograph
from cxr.labels.targets import targets_of
from cxr.request.errors import DataError
from cxr.request.settings import SHARED
from cxr.vocabulary import PromptLabels

UNKNOWN = PromptLabels(None, None, None, None)
PROMPT_COLUMNS = ("prompt", "text")
# What tells one way of making images from another; seeds and prompts differ by image.
RECIPE_FACTS = (
    *("model", "model_revision", "adapter", "adapter_sha256"),
    *(name for name in SHARED if name not in ("num_images", "bit_depth")),
    *("scheduler", "weight_dtype"),
)


@dataclass(frozen=True)
class ImageSet:
    """Images of one folder, by name.

    Args:
        folder: where they are.
        paths: the N files.
        hashes: SHA-256 of each.
        labels: what is known of each, or asked for by its prompt.
        prompts: of each image; "" where the table tells none.
        patients: of each image; the file's own hash where the table tells none, as if no two were of one patient.
        recipe: what all images have in common of `RECIPE_FACTS`; empty if the table tells nothing.
    """

    folder: Path
    paths: tuple[Path, ...]
    hashes: tuple[str, ...]
    labels: tuple[PromptLabels | Radiograph, ...] = field(repr=False)
    prompts: tuple[str, ...] = field(repr=False)
    patients: tuple[str, ...] = field(repr=False)
    recipe: Mapping[str, Any]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    @property
    def has_prompts(self) -> bool:
        """Whether any image tells its prompt."""
        return any(self.prompts)

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
        for column in (self.hashes, self.prompts, self.patients, [path.name for path in self.paths]):
            digest.update(json.dumps(column).encode())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """What a report says of the set; only the folder's own name, its place is the user's."""
        facts = {"folder": self.folder.resolve().name, "num_images": len(self), "manifest_sha256": self.manifest_sha256}
        if any(isinstance(labels, Radiograph) for labels in self.labels):
            facts["num_patients"] = len(set(self.patients))
        return facts | dict(self.recipe)


def read_set(folder: Path) -> ImageSet:
    """Read a folder of images with, if there is one, its ``metadata.csv`` or ``metadata.jsonl``.

    A table with the columns of a data folder tells labels and patients; one with ``file_name`` and ``prompt`` (or
    ``text``) tells prompts. Images that it does not list count as unlabelled.

    Raises:
        DataError: the folder or its images are missing, or its table is damaged.
    """
    paths = find_images(folder)
    hashes = hash_files(paths)
    names = [path.relative_to(folder).as_posix() for path in paths]
    records, rows = _read_table(folder)
    prompts = [_prompt_of(rows.get(name, {})) for name in names]
    labels = [
        records.get(name) or (asked_labels(prompt) if prompt else UNKNOWN)
        for name, prompt in zip(names, prompts, strict=True)
    ]
    patients = [
        records[name].patient_id if name in records else sha256 for name, sha256 in zip(names, hashes, strict=True)
    ]
    recipe = common_facts(rows[name] for name in names if name in rows)
    return ImageSet(folder, tuple(paths), tuple(hashes), tuple(labels), tuple(prompts), tuple(patients), recipe)


def common_facts(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Of `RECIPE_FACTS`, those that all rows agree on; where they differ, all the values."""
    values: dict[str, list[Any]] = {}
    for row in rows:
        for name in RECIPE_FACTS:
            if name in row and row[name] not in values.setdefault(name, []):
                values[name].append(row[name])
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def shared_hashes(first: ImageSet, second: ImageSet) -> int:
    """How many files of one set are in the other too, byte for byte."""
    return len(set(first.hashes) & set(second.hashes))


def _read_table(folder: Path) -> tuple[dict[str, Radiograph], dict[str, Mapping[str, Any]]]:
    """Records of real images, or rows of generated ones, by file name."""
    table = folder / "metadata.csv"
    if table.is_file():
        try:
            with table.open(newline="", encoding="utf-8-sig") as lines:
                rows = list(csv.DictReader(lines))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{table} cannot be read: {error}") from error
        if rows and set(COLUMNS) <= set(rows[0]):
            records = read_folders([folder])
            return {record.path.relative_to(folder).as_posix(): record for record in records}, {}
        return {}, _by_name(rows, table)
    lines_table = folder / "metadata.jsonl"
    if not lines_table.is_file():
        return {}, {}
    try:
        rows = [json.loads(line) for line in lines_table.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{lines_table} cannot be read: {error}") from error
    return {}, _by_name(rows, lines_table)


def _by_name(rows: Sequence[Any], table: Path) -> dict[str, Mapping[str, Any]]:
    if not all(isinstance(row, dict) and isinstance(row.get("file_name"), str) for row in rows):
        raise DataError(f"{table} has rows without file_name; each image needs its name there")
    return {row["file_name"]: row for row in rows}


def _prompt_of(row: Mapping[str, Any]) -> str:
    found = [row[name] for name in PROMPT_COLUMNS if isinstance(row.get(name), str)]
    return found[0] if found else ""
