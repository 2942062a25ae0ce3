"""A finished data set with missing or changed files -> an unfinished one, so that they are made again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cxr.dataset.manifest_faults import IN_ALL_SETS
from cxr.dataset.rejections import REJECTED_NAME, read_rejected
from cxr.dataset.unit_log import Outcome, Unit
from cxr.folders.dataset_manifest import Manifest, is_listed_image
from cxr.folders.metadata import IMAGE_NAME, METADATA_NAME, file_sha256, image_index, image_name, is_whole
from cxr.generate.planned_image import PlannedImage, Rejection, seed_of
from cxr.images.png import read_recipe
from cxr.images.reading import read_levels
from cxr.request.errors import CxrError, DataError


def is_complete(directory: Path, manifest: Manifest) -> bool:
    """Whether every file is listed and there, as it was when the data set was finished."""
    images = [file.path for file in manifest.files if is_listed_image(file)]
    needed = {path.with_name(METADATA_NAME) for path in images} | {directory / name for name in IN_ALL_SETS}
    if len(images) != manifest.facts["num_images"] or needed - {file.path for file in manifest.files}:
        return False
    try:
        return all(is_whole(file.path, file.sha256) for file in manifest.files)
    except OSError:
        return False


def write_logs(directory: Path, manifest: Manifest, units: Iterable[Unit]) -> None:
    """Write the logs of a data set's units as they were before it was finished, but for the images that are not whole.

    Raises:
        OutputError: the disk refused a log.
    """
    try:
        rejected = read_rejected(directory / REJECTED_NAME)
    except DataError:
        rejected = {}
    hashes = {file.path.relative_to(directory).as_posix(): file.sha256 for file in manifest.files}
    names = {image_index(Path(name)): name for name in hashes if IMAGE_NAME.fullmatch(Path(name).name)}
    for unit in units:
        unit.log.unlink(missing_ok=True)
        for image in unit.images:
            name = names.get(image.index, "")
            outcome = _outcome(directory, name, hashes.get(name, ""), image, rejected.get(image.index, ()))
            if outcome is not None:
                unit.add(outcome)


def remove_rejected(directory: Path, images: Sequence[PlannedImage], outcomes: Mapping[int, Outcome]) -> None:
    """Remove images of seeds that were rejected after they had been written, and that a kill has left there."""
    for image in images:
        outcome = outcomes[image.index]
        for one in outcome.rejected:
            name = f"{image.split}/{image_name(image.index, one.seed)}"
            if name != outcome.file_name:
                (directory / name).unlink(missing_ok=True)


def _outcome(
    directory: Path, name: str, sha256: str, image: PlannedImage, rejected: tuple[Rejection, ...]
) -> Outcome | None:
    """What has become of an image; None if that is not known for certain, so that it is made once more."""
    path = directory / name
    try:
        if not name or file_sha256(path) != sha256:
            return None
        recipe, pixels = read_recipe(path), read_levels(path)
    except (OSError, CxrError):
        return None
    if name.rpartition("/")[0] != image.split or recipe.seed != seed_of(image, len(rejected)):
        return None
    pixel_sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Outcome(image.index, name, rejected, recipe.values, pixel_sha256, sha256)
