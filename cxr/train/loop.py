"""The one training loop: schedule, gradient clipping, EMA, log, validation, checkpoint and resume.

What is trained is a `Task`; the loop knows nothing about it. The batch of step k depends on (seed, k) only, so a run
that was cut off goes on as if nothing had happened. Of n processes the r-th takes batch k * n + r.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from cxr.models.devices import shared_state
from cxr.request.errors import RequestError
from cxr.train.checkpoint import Progress, read_facts, resume, save
from cxr.train.precision import Precision, choose_precision
from cxr.train.processes import any_process, average_gradients

LOG = "log.jsonl"
DTYPE = "dtype"  # fact of a checkpoint: the format that its run computes in


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to train.

    Args:
        steps: optimizer steps in all.
        batch_size: samples per step and process.
        learning_rate: peak of the schedule.
        warmup_steps: linear rise at the start.
        decay_share: last share of the steps in which the rate falls to a hundredth, along a half cosine.
        ema_decay: decay of the averaged weights per step; it rises from 0 as (1 + k) / (10 + k).
        betas: of AdamW.
        rates: factor on the learning rate of the weights whose names begin so.
        max_minutes: stop and save after this time even if steps are left; None for no limit.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 200
    decay_share: float = 0.2
    ema_decay: float = 0.999
    betas: tuple[float, float] = (0.9, 0.99)
    rates: Mapping[str, float] = field(default_factory=dict)
    clip_norm: float = 1.0
    weight_decay: float = 0.01
    seed: int = 0
    log_every: int = 50
    validate_every: int = 1000
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "log_every", "validate_every"):
            if getattr(self, name) <= 0:
                raise RequestError(f"{name} is {getattr(self, name)}; use a number above 0")


class Task(Protocol):
    """What the loop trains: modules with trained weights, a loss and a way to check them."""

    trained: nn.Module
    """The weights that the main optimizer and the EMA see."""

    def loss(self, step: int, share_done: float) -> dict[str, Tensor]:
        """Losses of one batch; "loss" is minimised, the others are logged."""

    def validate(self) -> dict[str, float]:
        """Figures on held-out patients, with the weights as they are now."""

    def export(self, out_dir: Path) -> None:
        """Write the current weights in the form that ships."""


def train(task: Task, settings: LoopSettings, out_dir: Path, device: torch.device) -> None:
    """Train to the end or to the time limit, going on from the checkpoint in ``out_dir`` if there is one.

    Writes checkpoint, state, log and the exported EMA weights to ``out_dir``.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in task.trained.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(_groups(task.trained, settings), betas=settings.betas, fused=True)
    ema = [p.detach().clone() for p in parameters]
    progress = Progress(parameters, ema, optimizer, buffers=list(task.trained.buffers()))
    resume(progress, out_dir)
    started = time.monotonic() - progress.elapsed_s
    log = Log(out_dir / LOG if shared_state().is_main_process else None, settings, progress)
    precision = _choose_precision(task, settings, out_dir, device, log)
    interrupted, saved_step = Interrupt(), progress.step
    processes = shared_state()
    bar = tqdm(total=settings.steps, initial=progress.step, unit="step", mininterval=5, disable=log.path is None)
    end = math.inf if settings.max_minutes is None else time.monotonic() + settings.max_minutes * 60
    while progress.step < settings.steps and not any_process(bool(interrupted) or time.monotonic() > end):
        log.add(_optimise(task, progress, settings, precision))
        progress.step += 1
        progress.samples += settings.batch_size * processes.num_processes
        progress.elapsed_s = time.monotonic() - started
        average(progress.ema, parameters, min(settings.ema_decay, (1 + progress.step) / (10 + progress.step)))
        bar.update()
        if progress.step % settings.log_every == 0:
            bar.set_postfix(loss=f"{log.write_means():.4f}", refresh=False)
        if progress.step % settings.validate_every == 0:
            _save_and_validate(task, progress, settings, out_dir, log, precision)
            saved_step = progress.step
    bar.close()
    if saved_step < progress.step:
        _save_and_validate(task, progress, settings, out_dir, log, precision)


