"""A PNG with and without the chunk that holds its C2PA manifest: what is signed later stays the same image.

Hashes of images leave that chunk out, so that a set may be signed as its last step, and again, and no table changes.

Source: C2PA Technical Specification 2.1, A.3.2 (Embedding manifests into PNG: chunk type caBX).
"""

from __future__ import annotations

import collections
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cxr.images.guarded import open_regular
from cxr.images.png_text import PNG_SIGNATURE

SIGNATURE_CHUNK = b"caBX"
PIECE_BYTES = 1 << 20


def unsigned_pieces(file: BinaryIO) -> Iterator[bytes]:
    """Read a file piece by piece, without the manifest if it is a PNG.

    Args:
        file: at its beginning; whatever it holds.
    Yields:
        At most `PIECE_BYTES` at a time. From where a PNG's chunks make no sense on, everything.
    """
    yield (head := file.read(len(PNG_SIGNATURE)))
    is_sound = head == PNG_SIGNATURE
    while is_sound and (head := file.read(8)):
        length, kind = int.from_bytes(head[:4]), head[4:]
        is_sound = len(head) == 8 and kind.isalpha()
        pieces = itertools.chain([head], _read(file, length + 4 if is_sound else 0))
        if kind == SIGNATURE_CHUNK:
            collections.deque(pieces, maxlen=0)
        else:
            yield from pieces
    yield from _read(file, sys.maxsize)


def unsigned_size(path: Path) -> int:
    """Bytes of a file; of a PNG without its manifest.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return size - (sum(_manifest_sizes(file, size)) if file.read(len(PNG_SIGNATURE)) == PNG_SIGNATURE else 0)


def _manifest_sizes(file: BinaryIO, size: int) -> Iterator[int]:
    """Bytes of each chunk with a manifest, as far as a file of that size holds it; only heads of chunks are read."""
    while len(head := file.read(8)) == 8 and head[4:].isalpha():
        length = int.from_bytes(head[:4]) + 4
        if head[4:] == SIGNATURE_CHUNK:
            yield min(8 + length, size - file.tell() + 8)
        file.seek(length, os.SEEK_CUR)


def _read(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (piece := file.read(min(length, PIECE_BYTES))):
        length -= len(piece)
        yield piece
