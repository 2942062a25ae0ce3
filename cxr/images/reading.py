"""Image files -> grey levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.images.pixels import to_8_bits
from cxr.request.errors import DataError
from cxr.request.events import GreyLevels


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Decode one image file as [H, W] uint8, 0 = black; the upper bits of one that has 16.

    Raises:
        DataError: the file is missing or is no image.
    """
    return to_8_bits(read_levels(path))


def read_levels(path: Path) -> GreyLevels:
    """Decode one image file as [H, W] uint8 or, if it has 16 bits, uint16, 0 = black.

    Raises:
        DataError: the file is missing or is no image.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # pillow's own conversion of these to 8 bits cuts off instead of scaling
                return np.asarray(image).astype(np.uint16)
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error
