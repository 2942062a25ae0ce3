"""A picture from anywhere that images are to begin from, and the mask that was painted over it.

Both may be anything, and are decoded in a child process of little memory and time.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.images.reading import read_grey
from cxr.images.squares import fit_square
from cxr.request.errors import DataError
from cxr.request.init_image import MAX_SIDE, InitImage, hash_of
from cxr.request.limited_child import run_limited
from cxr.request.mask_cells import CELLS, write_cells

MEMORY_BYTES, TIMEOUT_S = 1_000_000_000, 60.0
HEAD = struct.Struct(">II64s")  # width, height, SHA-256
PAINTED = 128  # grey levels from here on are painted
NOT_ALIKE = 0.02  # difference of proportions that rounding cannot explain


def read_init_picture(path: Path, label: str = "the picture") -> InitImage:
    """Read a picture that images are to begin from.

    Args:
        path: PNG, JPEG, DICOM, or what else ``read_grey`` reads.
        label: what messages call it; a third party's file is not called by its name.
    Raises:
        DataError: it is not a picture, or needs too much memory or time.
    """
    width, height, sha256, levels = _read(path, label, "picture")
    return InitImage(width, height, levels, sha256.decode())


def read_mask(path: Path, picture: InitImage, label: str = "the mask") -> str:
    """Read the region that is painted white in a mask of a picture, snapped to cells: all that the paint touches.

    Args:
        path: as for `read_init_picture`.
        picture: that the mask lies over.
        label: what messages call it.
    Returns:
        As `cxr.request.mask_cells` writes cells.
    Raises:
        DataError: it is not a picture, has other proportions, or nothing is painted.
    """
    width, height, _, cells = _read(path, label, "mask")
    if abs(width * picture.height / (height * picture.width) - 1) > NOT_ALIKE:
        raise DataError(
            f"{label} is {width:,} × {height:,} pixels, the picture has other proportions; paint it over the picture"
        )
    painted = np.frombuffer(cells, np.uint8).reshape(CELLS, CELLS)
    if not painted.any():
        raise DataError(f"{label} holds nothing that is painted; paint the region white on black")
    return write_cells([(int(row), int(column)) for row, column in np.argwhere(painted)])


def _read(path: Path, label: str, kind: str) -> tuple[int, int, bytes, bytes]:
    answer = run_limited(
        __name__,
        [str(path.absolute()), kind],
        label=label,
        error=DataError,
        memory_bytes=MEMORY_BYTES,
        timeout_s=TIMEOUT_S,
        max_output_bytes=HEAD.size + MAX_SIDE**2,
    )
    return *HEAD.unpack_from(answer), answer[HEAD.size :]


def main(arguments: Sequence[str]) -> bytes:
    """What the child does with a path and "picture" or "mask"."""
    path, kind = Path(arguments[0]), arguments[1]
    pixels = read_grey(path)
    if not pixels.size:
        raise DataError("has no pixels")
    shown = painted_cells(pixels) if kind == "mask" else _fitted(pixels)
    height, width = pixels.shape if kind == "mask" else shown.shape
    return HEAD.pack(width, height, hash_of(pixels).encode()) + shown.tobytes()


def painted_cells(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Which cells a mask [H, W] touches, [`CELLS`, `CELLS`] of 0 and 1; it lies in its square as the picture does."""
    side = max(mask.shape)
    places = np.argwhere(mask >= PAINTED) + [(side - length) // 2 for length in mask.shape]
    cells = np.zeros((CELLS, CELLS), np.uint8)
    rows, columns = (places * CELLS // side).T
    cells[rows, columns] = 1
    return cells


def _fitted(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture, or a square copy of it where it is larger than what is kept."""
    return pixels if max(pixels.shape) <= MAX_SIDE else fit_square(pixels, MAX_SIDE)
