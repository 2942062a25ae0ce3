"""One run from folders to a LoRA with its card: caches, steps, looks at held-out patients, checkpoints."""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from tqdm import tqdm

from cxr.folders.sheet import contact_sheet
from cxr.models.devices import shared_state
from cxr.request.errors import GenerationError, RequestError
from cxr.train.adapter_file import save_unet_lora
from cxr.train.full_lora.batches import Batches
from cxr.train.full_lora.card import config_facts, write_card
from cxr.train.full_lora.data import TrainingData
from cxr.train.full_lora.folder import BaseModel
from cxr.train.full_lora.loss import choose_gamma
from cxr.train.full_lora.networks import training_schedule
from cxr.train.full_lora.settings import FullLoraSettings
from cxr.train.full_lora.trainer import Trainer, build_accelerator, check_same_run, facts_of_run
from cxr.train.full_lora.validation import validation_images, validation_loss
from cxr.train.loop import LOG, Interrupt, Log, averaged_weights
from cxr.train.processes import any_process

ADAPTER, CACHE, IMAGES = "adapter", "cache", "validation"


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
        GenerationError: the memory does not suffice.
    """
    _check(base, settings)
    try:
        _Run(base, data, settings, out_dir).train()
    except torch.OutOfMemoryError as error:
        raise GenerationError(_too_little_memory(base, settings)) from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # what torch says on a CPU
            raise
        raise GenerationError(_too_little_memory(base, settings)) from error


class _Run:
    def __init__(self, base: BaseModel, data: TrainingData, settings: FullLoraSettings, out_dir: Path) -> None:
        self.base, self.data, self.settings, self.out_dir = base, data, settings, out_dir
        accelerator = build_accelerator(settings)
        self.facts = facts_of_run(base, data, settings, accelerator)
        check_same_run(out_dir, self.facts)
        out_dir.mkdir(parents=True, exist_ok=True)
        self.batches = Batches(base, data, settings, out_dir / CACHE, accelerator.device)
        self.trainer = Trainer(base, self.batches, settings, accelerator)
        self.trainer.resume(out_dir)
        self.progress = self.trainer.progress
        self.saved_step = self.progress.step
        self.log = Log(out_dir / LOG if accelerator.is_main_process else None, self.trainer.loop, self.progress)

    def train(self) -> None:
        """Take the steps that are left."""
        progress, settings, interrupted = self.progress, self.settings, Interrupt()
        if progress.step == 0:
            facts = {"texts": float(self.batches.num_texts), "texts_cut": float(self.batches.num_cut)}
            self.log.write(facts)
            self._validate()  # the base alone, to compare with
        started = time.monotonic() - progress.elapsed_s
        end = math.inf if settings.max_minutes is None else time.monotonic() + settings.max_minutes * 60
        quiet = self.log.path is None
        bar = tqdm(total=settings.steps, initial=progress.step, unit="step", mininterval=5, disable=quiet)
        while progress.step < settings.steps and not any_process(bool(interrupted) or time.monotonic() > end):
            self.log.add(self.trainer.step())
            progress.elapsed_s = time.monotonic() - started
            bar.update()
            if progress.step % self.trainer.loop.log_every == 0:
                bar.set_postfix(loss=f"{self.log.write_means():.4f}", refresh=False)
            if progress.step % settings.checkpoint_every == 0:
                self._save()
            if progress.step % settings.validate_every == 0 and progress.step < settings.steps:
                self._validate()
        bar.close()
        if self.log.values:
            self.log.write_means()
        if self.saved_step < progress.step:
            self._save()  # first: torchrun gives its processes half a minute when it is told to stop
        # Also where nothing was left to do: the last run may have been killed before it wrote the result.
        self._validate()

    def _save(self) -> None:
        if shared_state().is_main_process:
            self.trainer.save(self.out_dir, self.facts)
        shared_state().wait_for_everyone()
        self.saved_step = self.progress.step

    def _validate(self) -> None:
        """Write the LoRA, measure it and draw with it; the card last, as it tells what was found."""
        progress, adapter = self.progress, self.out_dir / ADAPTER
        if shared_state().is_main_process:
            with averaged_weights(progress.parameters, progress.ema):
                kind = StableDiffusionXLPipeline if self.base.is_xl else StableDiffusionPipeline
                facts = config_facts(self.out_dir, self.base, self.data, self.settings)
                save_unet_lora(adapter, self.trainer.unet, self.trainer.config, kind, facts)
                losses = validation_loss(self.trainer.denoiser, self.batches)
                if losses:
                    self.log.write({f"validation_{name}": value for name, value in losses.items()})
                self._draw(adapter)
            write_card(self.out_dir, self.base, self.data, self.settings, progress)
        shared_state().wait_for_everyone()

    def _draw(self, adapter: Path) -> None:
        if not self.settings.validation_images:
            return
        rows = validation_images(self.trainer.denoiser, self.base, self.batches)
        contact_sheet(rows, self.out_dir / IMAGES / f"step_{self.progress.step:06}.png")
        for number, row in enumerate(rows):
            contact_sheet([row], adapter / "images" / f"{number}.png")


def _check(base: BaseModel, settings: FullLoraSettings) -> None:
    """Raise what would else be found only after hours of caching."""
    choose_gamma(settings.min_snr_gamma, training_schedule(base))
    wanted, step = settings.resolution, 8 * base.scale_factor  # the UNet halves latents three times at most
    if wanted is not None and (wanted <= 0 or wanted % step):
        raise RequestError(f"resolution is {wanted}; use a multiple of {step}, {base.resolution} for example")


def _too_little_memory(base: BaseModel, settings: FullLoraSettings) -> str:
    side = settings.resolution or base.resolution
    return (
        f"the memory does not suffice for batches of {settings.batch_size} at {side} pixels with rank {settings.rank}; "
        "lower --batch-size (and raise --gradient-accumulation-steps), --resolution or --rank, leave "
        "--gradient-checkpointing on, or set --validation-images 0; the last checkpoint is kept"
    )
