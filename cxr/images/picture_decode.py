"""Decode a PNG or JPEG that may be hostile. Runs in a child process only; `cxr.images.picture_file` is the way in."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence

from PIL import Image, PngImagePlugin

from cxr.request.errors import DataError

MAX_TEXT_BYTES = 1_000_000  # of one text field, and of all, once they are unpacked
UNREADABLE = "cannot be decoded; it is damaged"


def main(arguments: Sequence[str]) -> bytes:
    """Decode the picture on standard input.

    Args:
        arguments: "PNG" or "JPEG", width and height that the file's header tells, and the keyword of the wanted text.
    Returns:
        JSON: the text, or null if there is none.
    Raises:
        DataError: the picture is damaged or not what its header says.
    """
    kind, width, height, keyword = arguments
    # Set here, as this process reads one picture and ends.
    Image.MAX_IMAGE_PIXELS = int(width) * int(height)
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES
    try:
        with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=[kind]) as image:
            if image.size != (int(width), int(height)):
                raise DataError(UNREADABLE)
            image.load()
            text = image.info.get(keyword)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(UNREADABLE) from error
    # The text may also be an `iTXt`, a str with more attributes.
    return json.dumps(str(text) if isinstance(text, str) else None).encode()
