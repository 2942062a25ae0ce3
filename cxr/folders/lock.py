"""Locks on files and folders that the system drops when their process ends, however it ends: nothing is left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxr.images.atomic import cannot_write

if sys.platform != "win32":
    import fcntl


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a folder, or a file that is made if it is not there.

    Yields:
        Whether it is held; False if another process holds it. On Windows and on network file systems that cannot lock
        it is True, and nothing guards against a second process.
    Raises:
        OutputError: the disk refused it.
    """
    if sys.platform == "win32":
        yield True
        return
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)  # and with it the lock


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system that cannot lock
    return True
