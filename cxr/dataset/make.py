"""A plan -> a finished data set, by one process or many; killed at any time, the same command goes on."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cxr import __version__
from cxr.dataset.beginning import Beginning, beginning_of, check_beginning
from cxr.dataset.complete import complete_dataset
from cxr.dataset.dataset_folder import DatasetFolder
from cxr.dataset.gate import GATE_NAME, Gate
from cxr.dataset.plan import Plan
from cxr.dataset.processes import OtherProcessFailed, Processes
from cxr.dataset.reopen import is_complete
from cxr.dataset.unit_log import unfinished_first
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.generate.progress import JobProgress, Progress
from cxr.generate.stop_signal import StopSignal, stop_on_signals
from cxr.generate.worker import Worker
from cxr.request.errors import OutputError
from cxr.request.messages import say
from cxr.request.recipe import PYTORCH

MAX_ATTEMPTS = 4
SOME_FAILED = 1
FAILED_ELSEWHERE = 2
PROGRESS_EVERY_S = 0.5
# In these a data set that lacks nothing may differ from one that would be made here now.
CIRCUMSTANCES = ("software", "device", "weight_dtype", "micro_batch_size", "engine")


@dataclass(frozen=True)
class Options:
    """How a data set is made.

    Args:
        model: as ``load_model`` takes it.
        adapter: as ``load_model`` takes it.
        gate: whether images that do not show what was asked are made again.
        max_attempts: seeds that an image may take.
        num_threads: CPU threads of each process. The same in all, as another number changes the last bits.
    """

    model: str = "embedded"
    adapter: str = "default"
    gate: bool = False
    max_attempts: int = MAX_ATTEMPTS
    num_threads: int = 1


def run_dataset(plan: Plan, directory: Path, options: Options) -> int:
    """Make a data set, or what is missing of it.

    Args:
        plan: what to make.
        directory: where; new, empty, or of the same job.
        options: how.
    Returns:
        0 when all images are there, 1 when some could not be made with any of their seeds, 128 + signal when stopped.
    Raises:
        CxrError: the model or the folder cannot be used.
    """
    processes, folder = Processes(), DatasetFolder(directory)
    plan = _as_begun(plan, folder)
    with contextlib.ExitStack() as held, stop_on_signals() as stop:
        try:
            begun = processes.first_does(lambda: _begin(plan, folder, options, held, partial(_load, options)))
        except OtherProcessFailed:
            return FAILED_ELSEWHERE
        if (manifest := folder.manifest()) is not None:
            if processes.rank == 0:
                say(sys.stdout, f"{directory} is complete: {manifest.facts['num_images']} images")
            return SOME_FAILED if manifest.facts["num_failed"] else 0
        model, before = begun or (_load(options, folder.begun), {})
        return _make(plan, folder, model, before, processes, stop)


def iterate_dataset(
    plan: Plan, directory: Path, model: LoadedModel, options: Options, stop: threading.Event
) -> Generator[JobProgress, None, None]:
    """Make a data set, or what is missing of it, inside a program that goes on with other things meanwhile.

    A thread makes the images. The bytes are those of ``run_dataset`` with as many threads as torch has here.

    Args:
        plan: what to make.
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
    plan = _as_begun(plan, folder)
    with contextlib.ExitStack() as held:
        begun = _begin(plan, folder, options, held, lambda before: model)
        if begun is None:
            manifest = folder.manifest()
            assert manifest is not None, "the data set is finished"
            yield _last(0.0, len(plan.images), manifest.facts)
            return
        _, before = begun
        progress = held.enter_context(Progress(len(plan.images), before, folder=folder.progress, quiet=True))
        worker, units = _worker(folder, model, progress, stop), folder.units(plan)

        def make() -> dict[str, Any] | None:
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


def _last(elapsed_s: float, total: int, manifest: Mapping[str, Any]) -> JobProgress:
    finished, failed, rejected = (manifest[name] for name in ("num_images", "num_failed", "num_rejected"))
    return JobProgress(finished, failed, rejected, total, elapsed_s, 0.0, "finished", manifest)


def _as_begun(plan: Plan, folder: DatasetFolder) -> Plan:
    """A data set that was begun by a version that knew no rewording goes on without."""
    begun, manifest = folder.read_beginning(), folder.manifest()
    if manifest is not None:
        begun = beginning_of(manifest)
    return plan if begun is None or begun.rewords else plan.without_rewording()


def _begin(
    plan: Plan,
    folder: DatasetFolder,
    options: Options,
    held: contextlib.ExitStack,
    load: Callable[[Beginning | None], LoadedModel],
) -> tuple[LoadedModel, dict[str, int]] | None:
    """What the first process does before the others: lock the folder, choose the number format, fix both.

    Returns:
        What ``load`` gives for the job as it was begun, and the counts of what an earlier run has left; None if the
        data set is finished.
    """
    manifest, model = folder.manifest(), None
    if manifest is not None:
        begun = beginning_of(manifest)
        if begun.plan_sha256 != plan.sha256:
            raise OutputError(f"{folder.directory} holds the data set of another plan; choose an empty folder")
        is_whole = is_complete(folder.directory, manifest)
        model = load(replace(begun, engine=PYTORCH) if is_whole else begun)  # which then makes nothing
        check_beginning(folder.directory, begun, _beginning(plan, options, model), CIRCUMSTANCES if is_whole else ())
        if is_whole:
            folder.forget_work()
            return None
    held.enter_context(folder.locked())
    if manifest is not None:
        folder.reopen(manifest, plan)
    model = model or load(folder.read_beginning())
    folder.begin(_beginning(plan, options, model))
    return model, folder.count(plan)


def _load(options: Options, before: Beginning | None) -> LoadedModel:
    """The model as the job was begun with it: what is measured here might differ in another process."""
    torch.set_num_threads(options.num_threads)
    if before is None:
        return load_model(options.model, options.adapter)
    begun = {name: getattr(before, name) for name in ("weight_dtype", "micro_batch_size", "engine")}
    return load_model(options.model, options.adapter, **begun)


def _beginning(plan: Plan, options: Options, model: LoadedModel) -> Beginning:
    info = model.info
    return Beginning(
        plan_sha256=plan.sha256,
        num_images=len(plan.images),
        model=info.model,
        model_revision=info.model_revision,
        adapter=info.adapter,
        adapter_sha256=info.adapter_sha256,
        weight_dtype=info.weight_dtype,
        device=info.device,
        micro_batch_size=model.micro_batch_size,
        num_threads=options.num_threads,
        gate=GATE_NAME if options.gate else "",
        max_attempts=options.max_attempts,
        software=__version__,
        rewords=plan.rewords,
        engine=info.engine,
    )


def _make(
    plan: Plan,
    folder: DatasetFolder,
    model: LoadedModel,
    before: Mapping[str, int],
    processes: Processes,
    stop: StopSignal,
) -> int:
    began, is_first = time.monotonic(), processes.rank == 0
    for note in model.notes if is_first else ():
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


def _say_result(folder: DatasetFolder, manifest: dict[str, Any] | None) -> int:
    """Say what has come out, if it has come to that; gives the exit status."""
    if manifest is None:
        return 0
    facts = f"{manifest['num_images']} images in {folder.directory}, {manifest['num_rejected']} made again"
    facts += f", {manifest['num_failed']} failed" if manifest["num_failed"] else ""
    say(sys.stdout, facts)
    for name, share in manifest["pass_rates"].items():
        say(sys.stdout, f"passed the gate: {name} {share:.0%}")
    return SOME_FAILED if manifest["num_failed"] else 0
