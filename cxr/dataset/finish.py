"""The end of a job, done by one process: what is missing or there twice is made, then the tables are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cxr.dataset.assemble import DUPLICATE, collect_rows, find_duplicates, find_rows, write_dataset
from cxr.dataset.job import JobFolder
from cxr.dataset.plan import Plan
from cxr.dataset.units import Unit
from cxr.dataset.worker import Worker


def finish(plan: Plan, folder: JobFolder, worker: Worker, units: Sequence[Unit]) -> dict[str, Any] | None:
    """See that nothing is missing, make duplicates again, write the rest.

    Args:
        plan: of the data set.
        folder: in which all processes have come to their ends.
        worker: of the process that does this.
        units: all of the plan.
    Returns:
        The manifest, or None when stopped before.
    Raises:
        CxrError: the disk or the model's memory does not suffice.
    """
    if worker.stop.is_set():
        return None
    rows = find_rows(units, folder.directory)
    if len(rows) < len(plan.images):  # a process was lost
        worker.run(units)
        if worker.stop.is_set():
            return None
        rows = collect_rows(units, folder.directory)
    while again := find_duplicates(rows):
        for index in again:
            _replace(folder, worker, units, rows[index])
        if worker.stop.is_set():
            return None
        rows = collect_rows(units, folder.directory)
    beginning = folder.beginning()
    assert beginning is not None
    manifest = write_dataset(plan, rows, folder.directory, beginning)
    folder.forget_work()
    return manifest


def _replace(folder: JobFolder, worker: Worker, units: Sequence[Unit], row: dict[str, Any]) -> None:
    """Make another image in place of a duplicate."""
    unit = next(unit for unit in units if unit.images[0].index <= row["index"] <= unit.images[-1].index)
    rejected = [*row["rejected"], {"seed": row["recipe"]["seed"], "reason": DUPLICATE}]
    worker.make_again(unit, row["index"], rejected)
    (folder.directory / row["file_name"]).unlink(missing_ok=True)
