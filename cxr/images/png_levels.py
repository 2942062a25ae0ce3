"""A PNG of a stranger -> its grey levels, decoded in a child process of little memory and time."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.images.pixels import to_8_bits
from cxr.request.errors import DataError
from cxr.request.limited_child import run_limited

MAX_SIDE = 2_048  # pixels
MEMORY_BYTES, TIMEOUT_S = 256 * 2**20, 60.0


def read_strange_png(path: Path) -> NDArray[np.uint8]:
    """Decode a PNG that may be anything as [H, W] uint8, 0 = black.

    Raises:
        DataError: it is no grey PNG, is larger than `MAX_SIDE`, or takes too much memory or time.
    """
    content = run_limited(
        __name__,
        [],
        label="the picture",
        error=DataError,
        memory_bytes=MEMORY_BYTES,
        timeout_s=TIMEOUT_S,
        max_output_bytes=MAX_SIDE**2 + 8,
        stdin=path.read_bytes(),
    )
    height, width = np.frombuffer(content[:8], "<u4")
    return np.frombuffer(content[8:], np.uint8).reshape(height, width)


def main(arguments: Sequence[str]) -> bytes:
    """In the child: standard input -> height and width, then the levels."""
    try:
        with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=["PNG"]) as image:
            if max(image.size) > MAX_SIDE or not image.mode.startswith(("L", "I")):
                raise DataError(f"is no grey picture of at most {MAX_SIDE:,} × {MAX_SIDE:,} pixels")
            pixels = np.asarray(image)
            levels = to_8_bits(pixels.astype(np.uint16) if image.mode.startswith("I") else pixels.astype(np.uint8))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError("cannot be decoded") from error
    return np.array(levels.shape, "<u4").tobytes() + levels.tobytes()
