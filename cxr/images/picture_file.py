"""A PNG or JPEG that somebody uploaded -> its recipe text. The one door for pictures of others.

The file is measured and its structure checked here, by a few lines that decode nothing. Only then a child process
with little memory and time decodes it.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxr.images.png import RECIPE_KEY
from cxr.request.errors import DataError
from cxr.request.limited_child import run_limited

MAX_FILE_BYTES = 5_000_000
MAX_PIXELS = 16_000_000
MAX_CHUNKS = 4_096
MAX_TEXT_CHUNK_BYTES = 256_000
DECODE_MEMORY_BYTES = 300 * 2**20
DECODE_TIME_S = 10.0
MAX_TEXT_BYTES = 8_000_000  # what a text of a million characters may take as JSON

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
# PNG specification, table 12: the bit depths of each colour type.
PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
# ITU-T T.81, table B.1: frames that Huffman-coded JPEG files have; the others are lossless or arithmetic.
JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
OTHER_JPEG_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
JPEG_START_OF_SCAN = 0xDA

DAMAGED = "it is damaged, or more than a plain picture"


@dataclass(frozen=True)
class Picture:
    """What was read: size in pixels, and the recipe's text if there is one."""

    width: int
    height: int
    recipe_text: str | None = None


@dataclass(frozen=True)
class Header:
    """What the structure of the file tells."""

    kind: str
    width: int
    height: int


def read_picture(path: Path, folder: Path) -> Picture:
    """Read an uploaded picture.

    Args:
        path: of the file.
        folder: that it has to lie in.
    Returns:
        A picture whose text is as long as it likes up to 1 MB, and unchecked.
    Raises:
        DataError: it is no regular file in the folder, too large, damaged, or not a PNG or JPEG. The message does not
            repeat the file's name.
    """
    data = _read_file(path, folder)
    header = read_header(data)
    arguments = [header.kind, str(header.width), str(header.height), RECIPE_KEY]
    result = run_limited(
        "cxr.images.picture_decode",
        arguments,
        label="the picture",
        error=DataError,
        memory_bytes=DECODE_MEMORY_BYTES,
        timeout_s=DECODE_TIME_S,
        max_output_bytes=MAX_TEXT_BYTES,
        stdin=data,
    )
    return Picture(header.width, header.height, json.loads(result))


def read_header(data: bytes) -> Header:
    """Check the structure of a picture and read its size, without decoding anything.

    Raises:
        DataError: it is not a plain PNG or JPEG, or larger than 16 million pixels.
    """
    if data.startswith(PNG_SIGNATURE):
        header = _read_png(data)
    elif data.startswith(JPEG_SIGNATURE):
        header = _read_jpeg(data)
    else:
        raise DataError("the file is no picture that can be read here; use a PNG or JPEG")
    if not (header.width and header.height):
        raise DataError(f"the picture cannot be read: {DAMAGED}")
    if header.width * header.height > MAX_PIXELS:
        most = MAX_PIXELS // 1_000_000
        raise DataError(f"the picture has {header.width:,} × {header.height:,} pixels; use at most {most} million")
    return header


def _read_file(path: Path, folder: Path) -> bytes:
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DataError("the picture is not an uploaded file")
        # Neither follows a link nor waits for the writer of a pipe.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DataError("the picture is not an uploaded file")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DataError(f"the picture cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise DataError(f"the picture has more than {MAX_FILE_BYTES // 1_000_000} MB; use a smaller file")
    return data


def _read_png(data: bytes) -> Header:
    chunks = _png_chunks(data)
    kind, content = next(chunks, (b"", b""))
    if kind != b"IHDR" or len(content) != 13:
        raise DataError(f"the picture cannot be read: {DAMAGED}")
    width, height = int.from_bytes(content[:4]), int.from_bytes(content[4:8])
    depth, colour, compression, filtering, interlace = content[8:]
    if depth not in PNG_DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise DataError(f"the picture cannot be read: {DAMAGED}")
    for number, (kind, content) in enumerate(chunks):
        if kind in (b"IHDR", b"acTL", b"fcTL", b"fdAT") or number > MAX_CHUNKS:
            raise DataError(f"the picture cannot be read: {DAMAGED}")
        if kind in TEXT_CHUNKS and len(content) > MAX_TEXT_CHUNK_BYTES:
            raise DataError(f"the picture carries a text of more than {MAX_TEXT_CHUNK_BYTES // 1_000} kB")
    return Header("PNG", width, height)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each chunk; the last one is IEND, at the end of the file."""
    position, kind = len(PNG_SIGNATURE), b""
    while position < len(data):
        size, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        end = position + 12 + size
        content = data[position + 8 : end - 4]
        is_whole = end <= len(data) and kind.isalpha()
        if not is_whole or zlib.crc32(kind + content) != int.from_bytes(data[end - 4 : end]):
            raise DataError(f"the picture cannot be read: {DAMAGED}")
        yield kind, content
        position = end
        if kind == b"IEND":
            break
    if kind != b"IEND" or position != len(data):
        raise DataError(f"the picture cannot be read: {DAMAGED}")


def _read_jpeg(data: bytes) -> Header:
    header: Header | None = None
    for marker, content in _jpeg_segments(data):
        if marker in OTHER_JPEG_FRAMES or (marker in JPEG_FRAMES and (header or len(content) < 6)):
            raise DataError(f"the picture cannot be read: {DAMAGED}")
        if marker in JPEG_FRAMES:
            header = Header("JPEG", int.from_bytes(content[3:5]), int.from_bytes(content[1:3]))
    if header is None or not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise DataError(f"the picture cannot be read: {DAMAGED}")
    return header


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment before the first scan."""
    position, marker = 2, 0
    while marker != JPEG_START_OF_SCAN:
        while data[position : position + 2] == b"\xff\xff":  # fill bytes
            position += 1
        head = data[position : position + 4].ljust(4, b"\0")
        marker, size = head[1], int.from_bytes(head[2:])
        end = position + 2 + size
        if head[0] != 0xFF or size < 2 or end > len(data):
            raise DataError(f"the picture cannot be read: {DAMAGED}")
        yield marker, data[position + 4 : end]
        position = end
