"""Files and folders of this program: whether they are what they say they are.

All that is read may be a stranger's: images are decoded in a limited child process, and faults are lines, not traces.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr.dataset.gate import GATE_NAME
from cxr.dataset.label_columns import label_row
from cxr.dataset.rejections import REJECTED_NAME, pass_rates, read_rejected
from cxr.dataset.reproduce import DIFFERENT, IDENTICAL, Comparison, Reproducer
from cxr.folders.dataset_reader import (
    LABELS_NAME,
    MISSING,
    WORK_NAME,
    FinishedImage,
    Manifest,
    is_flat,
    read_dataset,
    read_manifest,
)
from cxr.folders.foreign_image import read_foreign
from cxr.folders.metadata import MANIFEST_NAME, METADATA_NAME, file_sha256
from cxr.folders.tables import read_rows
from cxr.images.guarded import reason_of
from cxr.images.png import read_recipe
from cxr.labels.vocabulary import PromptLabels, labels_of
from cxr.prompts import asked_labels
from cxr.request.errors import CxrError, DataError
from cxr.request.recipe import DIGITAL_SOURCE_TYPE, SYNTHETIC_NOTICE, Recipe

NOT_THE_SAME = 1
NO_TABLE = "{table} cannot be read as a table: {error}"
# What systems, git and the Hub's client put into a folder.
NOT_OURS = {".git", ".gitattributes", ".gitignore", ".cache", ".DS_Store", "Thumbs.db", "desktop.ini", WORK_NAME}
SAME_IN_ALL = ("model", "model_revision", "adapter", "adapter_sha256", "device")

Say = Callable[[str], None]


def verify_file(path: Path, reproducer: Reproducer, say: Say) -> int:
    """Make the image of one PNG or DICOM file again.

    Args:
        path: the file.
        reproducer: makes it.
        say: told the outcome.
    Returns:
        0 if it is identical or within tolerance, else 1.
    Raises:
        CxrError: the file carries no recipe, or its model is not here.
    """
    outcome = reproducer.check(*read_foreign(path))
    say(f"{path}: {describe(outcome)}")
    return NOT_THE_SAME if outcome.verdict == DIFFERENT else 0


def verify_folder(directory: Path, reproducer: Reproducer, sample: int, say: Say) -> int:
    """Check a data set, or a folder of ``generate``: every file's hash, recipes, labels; then make some again.

    Args:
        directory: the folder.
        reproducer: makes images.
        sample: how many to make again, evenly from the whole set.
        say: told what is wrong, and at the end how much was checked.
    Returns:
        0 if all is as it should be, else 1.
    Raises:
        CxrError: it is no such folder, or the model is not here.
    """
    found: list[str] = []
    images = read_dataset(directory, found.append)
    found += _wrong_recipes(images)
    if is_flat(directory):
        found += _wrong_files({image.path: image.sha256 for image in images})
        found += _unlisted(directory, {directory / METADATA_NAME, *(image.path for image in images)}, METADATA_NAME)
    else:
        manifest = read_manifest(directory)
        listed = {file.path: file.sha256 for file in manifest.files}
        found += _wrong_files(listed | {image.path: image.sha256 for image in images})
        found += _unlisted(directory, {directory / MANIFEST_NAME, *listed}, MANIFEST_NAME)
        found += _without_row(directory, manifest, images)
        found += _wrong_facts(directory, manifest, images)
        found += _wrong_labels(directory, images)
    faults = list(dict.fromkeys(found))
    for fault in faults:
        say(fault)
    say(f"{len(images)} images: " + (f"{len(faults)} faults" if faults else "files, recipes and labels are right"))
    code = NOT_THE_SAME if faults else 0
    for image in images[:: max(1, -(-len(images) // sample))] if sample else ():
        code = max(code, verify_file(image.path, reproducer, say))
    return code


def describe(outcome: Comparison) -> str:
    """One line for a reader."""
    text = outcome.verdict
    if outcome.verdict != IDENTICAL:
        text += f", at most {outcome.max_levels:.1f} of 256 grey levels apart, PSNR {outcome.psnr_db:.1f} dB"
    return text + (f"; not as in the recipe: {', '.join(outcome.changed)}" if outcome.changed else "")


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


def _without_row(directory: Path, manifest: Manifest, images: Sequence[FinishedImage]) -> Iterator[str]:
    known = {image.path for image in images}
    for file in manifest.files:
        inside = file.path.relative_to(directory)
        if file.path.suffix == ".png" and inside.parts[0] != "plots" and file.path not in known and file.path.exists():
            yield f"{file.path} has no line in {METADATA_NAME}"


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
    except DataError as error:
        yield str(error)
        return
    for name, values in wanted.items():
        if name in facts and facts[name] not in values:
            yield f"{path} says {name} is {str(facts[name])[:80]}, which its images do not"
    for file in manifest.files:
        size = file.metadata.get("size_bytes")
        if file.path.is_file() and size != file.path.stat().st_size:
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


def _wrong_labels(directory: Path, images: Sequence[FinishedImage]) -> Iterator[str]:
    """Labels that do not follow from the prompts, and rows of the label table that do not follow from the metadata."""
    try:
        rows = {row.get("file_name", ""): row for _, row in read_rows(directory / LABELS_NAME, NO_TABLE)}
    except DataError as error:
        if not (directory / LABELS_NAME).exists():
            return  # that is said already
        yield str(error)
        rows = {}
    for image in images:
        name = image.path.relative_to(directory).as_posix()
        row = rows.pop(name, None)
        complete = [complete for complete in (True, False) if row and _is_row(row, image, complete)]
        if row is None:
            yield f"{LABELS_NAME} has no row for {name}"
        elif not complete:
            yield f"{LABELS_NAME} says something else of {name} than its metadata"
        elif wrong := _not_asked(image.labels, image.recipe, is_silent=complete[0]):
            yield f"the labels of {name} are not those of its prompt: {', '.join(wrong)}"
        if image.patient_id != f"SYN{image.index:07d}":
            yield f"the metadata has another patient_id of {name} than SYN{image.index:07d}"
    yield from (f"{LABELS_NAME} has a row for {name}, which is not in the metadata" for name in rows)


def _not_asked(labels: PromptLabels, recipe: Recipe, *, is_silent: bool) -> list[str]:
    """Labels that the prompt of an image contradicts.

    Args:
        labels: as they are told.
        recipe: of the image.
        is_silent: whether the prompt may leave labels out, as a template of a cohort may; one in free words is all that
            they come from.
    """
    # Both readers of prompts: a cohort's template may be a sentence that the better one takes for a patient's history.
    asked, written = asked_labels(recipe.prompt), labels_of(recipe.prompt)
    return [
        name
        for name in ("findings", "age", "sex", "view")
        if getattr(labels, name) not in (getattr(asked, name), getattr(written, name))
        and not (is_silent and getattr(asked, name) is None)
    ]


def _is_row(row: Mapping[str, str], image: FinishedImage, complete: bool) -> bool:
    labels = image.labels
    wanted = {
        "patient_id": image.patient_id, "split": image.split, "age": labels.age, "sex": labels.sex, "view": labels.view
    } | label_row(labels.findings, complete=complete)  # fmt: skip
    return all(row.get(name) == ("" if value is None else str(value)) for name, value in wanted.items())
