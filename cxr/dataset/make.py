"""A plan -> a finished data set, by one process or many; after a kill the same command continues."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from cxr.dataset.beginning import Beginning
from cxr.dataset.complete import complete_dataset
from cxr.dataset.dataset_folder import DatasetFolder
from cxr.dataset.gate import Gate
from cxr.dataset.job_start import Options, as_begun, begin_job
from cxr.dataset.plan import Plan
from cxr.dataset.processes import OtherProcessFailed, Processes
from cxr.dataset.unit_log import unfinished_first
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.generate.progress import SOME_FAILED, JobProgress, Progress
from cxr.generate.stop_signal import StopSignal, stop_on_signals
from cxr.generate.worker import Worker
from cxr.metrics.result import Json, JsonObject
from cxr.request.messages import say

__all__ = ["Options", "iterate_dataset", "run_dataset"]

FAILED_ELSEWHERE = 2
PROGRESS_EVERY_S = 0.5


def run_dataset(plan: Plan, directory: Path, options: Options) -> int:
    """Make a data set, or what is missing of it.

    Args:
        directory: where; new, empty, or of the same job.
    Returns:
        0 when all images are there, 1 when some could not be made with any of their seeds, 128 + signal when stopped.
    Raises:
        CxrError: the model or the folder cannot be used.
    """
    processes, folder = Processes(), DatasetFolder(directory)
    plan = as_begun(plan, folder)
    with contextlib.ExitStack() as held, stop_on_signals() as stop:
        try:
            begun = processes.first_does(
                lambda: begin_job(plan, folder, options, held, partial(load_as_begun, options))
            )
        except OtherProcessFailed:
            return FAILED_ELSEWHERE
        if (manifest := folder.manifest()) is not None:
            if processes.rank == 0:
                say(sys.stdout, f"{directory} is complete: {manifest.facts['num_images']} images")
            return SOME_FAILED if manifest.facts["num_failed"] else 0
        model, before = begun or (load_as_begun(options, folder.begun), {})
        return _make(plan, folder, model, before, processes, stop)


def iterate_dataset(
    plan: Plan, directory: Path, model: LoadedModel, options: Options, stop: threading.Event
) -> Generator[JobProgress, None, None]:
    """Make a data set, or what is missing of it, inside a program that does other things meanwhile.

    A thread makes the images. The bytes are those of ``run_dataset`` with as many threads as torch has here.

    Args:
        directory: where; new, empty, or of the same job.
        model: what to make it with; other threads may use it between images of different units.
        options: how, of which ``gate`` and ``max_attempts`` count: the model is loaded, and torch has its threads.
        stop: once set, work ends within one denoising step and all finished images are kept. Closing the generator
            sets it and waits for that.
    Yields:
        How far it is, about every `PROGRESS_EVERY_S`; the last one is "stopped", or "finished" and has the manifest.
    Raises:
        CxrError: the folder, the disk or the model's memory cannot be used.
    """
    folder, options = DatasetFolder(directory), replace(options, num_threads=torch.get_num_threads())
    plan = as_begun(plan, folder)
    with contextlib.ExitStack() as held:
        begun = begin_job(plan, folder, options, held, lambda before: model)
        if begun is None:
            manifest = folder.manifest()
            assert manifest is not None, "the data set is finished"
            yield _last(0.0, len(plan.images), manifest.facts)
            return
        _, before = begun
        progress = held.enter_context(Progress(len(plan.images), before, folder=folder.progress, quiet=True))
        worker, units = _worker(folder, model, progress, stop), folder.units(plan)

        def make() -> JsonObject | None:
            worker.run(unfinished_first(units))
            return complete_dataset(plan, folder, worker, units)

        pool = held.enter_context(ThreadPoolExecutor(1, thread_name_prefix="dataset"))
        making = pool.submit(make)
        try:
            while not wait([making], PROGRESS_EVERY_S).done:
                yield progress.now()
        finally:
            if not making.done():
                stop.set()
        facts, now = making.result(), progress.now()
        yield replace(now, stage="stopped") if facts is None else _last(now.elapsed_s, now.total, facts)


def _last(elapsed_s: float, total: int, manifest: Mapping[str, Json]) -> JobProgress:
    finished, failed, rejected = (manifest[name] for name in ("num_images", "num_failed", "num_rejected"))
    return JobProgress(finished, failed, rejected, total, elapsed_s, 0.0, "finished", manifest)


def load_as_begun(options: Options, before: Beginning | None) -> LoadedModel:
    """The model as the job was begun with it: what is measured here might differ in another process."""
    torch.set_num_threads(options.num_threads)
    if before is None:
        return load_model(options.model, options.adapter)
    begun = {name: getattr(before, name) for name in ("weight_dtype", "micro_batch_size", "engine")}
    return load_model(options.model, options.adapter, **begun)


def _make(
    plan: Plan,
    folder: DatasetFolder,
    model: LoadedModel,
    before: Mapping[str, int],
    processes: Processes,
    stop: StopSignal,
) -> int:
    began, is_first = time.monotonic(), processes.rank == 0
    for note in (*model.notes, *plan.notes) if is_first else ():
        say(sys.stderr, f"note: {note}")
    units = folder.units(plan)
    start = processes.rank * len(units) // processes.count  # so that processes meet late
    with Progress(len(plan.images), before, folder=folder.progress, rank=processes.rank) as progress:
        worker = _worker(folder, model, progress, stop.event)
        try:
            worker.run(unfinished_first(units[start:] + units[:start]))
            progress.write()
            if not stop.event.is_set():
                processes.wait()
                code = _say_result(folder, complete_dataset(plan, folder, worker, units)) if is_first else 0
        except OtherProcessFailed:
            code = FAILED_ELSEWHERE
    took_s = time.monotonic() - began
    if stop.event.is_set():
        if is_first:
            say(sys.stdout, f"stopped after {took_s:.0f} s; the same command continues, what is finished is kept")
        return 128 + stop.number
    if is_first:
        count = "1 process" if processes.count == 1 else f"{processes.count} processes"
        share = progress.waited_s / took_s if took_s > 0 else 0.0
        say(sys.stdout, f"{took_s:.1f} s in {count}, of which {share:.1%} waiting for the disk")
    return code


def _worker(folder: DatasetFolder, model: LoadedModel, progress: Progress, stop: threading.Event) -> Worker:
    beginning = folder.begun
    return Worker(model, progress, stop, Gate() if beginning.gate else None, beginning.max_attempts)


def _say_result(folder: DatasetFolder, manifest: JsonObject | None) -> int:
    """Report the result if there is one; gives the exit status."""
    if manifest is None:
        return 0
    facts = f"{manifest['num_images']} images in {folder.directory}, {manifest['num_rejected']} made again"
    facts += f", {manifest['num_failed']} failed" if manifest["num_failed"] else ""
    say(sys.stdout, facts)
    for name, share in manifest["pass_rates"].items():
        say(sys.stdout, f"passed the gate: {name} {share:.0%}")
    return SOME_FAILED if manifest["num_failed"] else 0
