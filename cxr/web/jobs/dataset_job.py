"""One data set from its plan to the ZIP, as a generator of states; it gives way to others. Knows nothing of widgets."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.dataset.plan import Plan
from cxr.metrics.result import Json
from cxr.request.errors import CxrError, GenerationError
from cxr.request.notices import SYNTHETIC_NOTICE
from cxr.web.jobs.dataset_order import DatasetOrder, DatasetState
from cxr.web.jobs.job import OVER, AnyJob, Facts
from cxr.web.jobs.model_choice import ModelChoice, load_model_for
from cxr.web.jobs.plan_text import SPLITS

if TYPE_CHECKING:
    from cxr.generate.loaded_model import LoadedModel
    from cxr.judges.receipt import Receipt
    from cxr.request.model_info import ModelInfo

TURN_S = 20.0  # a job that others wait for ends its turn after this time and goes to the end of the queue
SAY_EVERY_S = 0.5
NUM_NEWEST = 12


def make_dataset(order: DatasetOrder, choice: ModelChoice, job: AnyJob) -> Generator[DatasetState, None, None]:
    """Make a data set, or what is missing of it.

    Args:
        order: what to make; its folder holds what an earlier job has made.
        job: says when to stop, and whether others wait for the model.
    Yields:
        The state about twice a second; "waiting" when others have waited for the model long enough, the last one is
        "finished" or "stopped".
    Raises:
        CxrError: no model, no space, or no image could be made.
    """
    state = DatasetState("loading", len(order.plan.images), seconds=order.seconds)
    yield state
    try:
        while state.stage not in OVER:
            turn = _take_turn(order, model := load_model_for(choice), job, state.seconds)
            for state in turn:
                yield state
            if state.progress and state.progress.stage == "finished":
                turn = _finish(order, state, model, job)
                for state in turn:
                    yield state
    except CxrError as error:
        # Paths of this machine do not belong in messages to visitors.
        raise type(error)(str(error).replace(str(order.folder), "the folder of the job")) from error
    finally:
        if not order.is_kept:
            shutil.rmtree(order.folder / "set", ignore_errors=True)  # the ZIP holds all of it


def _take_turn(
    order: DatasetOrder, model: LoadedModel, job: AnyJob, seconds: float
) -> Generator[DatasetState, None, None]:
    """Continue until all images are finished, the job is stopped, or others have waited for `TURN_S`."""
    from cxr.dataset.make import Options, iterate_dataset  # torch takes seconds to import

    job.halt.clear()  # it ended the turn before
    if job.is_stopped:
        job.halt.set()
    options = Options(gate=order.gate, max_attempts=order.max_attempts)
    began_s, before = time.monotonic(), None
    state = DatasetState("running", len(order.plan.images))
    with contextlib.closing(iterate_dataset(order.plan, order.folder / "set", model, options, job.halt)) as steps:
        for progress in steps:
            newest = _find_newest(order.folder)
            state = replace(state, progress=progress, seconds=seconds + progress.elapsed_s, newest=newest)
            if progress.stage != "running":
                break
            yield state
            tried = progress.finished + progress.failed + progress.rejected
            before = tried if before is None else before
            # Unfinished images are lost at the end of a turn, so each turn has to finish some.
            if time.monotonic() - began_s > TURN_S and tried > before and job.others_wait():
                job.halt.set()
    assert state.progress is not None
    if state.progress.stage == "finished":
        yield state
    elif job.is_stopped:
        archive = None if job.is_abandoned else _pack_finished(order.folder, order.plan)
        yield replace(state, stage="stopped", archive=archive)
    else:
        yield replace(state, stage="waiting")


def _finish(
    order: DatasetOrder, state: DatasetState, model: LoadedModel, job: AnyJob
) -> Generator[DatasetState, None, None]:
    """Read what is seen in the images, which takes a while and gives way to others, and pack them."""
    from cxr.web.jobs.package import read_receipts, zip_dataset  # torch takes seconds to import

    manifest = state.progress.manifest if state.progress else None
    assert manifest is not None
    if not manifest["num_images"]:
        raise GenerationError("no image could be made; try other settings, or without the gate")
    directory = order.folder / "set"
    receipts: list[Receipt] = []
    began_s = said_s = time.monotonic()
    for receipt in read_receipts(directory):
        if job.is_stopped:  # all images are there, and the ZIP comes without receipts
            receipts.clear()
            break
        receipts.append(receipt)
        now_s = time.monotonic()
        if now_s - began_s > TURN_S and job.others_wait():
            yield replace(state, stage="waiting", num_read=len(receipts))
            began_s = time.monotonic()
        elif now_s - said_s > SAY_EVERY_S:
            yield replace(state, num_read=len(receipts))
            said_s = now_s
    # The name of the ZIP holds numbers only.
    name = f"dataset_{manifest['num_images']}_{order.plan.sha256[:8]}.zip"
    archive = zip_dataset(order.folder / name, directory, receipts)
    # A copy, as gradio deletes what it has shown, and the data set stays whole.
    samples = Path(shutil.copyfile(directory / "plots" / "samples.png", order.folder / "samples.png"))
    facts = _facts(order.plan, manifest, state.seconds, model.info)
    yield replace(state, stage="finished", archive=archive, samples=samples, facts=facts)


def _facts(plan: Plan, manifest: Mapping[str, Json], seconds: float, info: ModelInfo) -> Facts:
    return {name: manifest[name] for name in ("num_images", "num_failed", "num_rejected", "pass_rates")} | {
        "counts": {of: plan.counts(of) for of in plan.tables},
        "seconds": round(seconds, 3),
        "model": info.model,
        "adapter": info.adapter,
        "plan_sha256": plan.sha256,
        "notice": SYNTHETIC_NOTICE,
    }


def _find_newest(folder: Path) -> tuple[Path, ...]:
    """The images of a data set that were finished last, the newest first."""
    found: list[tuple[int, Path]] = []
    for path in _images(folder):
        with contextlib.suppress(FileNotFoundError):  # it did not show what was asked, or was there twice
            found.append((path.stat().st_mtime_ns, path))
    return tuple(path for _, path in sorted(found, reverse=True)[:NUM_NEWEST])


def _pack_finished(folder: Path, plan: Plan) -> Path | None:
    """Pack the images of a data set that was stopped as single images are packed; None if there are none.

    Raises:
        OutputError: the disk refused the ZIP.
    """
    from cxr.folders.metadata import adopt_image
    from cxr.web.jobs.package import zip_images

    files = [file for path in _images(folder) if (file := adopt_image(path))]
    if not files:
        return None
    total = len(plan.images)
    about = f"{len(files):,} of the {total:,} images of a data set that was stopped"
    return zip_images(folder / f"dataset_{len(files)}_of_{total}_{plan.sha256[:8]}.zip", files, (), about)


def _images(folder: Path) -> list[Path]:
    """By index: each has a number of its own, whatever its split."""
    paths = (path for split in SPLITS for path in (folder / "set" / split).glob("[0-9]*.png"))
    return sorted(paths, key=lambda path: path.name)
