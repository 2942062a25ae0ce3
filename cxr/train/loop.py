"""The one training loop: schedule, gradient clipping, EMA, log, validation, checkpoint and resume.

What is trained is a `Task`; the loop knows nothing about it. Batch k depends on (seed, k) only, so a run that was cut
off goes on as if nothing had happened. Of n processes the r-th takes batches r, n + r, 2 n + r and so on.
"""

from __future__ import annotations

import json
import math
import signal
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from cxr.generate.stop_signal import stop_on_signals
from cxr.models.devices import shared_state
from cxr.train.checkpoint import RUN, TrainingProgress, read_facts, resume, save
from cxr.train.loop_settings import LoopSettings
from cxr.train.parallel import any_process, average_gradients
from cxr.train.precision import Precision, choose_precision
from cxr.train.setup import learning_rate_at, seed_of_batch
from cxr.train.training_log import LOG, Log
from cxr.train.training_task import Run, Task
from cxr.train.weights import average, averaged_weights, clip_gradients, parameter_groups

# Facts of a checkpoint: the number format of its run, and how the gradients of float16 are scaled.
DTYPE, SCALER = "dtype", "scaler"


def train(
    task: Task,
    settings: LoopSettings,
    out_dir: Path,
    device: torch.device,
    run: Run = Run(),  # noqa: B008
) -> None:
    """Train to the end or to the time limit, going on from the checkpoint in ``out_dir`` if there is one.

    Writes checkpoint, state, log and the exported EMA weights to ``out_dir``.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    loop = _Loop(task, settings, out_dir, device, run)
    progress = loop.progress
    # torchrun passes SIGTERM on: a second one must not end the saving that the first has begun.
    with stop_on_signals(ended_by=(signal.SIGINT,)) as stop:
        if progress.step == 0:
            loop.begin()
        bar = tqdm(total=settings.steps, initial=progress.step, unit="step", mininterval=5, disable=not loop.log.path)
        began, elapsed_s = time.monotonic(), progress.elapsed_s
        end = math.inf if settings.max_minutes is None else began + settings.max_minutes * 60
        while progress.step < settings.steps and not any_process(stop.event.is_set() or time.monotonic() > end):
            loop.log.add(loop.step())
            progress.elapsed_s = elapsed_s + time.monotonic() - began
            bar.update()
            if progress.step % settings.log_every == 0:
                bar.set_postfix(loss=f"{loop.log.write_means():.4f}", refresh=False)
            if progress.step % (settings.checkpoint_every or settings.validate_every) == 0:
                loop.save()
            if progress.step % settings.validate_every == 0 and progress.step < settings.steps:
                loop.validate()
        bar.close()
        loop.finish()


def is_finished(out_dir: Path, settings: LoopSettings) -> bool:
    """Whether a run has taken all its steps, by its checkpoint."""
    return int(read_facts(out_dir).get("step", 0)) >= settings.steps


class _Loop:
    """One run: what is trained, how far it has come, and what is done at a step, a checkpoint and a look."""

    def __init__(self, task: Task, settings: LoopSettings, out_dir: Path, device: torch.device, run: Run) -> None:
        self.task, self.settings, self.out_dir, self.run = task, settings, out_dir, run
        parameters = [p for p in task.trained.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameter_groups(task.trained, settings), betas=settings.betas, fused=True)
        ema = [p.detach().clone() for p in parameters]
        self.progress = TrainingProgress(parameters, ema, optimizer, buffers=list(task.trained.buffers()))
        resume(self.progress, out_dir)
        self.log = Log(out_dir / LOG if shared_state().is_main_process else None, self.progress)
        self.precision = run.precision or self._choose_precision(device)
        # float16 holds no small gradients: they are scaled up, and by less after each overflow.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision.dtype == torch.float16)
        if self.scaler.is_enabled() and (kept := read_facts(out_dir).get(SCALER)):
            self.scaler.load_state_dict(json.loads(kept))
        self.saved_step, self.validated_step = self.progress.step, -1

    def begin(self) -> None:
        """What is done before the first step."""
        if self.run.first_row:
            self.log.write(dict(self.run.first_row))
        if self.run.validate_first:
            self.validate()

    def step(self) -> dict[str, float]:
        """Take one optimizer step; returns the mean losses and the norm of the gradient."""
        progress, settings, processes, rows = self.progress, self.settings, shared_state(), []
        for group in progress.optimizer.param_groups:
            group["lr"] = group["rate"] * learning_rate_at(progress.step, settings)
        count = settings.gradient_accumulation_steps
        for number in range(progress.step * count, (progress.step + 1) * count):
            batch = number * processes.num_processes + processes.process_index
            losses = self._losses(batch, self.precision)
            self.scaler.scale(losses["loss"] / count).backward()
            rows.append({name: float(value.detach()) for name, value in losses.items()})
        average_gradients(progress.parameters)
        self.scaler.unscale_(progress.optimizer)
        norm = clip_gradients(progress.optimizer, settings.clip_norm)
        # One bad batch must not destroy the averaged weights; the scaler sees to that itself.
        if self.scaler.is_enabled() or math.isfinite(norm):
            self.scaler.step(progress.optimizer)
        self.scaler.update()
        progress.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.samples += settings.batch_size * count * processes.num_processes
        decay = min(settings.ema_decay, (1 + progress.step) / (10 + progress.step))
        average(progress.ema, progress.parameters, decay)
        return {name: sum(row[name] for row in rows) / count for name in rows[0]} | {"gradient_norm": norm}

    def save(self) -> None:
        """Write a checkpoint."""
        if shared_state().is_main_process:
            facts = {DTYPE: str(self.precision.dtype).removeprefix("torch.")}
            if self.scaler.is_enabled():
                facts[SCALER] = json.dumps(self.scaler.state_dict())
            if self.run.facts is not None:
                facts[RUN] = json.dumps(self.run.facts)
            save(self.progress, self.settings, self.out_dir, facts)
        shared_state().wait_for_everyone()
        self.saved_step = self.progress.step

    def validate(self) -> None:
        """Export the averaged weights and look at held-out patients."""
        if shared_state().is_main_process:
            with averaged_weights(self.progress.parameters, self.progress.ema), torch.no_grad():
                self.task.export(self.out_dir)
                with self.precision.autocast():
                    figures = self.task.validate()
                if figures:
                    self.log.write({f"validation_{name}": value for name, value in figures.items()})
                self.run.report(self.progress)
        shared_state().wait_for_everyone()
        self.validated_step = self.progress.step

    def finish(self) -> None:
        """Save what is not saved yet; first, as torchrun gives its processes half a minute when it is told to stop."""
        if self.log.values:
            self.log.write_means()
        if self.saved_step < self.progress.step:
            self.save()
        # Also where nothing was left to do: the last run may have been killed before it wrote the result.
        if self.validated_step < self.progress.step:
            self.validate()

    def _choose_precision(self, device: torch.device) -> Precision:
        """That of the run's checkpoint; at its beginning the faster one."""
        kept = read_facts(self.out_dir).get(DTYPE)
        if kept is not None:
            return Precision(device, getattr(torch, kept))

        def run(candidate: Precision) -> None:
            self._losses(0, candidate)["loss"].backward()
            self.task.trained.zero_grad(set_to_none=True)

        chosen, times = choose_precision(device, run)
        if times:
            self.log.write(times | {"bfloat16": float(chosen.dtype == torch.bfloat16)})
        return chosen

    def _losses(self, batch: int, precision: Precision) -> dict[str, Tensor]:
        devices = [precision.device] if precision.device.type == "cuda" else []
        # Dropout draws from torch's own random source: set by the batch, a run that was cut goes on as if it had not.
        with precision.autocast(), torch.random.fork_rng(devices):
            torch.manual_seed(seed_of_batch(self.settings.seed, batch))
            return self.task.loss(batch)
