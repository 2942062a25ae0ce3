"""What human readers saw on radiographs: it measures judges beside the labels that they learn from, and trains none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cxr.folders.table_columns import columns_of
from cxr.folders.tables import read_header, read_rows
from cxr.labels.radiograph import Radiograph
from cxr.labels.vocabulary import FINDINGS
from cxr.request.errors import DataError

VOTES = re.compile(r"votes_of_(\d+)")  # a column: how many of so many readers saw what, as "Mass:2|Nodule:3"


def read_majorities(table: Path) -> dict[str, tuple[str, ...]]:
    """What more than half of the readers saw on each image.

    Args:
        table: with a column of file names and one named as `VOTES` says; an empty cell is an image not read. What is
            none of `FINDINGS` is left out: readers may have been asked about more than judges know.
    Returns:
        File name without suffix -> findings.
    Raises:
        DataError: the table lacks these columns, or a cell is not of its kind.
    """
    header = read_header(table)
    votes = next((found for name in header if (found := VOTES.fullmatch(name))), None)
    names = columns_of(header).get("file_name")
    if votes is None or names is None:
        raise DataError(
            f"{table} needs a column file_name and one of votes, as votes_of_5 with cells like Mass:2|Nodule:3"
        )
    majorities = {}
    for number, row in read_rows(table):
        if not row or not (cell := str(row[votes[0]] or "").strip()):
            continue
        try:
            majorities[Path(str(row[names])).stem] = _majority(cell, int(votes[1]))
        except ValueError as error:
            raise DataError(f"{table} line {number}: {error}") from error
    return majorities


def read_by(records: Sequence[Radiograph], majorities: Mapping[str, tuple[str, ...]]) -> dict[int, Radiograph]:
    """Of some records those that people have read, with what they saw in place of the labels, by their place."""
    return {
        place: replace(record, findings=majorities[record.path.stem], sides=(), unknown=())
        for place, record in enumerate(records)
        if record.path.stem in majorities
    }


def _majority(cell: str, num_readers: int) -> tuple[str, ...]:
    counts = {}
    for part in cell.split("|"):
        name, _, count = part.partition(":")
        if not count.strip().isdecimal() or not 0 <= int(count) <= num_readers:
            raise ValueError(f"votes {part[:60]!r} are not a finding, a colon and a number from 0 to {num_readers}")
        counts[name.strip().replace(" ", "_")] = int(count)
    return tuple(name for name in FINDINGS if 2 * counts.get(name, 0) > num_readers)
