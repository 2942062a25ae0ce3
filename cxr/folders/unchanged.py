"""Written files, read again: refused when they are no longer what they were."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

from cxr.images.png_signature import unsigned_pieces
from cxr.request.errors import OutputError
from cxr.request.events import ExportedFile

CHUNK_BYTES = 1 << 20


def unchanged_chunks(file: ExportedFile) -> Iterator[bytes]:
    """Read a file piece by piece; whether it is unchanged shows after the last one.

    Yields:
        At most `CHUNK_BYTES` at a time; a PNG whole.
    Raises:
        OutputError: the file cannot be read, or its content is not that of its SHA-256.
    """
    digest = hashlib.sha256()
    try:
        with file.path.open("rb") as source:
            if file.path.suffix == ".png":  # whole: its C2PA manifest goes along, and is not part of the hash
                yield (content := source.read())
                pieces = unsigned_pieces(io.BytesIO(content))
                digest.update(b"".join(pieces))
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                yield chunk
    except OSError as error:
        raise _cannot_read(file, error) from error
    if digest.hexdigest() != file.sha256:
        raise OutputError(f"{file.path} has changed since it was written; make it again")


def unchanged_content(file: ExportedFile) -> bytes:
    """Read a whole file, for those that are small.

    Raises:
        OutputError: as `unchanged_chunks`.
    """
    return b"".join(unchanged_chunks(file))


def size_bytes(file: ExportedFile) -> int:
    """Size of a file.

    Raises:
        OutputError: it is gone.
    """
    try:
        return file.path.stat().st_size
    except OSError as error:
        raise _cannot_read(file, error) from error


def _cannot_read(file: ExportedFile, error: OSError) -> OutputError:
    return OutputError(f"cannot read {file.path}: {(error.strerror or str(error)).lower()}")
