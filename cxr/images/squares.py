"""Files -> pixels for measuring, the same way for real and generated images.

A file that cannot be read is an error with its path: a stand-in image would be measured as if it were a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.images.reading import read_grey
from cxr.request.errors import DataError

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
READERS = 2


def find_images(folder: Path) -> list[Path]:
    """All image files of a folder and its subfolders, by name.

    Raises:
        DataError: the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; name one that holds images")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def read_squares(paths: Sequence[Path], size: int) -> NDArray[np.uint8]:
    """Read images as squares of one size, in the order of the paths.

    Args:
        paths: image files of any size; depths above 8 bits are scaled down by their format's own rule.
        size: side of the result in pixels.
    Returns:
        [N, size, size] uint8, 0 = black.
    Raises:
        DataError: a file cannot be read.
    """
    result = np.empty((len(paths), size, size), np.uint8)

    def read(index: int) -> None:
        result[index] = fit_square(read_grey(paths[index]), size)

    with ThreadPoolExecutor(READERS) as pool:  # Pillow decodes and resizes without holding Python's lock
        list(pool.map(read, range(len(paths))))
    return result


def fit_square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """One image [H, W] uint8 at [size, size]: its proportions kept, black beside it, no pixel skipped.

    Smaller by means of areas, larger by bicubic interpolation.
    """
    height, width = image.shape
    scale = size / max(height, width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    resized = np.asarray(Image.fromarray(image).resize(inner, how) if inner != (width, height) else image)
    square = np.zeros((size, size), np.uint8)
    top, left = (size - inner[1]) // 2, (size - inner[0]) // 2
    square[top : top + inner[1], left : left + inner[0]] = resized
    return square
