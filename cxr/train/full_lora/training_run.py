"""One run from images with captions to a LoRA with its card."""

from __future__ import annotations

from pathlib import Path

import torch

from cxr.models.devices import shared_state
from cxr.request.errors import GenerationError, RequestError
from cxr.train import loop
from cxr.train.checkpoint import check_same_run
from cxr.train.full_lora.base_model import BaseModel
from cxr.train.full_lora.components import training_schedule
from cxr.train.full_lora.data import TrainingData
from cxr.train.full_lora.denoising import choose_gamma
from cxr.train.full_lora.task import FORMATS, FullLoraTask, choose_format
from cxr.train.full_lora.training_settings import OF_THE_WEIGHTS, FullLoraSettings
from cxr.train.precision import Precision
from cxr.train.training_task import Run

MODEL, DATA = "another base model", "other images or captions"  # as messages name what a run depends on


def train_full_lora(base: BaseModel, data: TrainingData, settings: FullLoraSettings, out_dir: Path) -> None:
    """Train a LoRA, going on from the checkpoint in ``out_dir`` if there is one.

    Writes ``adapter/`` (weights, ``config.json``, card), ``validation/`` (contact sheets), ``cache/``, ``log.jsonl``
    and the checkpoint.

    Args:
        base: the model that it is for.
        data: images with captions, split by patient.
        settings: of the run.
        out_dir: made if it is missing.
    Raises:
        RequestError: a setting does not suit the model or the device.
        DataError: ``out_dir`` holds a run of other settings, data or another model.
        GenerationError: there is not enough memory.
    """
    _check(base, settings)
    precision = choose_format(settings)
    facts = _facts_of_run(base, data, settings, precision)
    check_same_run(out_dir, facts, opaque=(MODEL, DATA))
    out_dir.mkdir(parents=True, exist_ok=True)
    try:
        task = FullLoraTask(base, data, settings, out_dir, precision)
        first = {"texts": float(task.batches.texts.num_rows), "texts_cut": float(task.batches.num_cut)}
        run = Run(precision, facts, first, task.report, validate_first=True)  # the base alone, to compare with
        loop.train(task, settings, out_dir, precision.device, run)
    except RuntimeError as error:
        # The latter is what torch says on a CPU.
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise GenerationError(_too_little_memory(base, settings)) from error


def _facts_of_run(
    base: BaseModel, data: TrainingData, settings: FullLoraSettings, precision: Precision
) -> dict[str, object]:
    """All that the weights of a run depend on; a run goes on only where they are the same."""
    facts = {name: getattr(settings, name) for name in OF_THE_WEIGHTS} | {"lora_alpha": settings.alpha}
    facts["mixed_precision"] = next(name for name, dtype in FORMATS.items() if dtype == precision.dtype)
    facts["number of processes"] = shared_state().num_processes
    return facts | {MODEL: base.hashes, DATA: data.sha256}


def _check(base: BaseModel, settings: FullLoraSettings) -> None:
    """Raise what would else be found only after hours of caching."""
    choose_gamma(settings.min_snr_gamma, training_schedule(base))
    side, step = settings.resolution, 8 * base.scale_factor  # the UNet halves latents three times at most
    if side is not None and (side <= 0 or side % step):
        raise RequestError(f"is {side}; use a multiple of {step}, {base.resolution} for example", field="resolution")


def _too_little_memory(base: BaseModel, settings: FullLoraSettings) -> str:
    side = settings.resolution or base.resolution
    return (
        f"there is not enough memory for batches of {settings.batch_size} at {side} pixels with rank {settings.rank}; "
        "lower --batch-size (and raise --gradient-accumulation-steps), --resolution or --rank, leave "
        "--gradient-checkpointing on, or set --validation-images 0; the last checkpoint is kept"
    )
