"""The end of a job, done by one process: what is missing or there twice is made, then the tables are written."""

from __future__ import annotations

from collections.abc import Sequence

from cxr.dataset.dataset_folder import DatasetFolder
from cxr.dataset.plan import Plan
from cxr.dataset.reopen import remove_rejected
from cxr.dataset.set_tables import Outcomes, write_tables
from cxr.dataset.unit_log import UNIT_IMAGES, Outcome, Unit
from cxr.generate.planned_image import SEEN_BEFORE, Rejection
from cxr.generate.worker import Worker
from cxr.metrics.result import JsonObject
from cxr.request.errors import OutputError


def complete_dataset(plan: Plan, folder: DatasetFolder, worker: Worker, units: Sequence[Unit]) -> JsonObject | None:
    """Make what is missing, replace duplicates, write the rest.

    Args:
        folder: in which all processes have come to their ends.
        worker: of the process that does this.
        units: all of the plan.
    Returns:
        The manifest, or None when stopped before.
    Raises:
        CxrError: there is not enough room on the disk or in memory.
    """
    attempted = False
    while not worker.stop.is_set():
        # Every file is read for its hash.
        outcomes = {index: outcome for unit in units for index, outcome in unit.outcomes().items()}
        missing = len(plan.images) - len(outcomes)
        if missing and attempted:
            raise OutputError(f"{missing} images are missing in {folder.directory}; the same command continues")
        if missing:  # a process was lost
            worker.run(units)
            attempted = True
        elif duplicates := _find_duplicates(plan, outcomes):
            for outcome in duplicates:
                _replace(worker, units, outcome)
            attempted = True
        else:
            remove_rejected(folder.directory, plan.images, outcomes)
            manifest = write_tables(plan, outcomes, folder.directory, folder.begun)
            folder.forget_work()
            return manifest
    return None


def _find_duplicates(plan: Plan, outcomes: Outcomes) -> list[Outcome]:
    """Images that are pixel for pixel an earlier one; those of a pair may be, where the change changes nothing."""
    seen: set[str] = set()
    pairs = {image.index for image in plan.images if image.pair_role}
    found = []
    for index in sorted(outcomes):
        pixels = outcomes[index].pixel_sha256
        if pixels in seen and index not in pairs:
            found.append(outcomes[index])
        elif pixels:
            seen.add(pixels)
    return found


def _replace(worker: Worker, units: Sequence[Unit], outcome: Outcome) -> None:
    """Make another image in place of a duplicate."""
    unit = units[outcome.index // UNIT_IMAGES]
    image = unit.images[outcome.index % UNIT_IMAGES]
    rejection = Rejection(outcome.recipe["seed"], SEEN_BEFORE, "duplicate")
    worker.make_again(unit, image, (*outcome.rejected, rejection))
