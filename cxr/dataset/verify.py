"""Files and folders of this program: whether they are what they say they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cxr.dataset.label_columns import label_row
from cxr.dataset.reproduce import DIFFERENT, IDENTICAL, Comparison, Reproducer
from cxr.folders.dataset_reader import LABELS_NAME, FinishedImage, is_flat, read_dataset, read_manifest
from cxr.folders.dicom import read_dicom
from cxr.folders.metadata import file_sha256
from cxr.folders.reader import read_rows
from cxr.images.png import read_recipe
from cxr.images.reading import read_levels

NOT_THE_SAME = 1
NO_TABLE = "{table} cannot be read as a table: {error}"

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
    if path.suffix.lower() == ".dcm":
        pixels, recipe, bits = read_dicom(path)
    else:
        recipe = read_recipe(path)
        pixels, bits = read_levels(path), recipe.bit_depth
    outcome = reproducer.check(pixels, recipe, bits)
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
    images = read_dataset(directory)
    faults = [*_wrong_files(directory, images), *_wrong_recipes(images)]
    if not is_flat(directory):
        faults += _wrong_labels(directory, images)
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


def _wrong_files(directory: Path, images: Sequence[FinishedImage]) -> list[str]:
    expected = {image.path: image.sha256 for image in images}
    if not is_flat(directory):
        expected |= {file.path: file.sha256 for file in read_manifest(directory).files}
    return [f"{path} has changed" for path, sha256 in expected.items() if file_sha256(path) != sha256]


def _wrong_recipes(images: Sequence[FinishedImage]) -> list[str]:
    return [
        f"{image.path} carries another recipe than its row"
        for image in images
        if read_recipe(image.path) != image.recipe
    ]


def _wrong_labels(directory: Path, images: Sequence[FinishedImage]) -> list[str]:
    """Rows of the label table that do not follow from the metadata."""
    rows = {row.get("file_name", ""): row for _, row in read_rows(directory / LABELS_NAME, NO_TABLE)}
    faults = []
    for image in images:
        name = image.path.relative_to(directory).as_posix()
        row = rows.pop(name, None)
        if row is None:
            faults.append(f"{LABELS_NAME} has no row for {name}")
        elif not any(_is_row(row, image, complete) for complete in (True, False)):
            faults.append(f"{LABELS_NAME} says something else of {name} than its metadata")
    return faults + [f"{LABELS_NAME} has a row for {name}, which is not in the metadata" for name in rows]


def _is_row(row: dict[str, str], image: FinishedImage, complete: bool) -> bool:
    labels = image.labels
    wanted = {
        "patient_id": image.patient_id, "split": image.split, "age": labels.age, "sex": labels.sex, "view": labels.view
    } | label_row(labels.findings, complete=complete)  # fmt: skip
    return all(row.get(name) == ("" if value is None else str(value)) for name, value in wanted.items())
