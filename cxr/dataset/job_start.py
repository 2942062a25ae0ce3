"""How a data set job starts: what it is made with, or that it continues with what it was begun with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from cxr import __version__
from cxr.dataset.beginning import Beginning, beginning_of, check_beginning
from cxr.dataset.dataset_folder import DatasetFolder
from cxr.dataset.gate import GATE_NAME
from cxr.dataset.plan import Plan
from cxr.dataset.reopen import is_complete
from cxr.generate.loaded_model import LoadedModel
from cxr.request.errors import OutputError
from cxr.request.recipe import PYTORCH
from cxr.request.settings import DATASET_OPTIONS

# A complete data set may differ in these from one that would be made here now.
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
    gate: bool = DATASET_OPTIONS["gate"].default
    max_attempts: int = DATASET_OPTIONS["max_attempts"].default
    num_threads: int = DATASET_OPTIONS["num_threads"].default


def as_begun(plan: Plan, folder: DatasetFolder) -> Plan:
    """A data set begun by a version without rewording continues without it."""
    begun, manifest = folder.read_beginning(), folder.manifest()
    if manifest is not None:
        begun = beginning_of(manifest)
    return plan if begun is None or begun.rewords else plan.without_rewording()


def begin_job(
    plan: Plan,
    folder: DatasetFolder,
    options: Options,
    held: contextlib.ExitStack,
    load: Callable[[Beginning | None], LoadedModel],
) -> tuple[LoadedModel, dict[str, int]] | None:
    """What the first process does before the others: lock the folder, choose the number format, record both.

    Args:
        held: keeps the lock of the folder.
        load: gives the model for what the job was begun with, None for a new one.
    Returns:
        What ``load`` gives for the job as it was begun, and the counts of what an earlier run has left; None if the
        data set is finished.
    Raises:
        CxrError: the folder holds something else, or the model cannot be used.
    """
    manifest, model = folder.manifest(), None
    if manifest is not None:
        begun = beginning_of(manifest)
        if begun.plan_sha256 != plan.sha256:
            raise OutputError(f"{folder.directory} holds the data set of another plan; choose an empty folder")
        is_whole = is_complete(folder.directory, manifest)
        model = load(replace(begun, engine=PYTORCH) if is_whole else begun)  # which then makes nothing
        check_beginning(folder.directory, begun, new_beginning(plan, options, model), CIRCUMSTANCES if is_whole else ())
        if is_whole:
            folder.forget_work()
            return None
    held.enter_context(folder.locked())
    if manifest is not None:
        folder.reopen(manifest, plan)
    model = model or load(folder.read_beginning())
    folder.begin(new_beginning(plan, options, model))
    return model, folder.count(plan)


def new_beginning(plan: Plan, options: Options, model: LoadedModel) -> Beginning:
    """What a job that begins now is made with."""
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
