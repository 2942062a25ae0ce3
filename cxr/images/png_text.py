"""A PNG that may be hostile -> one of its texts, in little memory. No pixel is decoded, and no image library is used.

Pillow's lazy open would decode no pixels either, but it unpacks every text and colour profile of the file and believes
chunks without looking at their checksums. The few lines here unpack the wanted text alone, up to a limit.

Source: PNG specification (third edition), 5 (structure of chunks) and 11.3.3 (tEXt, zTXt, iTXt).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk, with its checksum
MAX_CHUNKS = 4_096
MAX_TEXT_BYTES = 256_000  # as it stands in the file, and once it is unpacked
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
ANIMATION_CHUNKS = (b"acTL", b"fcTL", b"fdAT")
DAMAGED = "it is damaged, or more than a plain picture"
TOO_LONG = f"it carries a text of more than {MAX_TEXT_BYTES // 1_000} kB"


def read_text(file: BinaryIO, keyword: str) -> str | None:
    """Read one text of a PNG.

    Args:
        file: that can be searched; whatever it holds.
        keyword: of the text.
    Returns:
        None if the PNG has no such text.
    Raises:
        ValueError: it is not a PNG, is damaged, or holds that text twice or one that is too long; the message goes on
            after "the picture cannot be read as a PNG: ".
        OSError: the file cannot be read.
    """
    found = []
    for kind, content in _text_chunks(file):
        name, _, rest = content.partition(b"\0")
        if name == keyword.encode("latin-1"):
            found.append(_unpack(kind, rest))
    if len(found) > 1:
        raise ValueError(DAMAGED)
    return found[0] if found else None


def _text_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each text; everything else is passed over unread."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(len(PNG_SIGNATURE)) != PNG_SIGNATURE:
        raise ValueError("it is not a PNG")
    for number in range(MAX_CHUNKS):
        head = file.read(8)
        length, kind = int.from_bytes(head[:4]), head[4:]
        end = file.tell() + length + 4
        if len(head) < 8 or not kind.isalpha() or end > size or (kind == b"IHDR") != (number == 0):
            raise ValueError(DAMAGED)
        if kind in ANIMATION_CHUNKS:
            raise ValueError(DAMAGED)
        if kind in TEXT_CHUNKS:
            if length > MAX_TEXT_BYTES:
                raise ValueError(TOO_LONG)
            content = file.read(length)
            if zlib.crc32(kind + content) != int.from_bytes(file.read(4)):
                raise ValueError(DAMAGED)
            yield kind, content
        if kind == b"IEND":
            return
        file.seek(end)
    raise ValueError(DAMAGED)


def _unpack(kind: bytes, rest: bytes) -> str:
    """The text behind the keyword: Latin-1 in tEXt and zTXt, UTF-8 in iTXt."""
    if kind == b"tEXt":
        return rest.decode("latin-1")
    if kind == b"zTXt":
        method, text = rest[:1], rest[1:]
        return _inflate(text, method).decode("latin-1")
    # Compression flag and method, then language, translated keyword and text with a zero between them.
    is_packed, method, (*_, text) = rest[:1], rest[1:2], rest[2:].split(b"\0", 2)
    try:
        return (text if is_packed == b"\0" else _inflate(text, method)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(DAMAGED) from error


def _inflate(data: bytes, method: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data, MAX_TEXT_BYTES + 1)
    except zlib.error as error:
        raise ValueError(DAMAGED) from error
    if len(content) > MAX_TEXT_BYTES:
        raise ValueError(TOO_LONG)
    if method != b"\0" or not stream.eof:
        raise ValueError(DAMAGED)
    return content
