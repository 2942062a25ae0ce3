"""A folder of images against what its manifest, its tables and the images themselves say: each fault is one line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cxr.dataset.label_faults import wrong_labels
from cxr.dataset.manifest_faults import wrong_facts
from cxr.dataset.plan_faults import wrong_plan
from cxr.dataset.rejections import REJECTED_NAME, read_rejected
from cxr.folders.dataset_manifest import WORK_NAME, is_without_splits, read_manifest
from cxr.folders.dataset_reader import MISSING, FinishedImage, read_dataset
from cxr.folders.metadata import CHECKSUMS_NAMES, MANIFEST_NAME, METADATA_NAME, file_sha256
from cxr.images.guarded import reason_of
from cxr.images.png import read_recipe
from cxr.request.errors import CxrError, DataError

# What systems, git and the Hub's client put into a folder.
NOT_OURS = {".git", ".gitattributes", ".gitignore", ".cache", ".DS_Store", "Thumbs.db", "desktop.ini", WORK_NAME}


def find_faults(directory: Path) -> tuple[tuple[FinishedImage, ...], list[str]]:
    """Read a data set, or a folder of ``generate``, and compare all that it says.

    Returns:
        The images that are there, and the faults.
    Raises:
        DataError: it is no such folder.
    """
    found: list[str] = []
    images = read_dataset(directory, found.append)
    found += _wrong_recipes(images)
    signatures = {directory / name for name in CHECKSUMS_NAMES}
    if is_without_splits(directory):
        found += _wrong_files({image.path: image.sha256 for image in images})
        listed = {directory / METADATA_NAME, *(image.path for image in images)}
        found += _unlisted(directory, listed | signatures, METADATA_NAME)
    else:
        manifest = read_manifest(directory)
        hashes = {file.path: file.sha256 for file in manifest.files}
        found += _wrong_files(hashes)
        found += _wrong_files({image.path: image.sha256 for image in images if hashes.get(image.path) != image.sha256})
        found += _unlisted(directory, {directory / MANIFEST_NAME, *hashes, *signatures}, MANIFEST_NAME)
        found += wrong_labels(directory, images)
        try:
            rejected = read_rejected(directory / REJECTED_NAME)
        except DataError as error:
            found.append(str(error))
        else:
            found += wrong_facts(directory, manifest, images, rejected)
            # Of fewer images, or of others, the plan is another: that is said already.
            found += () if found else wrong_plan(directory, manifest, images, rejected)
    return images, list(dict.fromkeys(found))


def _wrong_files(expected: Mapping[Path, str]) -> Iterator[str]:
    for path, sha256 in expected.items():
        if path.name == METADATA_NAME:
            continue  # the reader of the lines will look at it
        if not path.exists():
            yield MISSING.format(path=path)
            continue
        try:
            if file_sha256(path) != sha256:
                yield f"{path} has changed"
        except OSError as error:
            yield f"{path} cannot be read: {reason_of(error)}"


def _unlisted(directory: Path, listed: set[Path], table: str) -> Iterator[str]:
    """Files, and links to folders, that the folder holds and no table mentions."""
    for place, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if name not in NOT_OURS)
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in sorted({*names, *links} - NOT_OURS):
            if (path := Path(place, name)) not in listed:
                yield f"{path} is not in {table}"


def _wrong_recipes(images: Sequence[FinishedImage]) -> Iterator[str]:
    for image in images:
        try:
            if read_recipe(image.path) != image.recipe:
                yield f"{image.path} carries another recipe than its row"
        except CxrError as error:
            yield str(error)
