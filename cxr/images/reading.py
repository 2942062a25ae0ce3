"""Image files from anywhere -> grey levels: read correctly, or refused with the reason; never a stand-in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from cxr.images.dicom_pixels import is_dicom, read_dicom_grey, read_dicom_size
from cxr.images.guarded import open_regular, quiet_libraries, reason_of
from cxr.images.pixels import bits_of, to_8_bits
from cxr.images.png import RECIPE_KEY
from cxr.request.errors import DataError
from cxr.request.events import GreyLevels

PHOTOMETRIC = 262  # the tag of TIFF
FEWEST_LEVELS = 16  # a picture of floats that end between 1 and this is on a scale that is not known
MAX_PIXELS = 64_000_000  # four times the largest detector's


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Decode one image file, DICOM included, as [H, W] uint8, 0 = black, the way up that it says.

    Of 16-bit files those of other programs often hold 10, 12 or 14 bits; their brightest level shows it.

    Raises:
        DataError: the file is missing, is not an image, or has more than `MAX_PIXELS`, several pages, or values that
            are not grey levels.
    """
    with quiet_libraries():
        return decode_grey(path)


def decode_grey(path: Path) -> NDArray[np.uint8]:
    """As `read_grey`, for threads: whoever starts them keeps the libraries quiet.

    Raises:
        DataError: as `read_grey`.
    """
    if is_dicom(path):
        return read_dicom_grey(path, MAX_PIXELS)
    pixels, is_ours = _decode(path)
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    bits = 16 if is_ours else bits_of(pixels)
    return to_8_bits(pixels) if bits == 16 else (pixels / ((2**bits - 1) / 255)).round().astype(np.uint8)


def read_levels(path: Path) -> GreyLevels:
    """Decode one image file as [H, W] uint8 or, if it has 16 bits, uint16, 0 = black.

    Raises:
        DataError: as `read_grey`; a DICOM file is no such image.
    """
    with quiet_libraries():
        return _decode(path)[0]


def read_size(path: Path) -> tuple[int, int]:
    """Width and height as the header says, DICOM included; nothing is decoded, nor turned the right way up.

    Raises:
        DataError: the file is missing or no image.
    """
    if is_dicom(path):
        return read_dicom_size(path)
    with quiet_libraries(), _opened(path) as image:
        return image.size


def _decode(path: Path) -> tuple[GreyLevels, bool]:
    """Levels, and whether this program has written them."""
    with _opened(path) as image:
        _check(image)
        white_is_zero = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0
        is_cut = ";16" in str(image.tile)  # colours of 16 bits: Pillow keeps the upper 8
        levels = _levels(ImageOps.exif_transpose(image), white_is_zero)
        if is_cut and levels.dtype == np.uint8 and levels.max(initial=0) < 64:
            raise DataError("its colours fill less than 15 of their 16 bits; save it as grey levels")
        return levels, RECIPE_KEY in image.info


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Wraps all that is done with an image, whose decoders may raise anything."""
    try:
        with open_regular(path) as file, Image.open(file) as image:
            yield image
    except (DataError, Image.DecompressionBombError) as error:
        reason = str(error) if isinstance(error, DataError) else f"it has more than {MAX_PIXELS:,} pixels"
        raise DataError(f"cannot be read as an image: {reason}", path=path) from error
    except OSError as error:
        known = "of a kind that is not supported" if isinstance(error, UnidentifiedImageError) else reason_of(error)
        raise DataError(f"cannot be read as an image: {known}", path=path) from error
    # Pillow's decoders raise what their formats happen to raise.
    except (AttributeError, EOFError, LookupError, MemoryError, SyntaxError, TypeError, ValueError) as error:
        raise DataError(f"cannot be read as an image: {error}", path=path) from error


def _check(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"it is {image.width:,} x {image.height:,} pixels; use at most {MAX_PIXELS:,} in all")
    if (pages := getattr(image, "n_frames", 1)) > 1:
        raise DataError(f"it holds {pages} pictures; save each as a file of its own")


def _levels(image: Image.Image, white_is_zero: bool) -> GreyLevels:
    # Pillow's own conversion of these modes to 8 bits cuts off instead of scaling.
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        if levels.size and (levels.min() < 0 or levels.max() >= 2**16):
            raise DataError("its values are not 0 to 65,535; save it with 16 bits")
        levels = levels.astype(np.uint16)
        # Of 8 bits Pillow turns it round itself.
        return (2 ** bits_of(levels) - 1 - levels).astype(np.uint16) if white_is_zero else levels
    if image.mode == "F":
        return _from_floats(np.asarray(image))
    return np.asarray(image.convert("L"))


def _from_floats(values: NDArray[np.float32]) -> GreyLevels:
    """Floats from 0 to 1, or whole grey levels of at most 16 bits, as programs for science save them."""
    high = values.max(initial=0)
    if not np.isfinite(values).all() or values.min(initial=0) < 0 or high >= 2**16 or 1 < high < FEWEST_LEVELS:
        raise DataError("its values are not from 0 to 1 or grey levels from 0 to 65,535; save it with 8 or 16 bits")
    if high <= 1:  # as they are: of 16 bits the fewest that hold the brightest level would count
        return (values * 255).round().astype(np.uint8)
    return values.clip(0, 255).round().astype(np.uint8) if high < 256 else values.round().astype(np.uint16)
