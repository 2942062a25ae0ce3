"""A plan -> a finished data set, by one process or many; killed at any time, the same command goes on."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cxr import __version__
from cxr.batch import SOME_FAILED, StopSignal, stop_on_signals
from cxr.dataset.assemble import DUPLICATE, collect_rows, find_duplicates, write_dataset
from cxr.dataset.engine import OtherProcessFailed, Processes
from cxr.dataset.gate import GATE_NAME, Gate
from cxr.dataset.job import Beginning, JobFolder
from cxr.dataset.plan import Plan
from cxr.dataset.progress import Progress
from cxr.dataset.units import Unit
from cxr.dataset.worker import Worker
from cxr.errors import OutputError
from cxr.messages import say
from cxr.models import LoadedModel, load_model

MAX_ATTEMPTS = 4
FAILED_ELSEWHERE = 2


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
    processes, folder = Processes(), JobFolder(directory)
    with contextlib.ExitStack() as held, stop_on_signals() as stop:
        try:
            model = processes.first_does(lambda: _begin(plan, folder, options, held))
        except OtherProcessFailed:
            return FAILED_ELSEWHERE
        if (manifest := folder.manifest()) is not None:
            if processes.rank == 0:
                say(sys.stdout, f"{directory} is complete: {manifest['num_images']} images")
            return SOME_FAILED if manifest["num_failed"] else 0
        return _make(plan, folder, model or _join(folder, options), processes, stop)


def _begin(plan: Plan, folder: JobFolder, options: Options, held: contextlib.ExitStack) -> LoadedModel | None:
    """What the first process does before the others: lock the folder, choose the number format, fix both."""
    if (manifest := folder.manifest()) is not None:
        if manifest["plan_sha256"] != plan.sha256:
            raise OutputError(f"{folder.directory} holds the data set of another plan; choose an empty folder")
        folder.forget_work()
        return None
    held.enter_context(folder.locked())
    before = folder.beginning()
    model = _load(options, before.weight_dtype if before else None)
    folder.begin(_beginning(plan, options, model))
    folder.clear_progress()
    return model


def _join(folder: JobFolder, options: Options) -> LoadedModel:
    beginning = folder.beginning()
    assert beginning is not None, "the first process has begun the job"
    return _load(options, beginning.weight_dtype)


def _load(options: Options, weight_dtype: str | None) -> LoadedModel:
    torch.set_num_threads(options.num_threads)
    return load_model(options.model, options.adapter, weight_dtype=weight_dtype)


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
    )


def _make(plan: Plan, folder: JobFolder, model: LoadedModel, processes: Processes, stop: StopSignal) -> int:
    beginning = folder.beginning()
    assert beginning is not None
    began = time.monotonic()
    progress = Progress(folder.progress, processes.rank, len(plan.images))
    gate = Gate() if beginning.gate else None
    worker = Worker(folder.directory, model, gate, beginning.max_attempts, progress, stop.event)
    units = folder.units(plan)
    start = processes.rank * len(units) // processes.count  # so that processes meet late
    try:
        waited_s = worker.run(units[start:] + units[:start])
        progress.write()
        if not stop.event.is_set():
            processes.wait()
            code = _finish(plan, folder, worker, units) if processes.rank == 0 else 0
    finally:
        progress.close()
    took_s = time.monotonic() - began
    if stop.event.is_set():
        if processes.rank == 0:
            say(sys.stdout, f"stopped after {took_s:.0f} s; the same command continues, what is finished is kept")
        return 128 + stop.number
    if processes.rank == 0:
        share = waited_s / took_s if took_s > 0 else 0.0
        say(sys.stdout, f"{took_s:.1f} s, of which {share:.1%} waiting for the disk")
    return code


def _finish(plan: Plan, folder: JobFolder, worker: Worker, units: Sequence[Unit]) -> int:
    """What the first process does when all have come to their ends: see that nothing is missing, write the rest."""
    worker.run(units)  # of a process that was lost
    rows = collect_rows(units, folder.directory)
    while again := find_duplicates(rows):
        for index in again:
            _replace(folder, worker, units, rows[index])
        rows = collect_rows(units, folder.directory)
        if worker.stop.is_set():
            return 0
    beginning = folder.beginning()
    assert beginning is not None
    manifest = write_dataset(plan, rows, folder.directory, beginning)
    folder.forget_work()
    facts = f"{manifest['num_images']} images in {folder.directory}, {manifest['num_rejected']} made again"
    facts += f", {manifest['num_failed']} failed" if manifest["num_failed"] else ""
    say(sys.stdout, facts)
    for name, share in manifest["pass_rates"].items():
        say(sys.stdout, f"passed the gate: {name} {share:.0%}")
    return SOME_FAILED if manifest["num_failed"] else 0


def _replace(folder: JobFolder, worker: Worker, units: Sequence[Unit], row: dict[str, Any]) -> None:
    """Make another image in place of a duplicate."""
    unit = next(unit for unit in units if unit.images[0].index <= row["index"] <= unit.images[-1].index)
    rejected = [*row["rejected"], {"seed": row["recipe"]["seed"], "reason": DUPLICATE}]
    worker.make_again(unit, row["index"], rejected)
    (folder.directory / row["file_name"]).unlink(missing_ok=True)
