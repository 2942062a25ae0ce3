"""One data set from its plan to the ZIP, told step by step and made in turns. Knows nothing of widgets."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cxr.dataset.plan import Plan
from cxr.request.errors import CxrError, RequestError
from cxr.request.recipe import SYNTHETIC_NOTICE
from cxr.web.jobs import new_run_folder, temp_root
from cxr.web.model_choice import ModelChoice, load_model_for

if TYPE_CHECKING:
    from cxr.generate.progress import JobProgress

MAX_ATTEMPTS = 4
MOST_ATTEMPTS = 100
TURN_S = 20.0  # a job that others wait for ends its turn after this time and goes to the end of the queue
LIFETIME_S = 3600.0
KIND = "datasets"  # name of the folder of their folders
COUNTED = ("findings", "sex", "view", "split")

Stage = Literal["loading", "running", "waiting", "stopped", "finished"]


@dataclass
class DatasetJob:
    """A data set of one visitor and the wish to end it; lives in the visitor's session.

    Args:
        plan: what to make.
        gate: whether images that do not show what was asked are made again.
        max_attempts: seeds that an image may take.
        folder: of this job alone; what is finished lies there.
    """

    plan: Plan
    gate: bool
    max_attempts: int
    folder: Path
    stop: threading.Event = field(default_factory=threading.Event)
    halt: threading.Event = field(default_factory=threading.Event)  # ends the turn, not the job
    due: bool = True  # whether the next turn may begin
    running: bool = False
    crashed: bool = False
    last_state: DatasetState | None = None
    seconds: float = 0.0

    def is_for(self, plan: Plan, gate: bool, max_attempts: int) -> bool:
        """Whether it makes the same, so that it can be gone on with."""
        wanted = plan.sha256, gate, max_attempts
        return (self.plan.sha256, self.gate, self.max_attempts) == wanted and self.folder.is_dir()

    def end(self) -> None:
        """Ask it to end within one denoising step."""
        self.stop.set()
        self.halt.set()


@dataclass(frozen=True)
class DatasetState:
    """What is known about a job so far; the ZIP, the picture of samples and the facts are there at its end."""

    stage: Stage
    total: int
    progress: JobProgress | None = None
    archive: Path | None = None
    samples: Path | None = None
    facts: dict[str, Any] | None = None


def new_job(plan: Plan, gate: object, max_attempts: object = MAX_ATTEMPTS) -> DatasetJob:
    """Make a job with a folder of its own, and remove the folders of jobs that are over for long.

    Raises:
        CxrError: a value is not allowed, or the disk refused the folder.
    """
    if not isinstance(gate, bool):
        raise RequestError(f"gate is {gate!r}; use true or false")
    if isinstance(max_attempts, bool) or max_attempts not in range(1, MOST_ATTEMPTS + 1):
        raise RequestError(f"max_attempts is {max_attempts!r}; use a whole number from 1 to {MOST_ATTEMPTS}")
    remove_old_folders()
    return DatasetJob(plan, gate, int(str(max_attempts)), new_run_folder(KIND))


def remove_old_folders() -> None:
    """Remove the data sets that nothing has happened to for `LIFETIME_S`; gradio only knows what was on the page."""
    oldest_s = time.time() - LIFETIME_S
    for folder in (temp_root() / KIND).glob("*"):
        with contextlib.suppress(OSError):
            if max(path.lstat().st_mtime for path in (folder, *folder.rglob("*"))) < oldest_s:
                shutil.rmtree(folder)


def run_turn(
    job: DatasetJob, choice: ModelChoice, is_waited_for: Callable[[], bool] = lambda: False
) -> Generator[DatasetState, None, None]:
    """Go on with a data set until it is finished or stopped, or others have waited for the model long enough.

    Args:
        job: what to make; its folder holds what an earlier turn has made.
        choice: which model makes it.
        is_waited_for: whether somebody waits for the model.
    Yields:
        The state about twice a second; the last one is "finished", "stopped" or "waiting", for the next turn.
    Raises:
        CxrError: no model, no space, or not one image came out.
    """
    if job.last_state is None:
        yield DatasetState("loading", len(job.plan.images))
    try:
        yield from _run_turn(job, choice, is_waited_for)
    except CxrError as error:
        # The folders of this machine are nobody's business.
        raise type(error)(str(error).replace(str(job.folder), "the folder of the job")) from error


def _run_turn(
    job: DatasetJob, choice: ModelChoice, is_waited_for: Callable[[], bool]
) -> Generator[DatasetState, None, None]:
    from cxr.dataset.make import Options, iterate_dataset  # torch takes seconds to import

    model = load_model_for(choice)
    job.halt.clear()
    if job.stop.is_set():
        job.halt.set()
    options = Options(gate=job.gate, max_attempts=job.max_attempts)
    began = time.monotonic()
    state = DatasetState("running", len(job.plan.images))
    with contextlib.closing(iterate_dataset(job.plan, job.folder / "set", model, options, job.halt)) as steps:
        for progress in steps:
            state = replace(state, progress=progress)
            if progress.stage != "running":
                break
            yield state
            if time.monotonic() - began > TURN_S and is_waited_for():
                job.halt.set()
    assert state.progress is not None
    job.seconds += state.progress.elapsed_s
    if state.progress.stage == "finished":
        yield _packed(job, state, model.info.model, model.info.adapter)
    else:
        yield replace(state, stage="stopped" if job.stop.is_set() else "waiting")


def _packed(job: DatasetJob, state: DatasetState, model: str, adapter: str) -> DatasetState:
    """Pack what is finished; the name of the ZIP holds numbers only."""
    from cxr.dataset.convert import convert
    from cxr.request.errors import GenerationError

    manifest = state.progress.manifest if state.progress else None
    assert manifest is not None
    if not manifest["num_images"]:
        raise GenerationError("not one image came out; try other settings, or without the gate")
    name = f"dataset_{manifest['num_images']}_{job.plan.sha256[:8]}.zip"
    (archive,) = convert(job.folder / "set", job.folder / name, "zip")
    facts = {
        "num_images": manifest["num_images"],
        "num_failed": manifest["num_failed"],
        "num_rejected": manifest["num_rejected"],
        "pass_rates": manifest["pass_rates"],
        "counts": {of: job.plan.counts(of) for of in COUNTED},
        "seconds": round(job.seconds, 3),
        "model": model,
        "adapter": adapter,
        "plan_sha256": job.plan.sha256,
        "notice": SYNTHETIC_NOTICE,
    }
    # A copy, as gradio deletes what it has shown, and the data set stays whole.
    samples = Path(shutil.copyfile(job.folder / "set" / "plots" / "samples.png", job.folder / "samples.png"))
    return replace(state, stage="finished", archive=archive, samples=samples, facts=facts)
