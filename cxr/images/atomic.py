"""Files that are either whole or not there: written beside their place, brought to disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cxr.images.guarded import FOREIGN, reason_of
from cxr.request.errors import OutputError

PARTIAL_SUFFIX = ".partial"


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that appears under its name only once it is complete and safe on disk.

    Args:
        path: where the finished file goes; an older file of that name is replaced in one step.
    Yields:
        The file to write into.
    Raises:
        OutputError: the disk is full, the folder is read-only or gone, another run writes the same file, or the path is
            a pipe or a device, which no file replaces; nothing partly written is left behind.
    """
    # A fixed name: what a killed run left behind is replaced by the next one instead of piling up.
    partial, is_ours = path.with_name(f".{path.name}{PARTIAL_SUFFIX}"), True
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OSError(errno.EINVAL, FOREIGN)
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:  # x: never through a link that someone else has put there
            yield file
            file.flush()
            os.fsync(file.fileno())
            is_ours = not partial.exists() or os.path.samestat(os.fstat(file.fileno()), partial.stat())
        if not is_ours:
            raise OutputError(f"another run is writing {path}; wait until that has ended, or name another file")
        partial.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            if is_ours:
                partial.unlink()
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as `atomic_file` does, and make its folder if it is not there.

    Raises:
        OutputError: the disk refused it.
    """
    make_folder(path.parent)
    with atomic_file(path) as file:
        file.write(content)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if they are not there.

    Raises:
        OutputError: the disk refused it, or a file is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def sync_folder(directory: Path) -> None:
    """Bring a folder's list of names to disk, so that a rename survives a power loss."""
    if os.name != "posix":
        return  # Windows cannot open a folder as a file
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The one line for a user whose disk refused ``path``."""
    reason = reason_of(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return OutputError(f"cannot write {path}: {reason}; free some space and run it again, finished files are kept")
    return OutputError(f"cannot write {path}: {reason}; choose a folder that you may write to")
