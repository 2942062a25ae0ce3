"""The seeds that were not taken, as a table beside the images, and how many images passed the gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cxr.folders.tables import csv_text, read_rows
from cxr.generate.planned_image import Rejection, rejection_of
from cxr.labels.radiograph import NO_FINDING
from cxr.request.errors import DataError

REJECTED_NAME = "rejected.csv"

Tried = tuple[tuple[str, ...] | None, Sequence[Rejection], bool]  # findings asked for, seeds rejected, whether made


def rejected_table(rejected: Mapping[int, Sequence[Rejection]]) -> bytes:
    """The table, by index of the image."""
    rows = ((index, one.seed, one.reason) for index in sorted(rejected) for one in rejected[index])
    return csv_text([("index", "seed", "reason"), *rows]).encode()


def read_rejected(path: Path) -> dict[int, tuple[Rejection, ...]]:
    """Read what `rejected_table` wrote; nothing where there is no table.

    Raises:
        DataError: it is damaged.
    """
    rejected: dict[int, tuple[Rejection, ...]] = {}
    for number, row in read_rows(path) if path.exists() else ():
        try:
            index, seed, reason = int(row["index"]), int(row["seed"]), row["reason"]
        except (KeyError, ValueError) as error:
            raise DataError(f"{path} line {number} is damaged or of another program") from error
        rejected[index] = (*rejected.get(index, ()), rejection_of(seed, reason))
    return rejected


def pass_rates(images: Iterable[Tried]) -> dict[str, float]:
    """Share of the images that passed the gate, by finding."""
    tried: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for findings, rejected, is_made in images:
        refused = sum(one.kind == "gate" for one in rejected)
        # The gate looks at nothing where a prompt says nothing about findings.
        for name in () if findings is None else findings or (NO_FINDING,):
            tried[name] += refused + is_made
            passed[name] += is_made
    return {name: round(passed[name] / tried[name], 4) for name in tried if tried[name]}
