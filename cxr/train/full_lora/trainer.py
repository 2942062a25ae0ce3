"""The training of a LoRA in a frozen UNet: steps through accelerate, checkpoints, and going on from one.

A batch depends on the seed and its number alone, and so does whatever dropout draws. A run that was killed therefore
goes on from its last checkpoint as if nothing had happened, without any state of random generators being kept.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from cxr.request.errors import DataError, RequestError
from cxr.train.checkpoint import CHECKPOINT, Progress, read_facts, resume, save
from cxr.train.full_lora.batches import Batches, predict
from cxr.train.full_lora.data import TrainingData
from cxr.train.full_lora.folder import BaseModel
from cxr.train.full_lora.loss import choose_gamma, loss_weights, squared_errors, training_target
from cxr.train.full_lora.networks import add_lora, load_unet, training_schedule
from cxr.train.full_lora.settings import NOT_OF_THE_WEIGHTS, FullLoraSettings
from cxr.train.full_lora.validation import Denoiser
from cxr.train.loop import LoopSettings, average, learning_rate_at

RUN, SCALER, OPTIMIZER_STEP = "run", "scaler", "optimizer_step"  # facts of a checkpoint
MODEL, DATA = "another base model", "other images or captions"  # as messages name what a run depends on
CLIP_NORM, WEIGHT_DECAY = 1.0, 0.01
LOG_EVERY = 10


def build_accelerator(settings: FullLoraSettings) -> Accelerator:
    """Accelerate on CUDA where there is a GPU, else on the CPU, in the number format that the device computes well.

    Raises:
        RequestError: the format is not one of this device's.
    """
    cpu, precision = not torch.cuda.is_available(), settings.mixed_precision
    if precision == "auto" and cpu:
        precision = "no"
    elif precision == "auto":
        precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if precision == "fp16" and cpu:
        raise RequestError("mixed_precision is 'fp16', which needs a GPU; use auto, no or bf16")
    return Accelerator(
        cpu=cpu, mixed_precision=precision, gradient_accumulation_steps=settings.gradient_accumulation_steps
    )


def frozen_dtype(accelerator: Accelerator) -> torch.dtype:
    """The format of weights that are not trained: half of the memory on a GPU, exact on a CPU."""
    halves = {"fp16": torch.float16, "bf16": torch.bfloat16}
    return (
        halves.get(accelerator.mixed_precision, torch.float32) if accelerator.device.type == "cuda" else torch.float32
    )


def loop_settings(settings: FullLoraSettings) -> LoopSettings:
    """The same settings as the shared schedule and log of all stages read them."""
    return LoopSettings(
        steps=settings.steps,
        batch_size=settings.batch_size * settings.gradient_accumulation_steps,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        decay_share=settings.decay_share,
        ema_decay=settings.ema_decay,
        clip_norm=CLIP_NORM,
        weight_decay=WEIGHT_DECAY,
        seed=settings.seed,
        log_every=LOG_EVERY,
        validate_every=settings.validate_every,
        max_minutes=settings.max_minutes,
    )


def facts_of_run(
    base: BaseModel, data: TrainingData, settings: FullLoraSettings, accelerator: Accelerator
) -> dict[str, object]:
    """All that the weights of a run depend on; a run goes on only where they are the same."""
    told = {name: value for name, value in asdict(settings).items() if name not in NOT_OF_THE_WEIGHTS}
    told["lora_alpha"], told["mixed_precision"] = settings.alpha, accelerator.mixed_precision
    return told | {"number of processes": accelerator.num_processes, MODEL: base.hashes, DATA: data.sha256}


def check_same_run(out_dir: Path, facts: dict[str, object]) -> None:
    """Refuse to go on from a checkpoint that was made otherwise.

    Raises:
        DataError: naming the first difference.
    """
    if not (out_dir / CHECKPOINT).exists():
        return
    before = json.loads(read_facts(out_dir).get(RUN, "{}"))
    if not before:
        raise DataError(f"{out_dir} holds a checkpoint of another network; choose an empty --out folder")
    for name, value in facts.items():
        if before.get(name) != value:
            how = name if name in (MODEL, DATA) else f"{name} {before.get(name)}, and this one has {value}"
            raise DataError(f"{out_dir} holds a run with {how}; use the same again, or an empty --out folder")


class Trainer:
    """A UNet with a LoRA and what it takes to train it.

    Args:
        base: what to load.
        batches: what to learn from.
        settings: of the run.
        accelerator: as `build_accelerator` makes it.
    """

    def __init__(self, base: BaseModel, batches: Batches, settings: FullLoraSettings, accelerator: Accelerator) -> None:
        self.batches, self.settings, self.accelerator = batches, settings, accelerator
        self.loop = loop_settings(settings)
        self.schedule = training_schedule(base)
        self.gamma = choose_gamma(settings.min_snr_gamma, self.schedule)
        self.dtype = frozen_dtype(accelerator)
        self.unet = load_unet(base, self.dtype, accelerator.device)
        self.config = add_lora(self.unet, settings)
        checkpointing = settings.gradient_checkpointing
        if accelerator.device.type == "cuda" if checkpointing is None else checkpointing:
            self.unet.enable_gradient_checkpointing()
        self.unet.train()
        parameters = [parameter for parameter in self.unet.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=WEIGHT_DECAY)
        self.progress = Progress(parameters, [p.detach().clone() for p in parameters], optimizer)
        # The same UNet, through which the gradients of several processes are averaged.
        self.model, self.optimizer = accelerator.prepare(self.unet, optimizer)

    @property
    def denoiser(self) -> Denoiser:
        """The UNet as it is now."""
        return Denoiser(self.unet, self.schedule, self.dtype)

    def step(self) -> dict[str, float]:
        """Take one optimizer step; returns the mean loss and the norm of the gradient."""
        for group in self.progress.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.progress.step, self.loop)
        losses = []
        for part in range(self.settings.gradient_accumulation_steps):
            with self.accelerator.accumulate(self.model):
                loss = self._loss(self._batch_number(part))
                self.accelerator.backward(loss)
                losses.append(float(loss.detach()))
        norm = self.accelerator.clip_grad_norm_(self.progress.parameters, CLIP_NORM)
        # The scaler of float16 passes over infinite gradients itself, and has to see them.
        if self.accelerator.scaler is not None or torch.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.progress.step += 1
        self.progress.samples += self.loop.batch_size * self.accelerator.num_processes
        decay = min(self.settings.ema_decay, (1 + self.progress.step) / (10 + self.progress.step))
        average(self.progress.ema, self.progress.parameters, decay)
        return {"loss": sum(losses) / len(losses), "gradient_norm": float(norm)}

    def save(self, out_dir: Path, facts: dict[str, object]) -> None:
        """Write a checkpoint, whole or not at all."""
        states = self.progress.optimizer.state.values()
        told = {RUN: json.dumps(facts), OPTIMIZER_STEP: str(max((int(state["step"]) for state in states), default=0))}
        if self.accelerator.scaler is not None:
            told[SCALER] = json.dumps(self.accelerator.scaler.state_dict())
        save(self.progress, self.settings, out_dir, told)

    def resume(self, out_dir: Path) -> None:
        """Go on from the checkpoint of the folder, if there is one; `check_same_run` comes first."""
        resume(self.progress, out_dir)
        told = read_facts(out_dir)
        for state in self.progress.optimizer.state.values():
            state["step"] = torch.tensor(float(told[OPTIMIZER_STEP]))  # less than ours where float16 overflowed
        if self.accelerator.scaler is not None and SCALER in told:
            self.accelerator.scaler.load_state_dict(json.loads(told[SCALER]))

    def _batch_number(self, part: int) -> int:
        """No other process, step or part of a step has the same number."""
        turn = self.progress.step * self.settings.gradient_accumulation_steps + part
        return turn * self.accelerator.num_processes + self.accelerator.process_index

    def _loss(self, number: int) -> Tensor:
        batch = self.batches.draw(number, len(self.schedule.alphas_cumprod))
        target = training_target(batch.latents, batch.noise, batch.timesteps, self.schedule)
        devices = [self.accelerator.device] if self.accelerator.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed((self.settings.seed * 1_000_003 + number) % 2**63)  # for dropout, where a UNet has any
            prediction = predict(self.model, batch, self.schedule, self.dtype)
        weights = loss_weights(batch.timesteps, self.schedule, self.gamma)
        return (weights * squared_errors(prediction, target)).mean()