def learning_rate_at(step: int, settings: LoopSettings) -> float:
    """Linear warm-up, constant, then half a cosine down to a hundredth of the peak."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    decay_steps = settings.steps * settings.decay_share
    left = settings.steps - step
    cooled = 1.0 if left >= decay_steps else 0.01 + 0.99 * (0.5 - 0.5 * math.cos(math.pi * left / decay_steps))
    return settings.learning_rate * warm * cooled


def choose_device() -> torch.device:
    """CUDA where there is one (this process's own), else the CPU."""
    return shared_state().device if torch.cuda.is_available() else torch.device("cpu")


def batch_generator(seed: int, step: int) -> torch.Generator:
    """The random source of one step, a function of (seed, step) alone."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


@contextlib.contextmanager
def averaged_weights(parameters: list[nn.Parameter], ema: list[Tensor]) -> Iterator[None]:
    """Put the EMA weights into the modules, and the trained ones back afterwards."""
    trained = [p.detach().clone() for p in parameters]
    _copy(parameters, ema)
    try:
        yield
    finally:
        _copy(parameters, trained)


def _choose_precision(task: Task, settings: LoopSettings, out_dir: Path, device: torch.device, log: Log) -> Precision:
    """That of the run's checkpoint; at its beginning the faster one."""
    kept = read_facts(out_dir).get(DTYPE)
    if kept is not None:
        return Precision(device, getattr(torch, kept))

    def run(candidate: Precision) -> None:
        _losses(task, 0, 0.0, settings, candidate)["loss"].backward()
        task.trained.zero_grad(set_to_none=True)

    chosen, times = choose_precision(device, run)
    if times:
        log.write(times | {"bfloat16": float(chosen.dtype == torch.bfloat16)})
    return chosen


def _losses(
    task: Task, batch: int, share_done: float, settings: LoopSettings, precision: Precision
) -> dict[str, Tensor]:
    device = precision.device
    # Dropout draws from torch's own random source: set by the step, a run that was cut goes on as if it had not been.
    with precision.autocast(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed * 1_000_003 + batch)
        return task.loss(batch, share_done)


def _optimise(task: Task, progress: Progress, settings: LoopSettings, precision: Precision) -> dict[str, float]:
    step, optimizer = progress.step, progress.optimizer
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * learning_rate_at(step, settings)
    processes = shared_state()
    batch = step * processes.num_processes + processes.process_index
    losses = _losses(task, batch, step / settings.steps, settings, precision)
    losses["loss"].backward()
    average_gradients(progress.parameters)
    norm = nn.utils.clip_grad_norm_(progress.parameters, settings.clip_norm)
    if torch.isfinite(norm):  # one bad batch must not destroy the averaged weights
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {name: float(value.detach()) for name, value in losses.items()} | {"gradient_norm": float(norm)}


def _groups(module: nn.Module, settings: LoopSettings) -> list[dict[str, object]]:
    """Parameters by their learning rate and weight decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            rate = next((factor for start, factor in settings.rates.items() if name.startswith(start)), 1.0)
            # Embeddings are left out: decay would shrink the words of the findings, which the base never sees.
            decay = settings.weight_decay if parameter.ndim > 1 and "embedding" not in name else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "rate": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def average(ema: list[Tensor], parameters: list[nn.Parameter], decay: float) -> None:
    """Move averages towards the weights, by 1 - decay."""
    with torch.no_grad():
        torch._foreach_lerp_(ema, [p.detach() for p in parameters], 1 - decay)


def _copy(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


class Interrupt:
    """True once Ctrl-C or SIGTERM has come: the loop then saves and ends; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.came = False
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._note)

    def __bool__(self) -> bool:
        return self.came

    def _note(self, number: int, frame: object) -> None:
        self.came = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Log:
    """Lines of JSON: means of the losses since the last line, and figures on held-out patients.

    Only the main process writes; the path of the others is None.
    """

    def __init__(self, path: Path | None, settings: LoopSettings, progress: Progress) -> None:
        self.path, self.settings, self.progress, self.samples = path, settings, progress, progress.samples
        self.began = time.monotonic()
        self.values: dict[str, list[float]] = {}

    def add(self, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            self.values.setdefault(name, []).append(value)

    def write_means(self) -> float:
        """Write and forget what was added; returns the mean loss."""
        means = {name: sum(values) / len(values) for name, values in self.values.items()}
        progress = self.progress
        speed = (progress.samples - self.samples) / (time.monotonic() - self.began)
        rate = learning_rate_at(progress.step - 1, self.settings)
        facts = {"learning_rate": rate, "samples_per_s": speed, "elapsed_s": progress.elapsed_s}
        self.write(means | facts)
        self.samples, self.began, self.values = progress.samples, time.monotonic(), {}
        return means["loss"]

    def write(self, row: dict[str, float]) -> None:
        if self.path is None:
            return
        rounded = {name: float(f"{value:.6g}") for name, value in row.items()}
        with self.path.open("a") as lines:
            lines.write(json.dumps({"step": self.progress.step, "samples": self.progress.samples} | rounded) + "\n")


def _save_and_validate(
    task: Task,
    progress: Progress,
    settings: LoopSettings,
    out_dir: Path,
    log: Log,
    precision: Precision,
) -> None:
    processes = shared_state()
    if processes.is_main_process:
        save(progress, settings, out_dir, {DTYPE: str(precision.dtype).removeprefix("torch.")})
        with averaged_weights(progress.parameters, progress.ema), torch.no_grad():
            task.export(out_dir)  # first: torchrun gives its processes half a minute when it is told to stop
            with precision.autocast():
                figures = task.validate()
        log.write({f"validation_{name}": value for name, value in figures.items()})
    processes.wait_for_everyone()
