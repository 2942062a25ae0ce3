"""Small pictures as addresses that hold them: no other visitor can see them, and no file has to be kept."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.images.png import data_uri, plain_png


def data_address(pixels: NDArray[np.uint8], max_side: int | None = None) -> str:
    """A picture [H, W] as a ``data:`` address: PNG as it is, or WebP of at most ``max_side`` pixels a side."""
    if max_side is None:
        return data_uri(plain_png(pixels))
    picture, buffer = Image.fromarray(pixels), io.BytesIO()
    picture.thumbnail((max_side, max_side))
    picture.save(buffer, "WEBP", quality=80)
    return data_uri(buffer.getvalue(), "webp")
