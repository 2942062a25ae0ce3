"""Units of work: a few neighbouring images each, claimed by one process at a time and remembered line by line.

A claim is a lock that the system drops when its process ends, however it ends: nothing has to be cleaned up after a
kill. What a unit's log tells is finished stays finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr.dataset.plan import PlannedImage
from cxr.folders.metadata import file_sha256
from cxr.folders.rows import append_line, complete_lines
from cxr.images.atomic import cannot_write
from cxr.request.errors import OutputError

if sys.platform != "win32":
    import fcntl

UNIT_IMAGES = 16  # at 3.5 s an image, slow for a laptop, just under a minute
CHECK_CHARACTERS = 16


@dataclass(frozen=True)
class Unit:
    """Images ``first`` to ``first + len(images)`` of a data set.

    Args:
        number: from 0.
        images: what the plan asks for.
        log: its lines, one for each finished image.
    """

    number: int
    images: tuple[PlannedImage, ...]
    log: Path


def units_of(images: Sequence[PlannedImage], folder: Path) -> list[Unit]:
    """Cut a plan into units; their logs lie in ``folder``."""
    starts = range(0, len(images), UNIT_IMAGES)
    return [
        Unit(number, tuple(images[start : start + UNIT_IMAGES]), folder / f"{number:06d}.jsonl")
        for number, start in enumerate(starts)
    ]


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold a file for this process, made if it is not there; False if another process holds it.

    Raises:
        OutputError: the disk refused it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)  # and with it the lock


def add_row(unit: Unit, row: dict[str, Any]) -> None:
    """Remember one finished image; the line carries its own checksum.

    Raises:
        OutputError: the disk refused it.
    """
    text = json.dumps(row, sort_keys=True, ensure_ascii=False)
    append_line(
        unit.log, json.dumps({"check": _check(text), "row": row}, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    )


def finished_rows(unit: Unit, directory: Path) -> dict[int, dict[str, Any]]:
    """What is finished, by index: rows whose line is whole and whose file is there, unchanged.

    Raises:
        OutputError: a file cannot be read.
    """
    rows = {}
    for line in complete_lines(unit.log):
        row = _parse(line)
        if row is not None and _is_there(row, directory):
            rows[int(row["index"])] = row
    return rows


def count_rows(units: Sequence[Unit]) -> dict[str, int]:
    """What the logs tell: images that are finished and failed, and seeds that were rejected. The files are not read."""
    counts = {"finished": 0, "failed": 0, "rejected": 0}
    for unit in units:
        rows = {int(row["index"]): row for row in map(_parse, complete_lines(unit.log)) if row is not None}
        for row in rows.values():
            add_counts(counts, row)
    return counts


def add_counts(counts: dict[str, int], row: Mapping[str, Any]) -> None:
    """Count one image that is finished or given up on."""
    counts["finished" if row["file_name"] else "failed"] += 1
    counts["rejected"] += len(row["rejected"])


def _is_there(row: dict[str, Any], directory: Path) -> bool:
    if row["file_name"] is None:
        return True  # given up on, after all its seeds
    path = directory / row["file_name"]
    try:
        return path.is_file() and file_sha256(path) == row["sha256"]
    except OSError as error:
        raise OutputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
        row = entry["row"]
        whole = entry["check"] == _check(json.dumps(row, sort_keys=True, ensure_ascii=False))
    except (ValueError, TypeError, KeyError):
        return None
    return row if whole else None


def _check(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:CHECK_CHARACTERS]


def _lock(descriptor: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # some network file systems cannot lock; then units are only divided by process
    return True
