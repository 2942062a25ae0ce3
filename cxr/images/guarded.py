"""Files that may be anything, opened only if they are regular: a pipe would block, a device might never end."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import warnings
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from cxr.request.errors import DataError

FOREIGN = "not a regular file"


def open_regular(path: Path, *, through_links: bool = True) -> BufferedReader:
    """Open a file for reading.

    Args:
        through_links: whether it may be a link to one.
    Raises:
        OSError: it cannot be opened, or is not a regular file; its strerror says so.
    """
    if path.exists() and not path.is_file():  # opening a device could already act
        raise OSError(errno.EINVAL, FOREIGN, str(path))
    # It may have been replaced by a pipe since; opening that must not wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | (0 if through_links else getattr(os, "O_NOFOLLOW", 0)))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, FOREIGN, str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, max_bytes: int, *, through_links: bool = True) -> bytes:
    """Read a whole file of at most ``max_bytes``.

    Raises:
        OSError: as `open_regular`, or it is larger.
    """
    with open_regular(path, through_links=through_links) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes / 1e6:g} MB", str(path))
    return data


def read_or_refuse(path: Path, max_bytes: int) -> bytes:
    """Read a whole file of at most ``max_bytes``, for a user who has named it.

    Raises:
        DataError: as `read_regular` refuses it, in one sentence.
    """
    try:
        return read_regular(path, max_bytes)
    except OSError as error:
        raise DataError(f"cannot be read: {reason_of(error)}", path=path) from error


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence image libraries' warnings for a while: what is wrong with a file is either an error here or ignored.

    Warning filters belong to the whole process, so this wraps threads and is never used inside one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reason_of(error: OSError) -> str:
    """Why the system refused a file, in its own words."""
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]
