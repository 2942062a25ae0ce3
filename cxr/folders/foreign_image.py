"""A third party's image file -> its stored grey levels and its recipe, decoded in a limited child process.

The recipe is read first, and only a picture of the size that it names is decoded at all.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cxr.folders.dicom_reader import MAX_PIXELS, read_dicom
from cxr.images.dicom_pixels import is_dicom
from cxr.images.guarded import open_regular, reason_of
from cxr.images.png import read_recipe
from cxr.images.reading import read_levels
from cxr.request.errors import DataError
from cxr.request.events import GreyLevels
from cxr.request.limited_child import run_limited
from cxr.request.recipe import Recipe

MEMORY_BYTES, TIMEOUT_S = 512_000_000, 60.0
HEAD = struct.Struct(">II")  # bytes of the JSON before the pixels, and Bits Stored


def read_foreign(path: Path, label: str = "") -> tuple[GreyLevels, Recipe, int]:
    """Read a PNG or DICOM file of this program, or one that claims to be.

    Args:
        label: what messages about its pixels call it; its path if empty.
    Returns:
        [H, W] uint8 or uint16 as they are stored, the recipe, and the bits of the pixels.
    Raises:
        DataError: it carries no recipe, is not what that says, or needs too much memory or time.
    """
    is_png = not is_dicom(path)
    if is_png:
        _check_size(path, read_recipe(path), label or str(path))
    answer = run_limited(
        __name__,
        [str(path.absolute())],
        label=label or str(path),
        error=DataError,
        memory_bytes=MEMORY_BYTES,
        timeout_s=TIMEOUT_S,
        max_output_bytes=3 * MAX_PIXELS,
    )
    length, bits = HEAD.unpack_from(answer)
    facts = json.loads(answer[HEAD.size : HEAD.size + length])
    recipe = read_recipe(path) if is_png else Recipe.from_json(facts["recipe"])
    levels = np.frombuffer(answer[HEAD.size + length :], facts["dtype"]).reshape(facts["shape"])
    return levels, recipe, bits


def main(arguments: Sequence[str]) -> bytes:
    """What the child does with a path."""
    path = Path(arguments[0])
    if is_dicom(path):
        levels, recipe, bits = read_dicom(path)
    else:
        recipe = read_recipe(path)
        levels, bits = read_levels(path), recipe.bit_depth
    facts = json.dumps({"dtype": levels.dtype.str, "shape": levels.shape, "recipe": recipe.to_json()}).encode()
    return HEAD.pack(len(facts), bits) + facts + levels.tobytes()


def _check_size(path: Path, recipe: Recipe, label: str) -> None:
    """Compare a PNG's header with its recipe before anything is unpacked."""
    try:
        with open_regular(path) as file:
            width, height = struct.unpack(">II", file.read(24)[16:])
    except OSError as error:
        raise DataError(f"{label} cannot be read as a PNG: {reason_of(error)}") from error
    if (width, height) != (recipe.width, recipe.height) or width * height > MAX_PIXELS:
        raise DataError(
            f"{label} is {width:,} x {height:,} pixels, its recipe says {recipe.width:,} x {recipe.height:,}"
            + (f"; use at most {MAX_PIXELS:,} in all" if width * height > MAX_PIXELS else "")
        )
