"""Which data set is to be made, and what is known about it so far."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from cxr.dataset.plan import Plan
from cxr.request.settings import DATASET_OPTIONS
from cxr.web.jobs.job import Facts, Job
from cxr.web.server.temporary import new_job_folder, sweep, temp_root

if TYPE_CHECKING:
    from cxr.generate.progress import JobProgress

DEFAULT_MAX_ATTEMPTS: int = DATASET_OPTIONS["max_attempts"].default

Stage = Literal["loading", "running", "waiting", "stopped", "finished"]


@dataclass(frozen=True)
class DatasetOrder:
    """What data set is to be made, and where.

    Args:
        gate: whether images that do not show what was asked are made again.
        max_attempts: seeds that an image may take.
        folder: of this job alone; what is finished lies there.
        seconds: that earlier jobs have spent on it.
        is_kept: whether what is finished stays in the folder, so that another job can continue it.
    """

    plan: Plan
    gate: bool
    max_attempts: int
    folder: Path
    seconds: float = 0.0
    is_kept: bool = True

    def is_for(self, plan: Plan, gate: object) -> bool:
        """Whether both make the same data set, so that a job can continue the other's."""
        wanted = plan.sha256, gate, DEFAULT_MAX_ATTEMPTS
        return (self.plan.sha256, self.gate, self.max_attempts) == wanted and self.folder.is_dir()


@dataclass(frozen=True)
class DatasetState:
    """What is known about a data set so far; the picture of samples and the facts are there at its end.

    Args:
        stage: how far it is.
        progress: of the images; None before the first.
        seconds: that have been spent on it.
        newest: images that were finished last, the newest first.
        num_read: finished images of which it is known what a small network sees; None before all are finished.
        archive: the ZIP: of the data set, or of what was finished when it was stopped.
        samples: a picture of some of the images.
        facts: the part of the result that is not a file, for programs.
    """

    stage: Stage
    total: int
    progress: JobProgress | None = None
    seconds: float = 0.0
    newest: tuple[Path, ...] = ()
    num_read: int | None = None
    archive: Path | None = None
    samples: Path | None = None
    facts: Facts | None = None


DatasetJob: TypeAlias = Job[DatasetOrder, DatasetState]


def new_order(
    plan: Plan, gate: object, max_attempts: object = DEFAULT_MAX_ATTEMPTS, *, is_kept: bool = True
) -> DatasetOrder:
    """Make the folder of a new data set, and remove folders that have long been idle.

    Raises:
        CxrError: a value is not allowed, or the disk refused the folder.
    """
    values = {
        name: DATASET_OPTIONS[name].check(value) for name, value in (("gate", gate), ("max_attempts", max_attempts))
    }
    sweep(temp_root())
    return DatasetOrder(plan, **values, folder=new_job_folder("datasets"), is_kept=is_kept)
