"""A folder of images against what its manifest, its tables and the images themselves say: each fault is one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr.dataset.gate import GATE_NAME
from cxr.dataset.label_faults import wrong_labels
from cxr.dataset.rejections import REJECTED_NAME, pass_rates, read_rejected
from cxr.folders.dataset_reader import (
    MISSING,
    PAIRS_NAME,
    WORK_NAME,
    FinishedImage,
    Manifest,
    is_flat,
    read_dataset,
    read_manifest,
)
from cxr.folders.metadata import CHECKSUMS_NAMES, MANIFEST_NAME, METADATA_NAME, file_sha256
from cxr.images.guarded import reason_of
from cxr.images.png import read_recipe
from cxr.images.png_signature import unsigned_size
from cxr.request.errors import CxrError, DataError
from cxr.request.events import ExportedFile
from cxr.request.recipe import DIGITAL_SOURCE_TYPE, SYNTHETIC_NOTICE

# What systems, git and the Hub's client put into a folder.
NOT_OURS = {".git", ".gitattributes", ".gitignore", ".cache", ".DS_Store", "Thumbs.db", "desktop.ini", WORK_NAME}
SAME_IN_ALL = ("model", "model_revision", "adapter", "adapter_sha256", "device", "engine")


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
    if is_flat(directory):
        found += _wrong_files({image.path: image.sha256 for image in images})
        listed = {directory / METADATA_NAME, *(image.path for image in images)}
        found += _unlisted(directory, listed | signatures, METADATA_NAME)
    else:
        manifest = read_manifest(directory)
        hashes = {file.path: file.sha256 for file in manifest.files}
        found += _wrong_files(hashes | {image.path: image.sha256 for image in images})
        found += _unlisted(directory, {directory / MANIFEST_NAME, *hashes, *signatures}, MANIFEST_NAME)
        found += _without_row(manifest, images)
        found += _wrong_facts(directory, manifest, images)
        found += wrong_labels(directory, images)
    return images, list(dict.fromkeys(found))


def _wrong_files(expected: Mapping[Path, str]) -> Iterator[str]:
    for path, sha256 in expected.items():
        if path.name == METADATA_NAME:
            continue  # whoever reads the lines looks at it
        if not path.exists():
            yield MISSING.format(path=path)
            continue
        try:
            if file_sha256(path) != sha256:
                yield f"{path} has changed"
        except OSError as error:
            yield f"{path} cannot be read: {reason_of(error)}"


def _unlisted(directory: Path, listed: set[Path], table: str) -> Iterator[str]:
    """Files, and links to folders, that the folder holds and nothing tells of."""
    for place, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if name not in NOT_OURS)
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in sorted({*names, *links} - NOT_OURS):
            if (path := Path(place, name)) not in listed:
                yield f"{path} is not in {table}"


def _without_row(manifest: Manifest, images: Sequence[FinishedImage]) -> Iterator[str]:
    known = {image.path for image in images}
    for file in manifest.files:
        if _is_listed_image(file) and file.path not in known and file.path.exists():
            yield f"{file.path} has no line in {METADATA_NAME}"


def _is_listed_image(file: ExportedFile) -> bool:
    return file.path.suffix == ".png" and file.path.parent.name not in ("plots", PAIRS_NAME)


def _wrong_recipes(images: Sequence[FinishedImage]) -> Iterator[str]:
    for image in images:
        try:
            if read_recipe(image.path) != image.recipe:
                yield f"{image.path} carries another recipe than its row"
        except CxrError as error:
            yield str(error)


def _wrong_facts(directory: Path, manifest: Manifest, images: Sequence[FinishedImage]) -> Iterator[str]:
    """What the manifest says of the whole set, against the images and the table of rejected seeds."""
    facts, path = manifest.facts, directory / MANIFEST_NAME
    try:
        wanted = _facts_of(directory, facts, images)
        wanted["num_images"].append(sum(map(_is_listed_image, manifest.files)))  # some may be missing, which is said
    except DataError as error:
        yield str(error)
        return
    for name, values in wanted.items():
        if name in facts and facts[name] not in values:
            yield f"{path} says {name} is {str(facts[name])[:80]}, its images say otherwise"
    for file in manifest.files:
        size = file.metadata.get("size_bytes")
        if file.path.is_file() and size != unsigned_size(file.path):
            yield f"{path} says another size of {file.path}"


def _facts_of(directory: Path, facts: Mapping[str, Any], images: Sequence[FinishedImage]) -> dict[str, list[Any]]:
    """The values that each fact of the manifest may have."""
    recipes = [image.recipe for image in images]
    rejected = read_rejected(directory / REJECTED_NAME)
    failed = {*rejected} - {image.index for image in images}
    gated = any(one.kind == "gate" for seeds in rejected.values() for one in seeds)
    threads = {recipe.num_threads for recipe in recipes} - {0}
    wanted: dict[str, list[Any]] = {name: _only(recipes, name) for name in SAME_IN_ALL}
    wanted |= {
        "num_images": [len(images)],
        "num_failed": [len(failed)],
        "num_rejected": [sum(map(len, rejected.values()))],
        "gate": [GATE_NAME] if gated else [GATE_NAME, ""],
        "notice": [SYNTHETIC_NOTICE],
        "digital_source_type": [DIGITAL_SOURCE_TYPE],
        "library_versions": [recipes[0].library_versions],
        # An image whose values leave a small format is made in float32.
        "weight_dtype": sorted({recipe.weight_dtype for recipe in recipes} - {"float32"}) or ["float32"],
    }
    if threads:  # on a GPU they are not told, and a micro-batch is halved where memory runs out
        wanted |= {"num_threads": [*threads], "micro_batch_size": _only(recipes, "micro_batch_size")}
    if software := _only([recipe.library_versions for recipe in recipes], "cxr"):
        wanted["software"] = software
    if not failed and facts.get("gate"):
        tried = [(image.labels.findings, rejected.get(image.index, ()), True) for image in images]
        wanted["pass_rates"] = [pass_rates(tried)]
    if not re.fullmatch(r"[0-9a-f]{64}", str(facts.get("plan_sha256", "0" * 64))):
        wanted["plan_sha256"] = []
    return wanted


def _only(values: Sequence[Any], name: str) -> list[Any]:
    """The value that all have; nothing if they differ."""
    found = [value.get(name) if isinstance(value, Mapping) else getattr(value, name) for value in values]
    return [found[0]] if found[0] is not None and all(value == found[0] for value in found) else []
