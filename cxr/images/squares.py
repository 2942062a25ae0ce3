"""Files -> pixels for measuring, the same way for real and generated images.

A file that cannot be read is an error with its path: a stand-in image would be measured as if it were a result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.images.dicom_pixels import is_dicom
from cxr.images.guarded import quiet_libraries, reason_of
from cxr.images.reading import decode_grey
from cxr.request.errors import DataError

SUFFIXES = {
    *(
        ".bmp",
        ".dcm",
        ".dic",
        ".dicom",
        ".gif",
        ".ima",
        ".jfif",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
    ),
    *(".tif", ".tiff", ".webp"),
}
UNREAD_SUFFIXES = {".avif", ".heic", ".heif", ".mha", ".mhd", ".nii", ".nrrd"}
READERS = 2


def find_images(folder: Path) -> list[Path]:
    """All image files of a folder and its subfolders, linked ones included, by name; hidden ones are left out.

    Raises:
        DataError: the folder is missing or holds no image, or one is a link to nothing or of a kind that is not read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; name one that holds images")
    files = sorted(walk_files(folder))
    if lost := next((path for path in files if path.suffix.lower() in SUFFIXES and not path.exists()), None):
        raise DataError(f"{lost} is a link to a file that is not there; mend it or take it away")
    if unread := next((path for path in files if path.suffix.lower() in UNREAD_SUFFIXES), None):
        raise DataError(f"{unread} is of a kind that is not read; save it as PNG or DICOM, or take it away")
    found = [path for path in files if is_image(path)]
    if not found:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def is_image(path: Path) -> bool:
    """Whether a regular file looks like an image; DICOM files need no suffix."""
    return path.is_file() and (path.suffix.lower() in SUFFIXES or is_dicom(path))


def walk_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder that is not hidden, each linked folder gone through once.

    Raises:
        DataError: a folder cannot be looked into.
    """
    seen = set()
    for place, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read: {reason_of(error)}") from error


def read_squares(paths: Sequence[Path], size: int, *, fill: bool = False) -> NDArray[np.uint8]:
    """Read images as squares of one size, in the order of the paths.

    Args:
        paths: image files of any size and depth, as `read_grey` takes them.
        size: side of the result in pixels.
        fill: show the middle square of an image, in place of all of it with black beside it.
    Returns:
        [N, size, size] uint8, 0 = black.
    Raises:
        DataError: a file cannot be read.
    """
    result = np.empty((len(paths), size, size), np.uint8)

    def read(index: int) -> None:
        image = decode_grey(paths[index])
        result[index] = fit_square(middle_square(image) if fill else image, size)

    # Pillow decodes and resizes without holding Python's lock.
    with quiet_libraries(), ThreadPoolExecutor(READERS) as pool:
        list(pool.map(read, range(len(paths))))
    return result


def middle_square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest square around the middle of an image [H, W] uint8."""
    side = min(image.shape)
    top, left = ((length - side) // 2 for length in image.shape)
    return image[top : top + side, left : left + side]


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
