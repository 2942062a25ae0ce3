"""Decode a PNG or JPEG that may be hostile. Runs in a child process only; `cxr.restore.picture_file` is the way in."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence

from PIL import Image, PngImagePlugin

from cxr.errors import DataError

MAX_TEXT_BYTES = 1_000_000  # of one text field, and of all, once they are unpacked
GREY_16 = ("I;16", "I;16B", "I")
UNREADABLE = "cannot be decoded; it is damaged"


def main(arguments: Sequence[str]) -> bytes:
    """Decode the picture on standard input.

    Args:
        arguments: "PNG" or "JPEG", width and height that the file's header tells, the keyword of the wanted text, and
            "pixels" if these are wanted too.
    Returns:
        A line of JSON with "bits" and "text" (null if there is none), then the grey pixels: one byte each, or two in
        little-endian order if "bits" is 16.
    Raises:
        DataError: the picture is damaged or not what its header says.
    """
    kind, width, height, keyword, *wanted = arguments
    # Set here, as this process reads one picture and ends.
    Image.MAX_IMAGE_PIXELS = int(width) * int(height)
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES
    try:
        with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=[kind]) as image:
            if image.size != (int(width), int(height)):
                raise DataError(UNREADABLE)
            image.load()
            text = image.info.get(keyword)
            is_deep = image.mode in GREY_16
            pixels = _grey(image, is_deep) if wanted else b""
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(UNREADABLE) from error
    # The text may also be an `iTXt`, a str with more attributes.
    facts = {"bits": 16 if is_deep else 8, "text": str(text) if isinstance(text, str) else None}
    return json.dumps(facts).encode() + b"\n" + pixels


def _grey(image: Image.Image, is_deep: bool) -> bytes:
    if is_deep:
        return image.convert("I;16").tobytes("raw", "I;16")
    return image.convert("L").tobytes()
