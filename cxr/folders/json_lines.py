"""A file of JSON lines that only grows, each line safe on disk: a kill costs at most the line being written."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from cxr.images.atomic import cannot_write
from cxr.images.guarded import open_regular


def append_line(path: Path, line: bytes) -> None:
    """Add one line and bring it to disk; a line that does not fit is taken back.

    Raises:
        OutputError: the disk refused it.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            length = os.fstat(descriptor).st_size
            try:
                while line:
                    line = line[os.write(descriptor, line) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, length)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise cannot_write(path, error) from error


def complete_lines(path: Path) -> list[bytes]:
    """The lines of a file, without a last one that a power loss cut short; none if there is no file."""
    try:
        with open_regular(path) as file:
            *lines, tail = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    with contextlib.suppress(ValueError):  # cut short, or empty as it should be
        json.loads(tail)
        lines.append(tail)
    return lines
