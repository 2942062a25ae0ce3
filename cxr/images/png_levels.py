"""A PNG of a stranger -> its grey levels, decoded in a child process of little memory and time."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.request.errors import DataError
from cxr.request.limited_child import run_limited

MAX_SIDE = 2_048  # pixels
HEAD_BYTES = 8
MEMORY_BYTES, TIMEOUT_S = 256 * 2**20, 60.0


def read_strange_png(path: Path) -> NDArray[np.uint8]:
    """Decode a PNG that may be anything as [H, W] uint8, 0 = black.

    Raises:
        DataError: it is no grey PNG, is larger than `MAX_SIDE`, or takes too much memory or time.
    """
    from cxr.images.pixels import to_8_bits  # it brings torch, which the child does without

    content = run_limited(
        __name__,
        [],
        label="the picture",
        error=DataError,
        memory_bytes=MEMORY_BYTES,
        timeout_s=TIMEOUT_S,
        max_output_bytes=2 * MAX_SIDE**2 + HEAD_BYTES,
        stdin=path.read_bytes(),
    )
    height, width = np.frombuffer(content[:HEAD_BYTES], "<u4")
    body = content[HEAD_BYTES:]
    is_8_bits = len(body) == int(height) * int(width)
    levels = np.frombuffer(body, np.uint8) if is_8_bits else np.frombuffer(body, "<u2").astype(np.uint16)
    return to_8_bits(levels.reshape(height, width))


def main(arguments: Sequence[str]) -> bytes:
    """In the child: standard input -> height and width, then the levels, one or two bytes each."""
    try:
        with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=["PNG"]) as image:
            if max(image.size) > MAX_SIDE or not image.mode.startswith(("L", "I")):
                raise DataError(f"is no grey picture of at most {MAX_SIDE:,} × {MAX_SIDE:,} pixels")
            levels = np.asarray(image).astype("<u2" if image.mode.startswith("I") else np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError("cannot be decoded") from error
    if levels.ndim != 2:
        raise DataError("has more than grey levels")
    return np.array(levels.shape, "<u4").tobytes() + levels.tobytes()
