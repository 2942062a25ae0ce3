"""Small pictures as addresses that hold them: nobody else gets to see them, and no file is needed a moment later."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def data_address(pixels: NDArray[np.uint8], max_side: int | None = None) -> str:
    """A picture [H, W] as a ``data:`` address: PNG as it is, or WebP of at most ``max_side`` pixels a side."""
    picture, buffer = Image.fromarray(pixels), io.BytesIO()
    if max_side is None:
        picture.save(buffer, "PNG")
    else:
        picture.thumbnail((max_side, max_side))
        picture.save(buffer, "WEBP", quality=80)
    kind = "png" if max_side is None else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
