"""Written files, read again: refused when they are no longer what they were."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from cxr.folders.metadata import file_sha256
from cxr.images.guarded import reason_of
from cxr.request.errors import OutputError
from cxr.request.events import ExportedFile

CHUNK_BYTES = 1 << 20


def unchanged_chunks(file: ExportedFile) -> Iterator[bytes]:
    """Read a file piece by piece; whether it is unchanged shows after the last one.

    Yields:
        At most `CHUNK_BYTES` at a time.
    Raises:
        OutputError: the file cannot be read, or its content is not that of its SHA-256.
    """
    digest = hashlib.sha256()
    try:
        with file.path.open("rb") as source:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                yield chunk
        # A C2PA manifest is part of its PNG but not of the hash, so a signed file is read twice.
        is_unchanged = digest.hexdigest() == file.sha256 or file_sha256(file.path) == file.sha256
    except OSError as error:
        raise _cannot_read(file, error) from error
    if not is_unchanged:
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
    return OutputError(f"cannot read {file.path}: {reason_of(error)}")
