"""What a DICOM object says of its image against the recipe in it, looked at in a limited child process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cxr.dataset.label_faults import not_asked
from cxr.folders.dicom_reader import MAX_PIXELS, read_dicom, read_dicom_facts
from cxr.folders.foreign_image import MEMORY_BYTES, TIMEOUT_S
from cxr.images.dicom_pixels import open_dicom, read_dicom_grey, refusing_damage
from cxr.labels.cells import read_foreign_cells
from cxr.request.errors import DataError
from cxr.request.limited_child import run_limited

MAX_OUTPUT_BYTES = 100_000


def wrong_header(path: Path) -> tuple[str, ...]:
    """Labels that the prompt contradicts, values that have viewers show another picture, and a mark that is missing.

    Args:
        path: of a DICOM file that holds a recipe, from anywhere.
    Returns:
        Each fault as a part of a sentence.
    Raises:
        DataError: it cannot be read.
    """
    answer = run_limited(
        __name__,
        [str(path.absolute())],
        label=str(path),
        error=DataError,
        memory_bytes=MEMORY_BYTES,
        timeout_s=TIMEOUT_S,
        max_output_bytes=MAX_OUTPUT_BYTES,
    )
    return tuple(json.loads(answer))


def main(arguments: Sequence[str]) -> bytes:
    """What the child does with a path."""
    return json.dumps([*_faults(Path(arguments[0]))]).encode()


def _faults(path: Path) -> Iterator[str]:
    levels, recipe, bits = read_dicom(path)
    as_stored = levels / ((2**bits - 1) / 255)
    try:
        is_shown = np.abs(read_dicom_grey(path, MAX_PIXELS) - as_stored).max(initial=0) <= 1
    except DataError:  # a window of no width, for example
        is_shown = False
    if not is_shown:
        yield "its header has viewers show another picture than it holds"
    with refusing_damage(path):
        if open_dicom(path, with_pixels=False).get("SyntheticData") != "YES":
            yield "its header does not say that it is synthetic (0008,001C)"
            return  # and what it says of findings may be a reader's
    facts = read_dicom_facts(path)
    try:
        wrong = not_asked(read_foreign_cells(facts), recipe.prompt, is_silent=True, has_sides=bool(facts["sides"]))
    except ValueError as error:
        yield f"its header has a value that this program does not write: {error}"
    else:
        yield from (f"its header says something else of {name} than its prompt" for name in wrong)
