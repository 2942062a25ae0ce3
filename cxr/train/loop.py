"""The one training loop: schedule, gradient clipping, EMA, log, validation, checkpoint and resume.

What is trained is a `Task`; the loop knows nothing about it. The batch of step k depends on (seed, k) only, so a run
that was cut off goes on as if nothing had happened. Checkpoints are safetensors: nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from cxr.errors import DataError, RequestError

CHECKPOINT = "checkpoint.safetensors"
STATE = "state.json"
LOG = "log.jsonl"


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to train.

    Args:
        steps: optimizer steps in all.
        batch_size: samples per step.
        learning_rate: peak of the schedule.
        warmup_steps: linear rise at the start.
        decay_share: last share of the steps in which the rate falls to a hundredth, along a half cosine.
        ema_decay: decay of the averaged weights per step; it rises from 0 as (1 + k) / (10 + k).
        max_minutes: stop and save after this time even if steps are left; None for no limit.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 200
    decay_share: float = 0.2
    ema_decay: float = 0.999
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

    def extra_state(self) -> dict[str, Tensor]:
        """Further tensors to keep in the checkpoint (a discriminator, say)."""

    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `extra_state` gave."""


def train(task: Task, settings: LoopSettings, out_dir: Path, device: torch.device) -> None:
    """Train to the end or to the time limit, going on from the checkpoint in ``out_dir`` if there is one.

    Writes checkpoint, state, log and the exported EMA weights to ``out_dir``.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in task.trained.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(_decay_groups(task.trained, settings.weight_decay), betas=(0.9, 0.99), fused=True)
    ema = [p.detach().clone() for p in parameters]
    step, earlier_s = _resume(task, parameters, optimizer, ema, out_dir)
    started, logged_at, logged_step = time.monotonic(), time.monotonic(), step
    sums: dict[str, list[float]] = {}
    bar = tqdm(total=settings.steps, initial=step, unit="step", mininterval=5)
    interrupted = _Interrupt()
    while step < settings.steps and not interrupted and not _out_of_time(started, settings):
        rate = learning_rate_at(step, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = _optimise(task, step, settings, parameters, optimizer, device)
        step += 1
        _average(ema, parameters, min(settings.ema_decay, (1 + step) / (10 + step)))
        bar.update()
        for name, value in losses.items():
            sums.setdefault(name, []).append(value)
        if step % settings.log_every == 0:
            seconds = time.monotonic() - logged_at
            row = {name: sum(values) / len(values) for name, values in sums.items()}
            speed = (step - logged_step) * settings.batch_size / seconds
            elapsed = earlier_s + time.monotonic() - started
            _log(out_dir, step, settings, row | {"learning_rate": rate, "samples_per_s": speed, "elapsed_s": elapsed})
            bar.set_postfix(loss=f"{row['loss']:.4f}", refresh=False)
            sums, logged_at, logged_step = {}, time.monotonic(), step
        if step % settings.validate_every == 0 or step == settings.steps:
            _save(task, parameters, optimizer, ema, step, earlier_s + time.monotonic() - started, settings, out_dir)
            _validate_and_export(task, parameters, ema, step, settings, out_dir)
    bar.close()
    if step % settings.validate_every == 0 or step == settings.steps:
        return  # already saved
    _save(task, parameters, optimizer, ema, step, earlier_s + time.monotonic() - started, settings, out_dir)
    _validate_and_export(task, parameters, ema, step, settings, out_dir)


def learning_rate_at(step: int, settings: LoopSettings) -> float:
    """Linear warm-up, constant, then half a cosine down to a hundredth of the peak."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    decay_steps = settings.steps * settings.decay_share
    left = settings.steps - step
    cooled = 1.0 if left >= decay_steps else 0.01 + 0.99 * (0.5 - 0.5 * math.cos(math.pi * left / decay_steps))
    return settings.learning_rate * warm * cooled


def choose_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """bfloat16 autocast where the hardware computes it; plain float32 elsewhere.

    On a CPU without bfloat16 instructions autocast is slower than float32.
    """
    if device.type == "cpu" and not torch.cpu._is_avx512_bf16_supported():
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


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


def _optimise(
    task: Task,
    step: int,
    settings: LoopSettings,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> dict[str, float]:
    with autocast(device):
        losses = task.loss(step, step / settings.steps)
    losses["loss"].backward()
    norm = nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
    if torch.isfinite(norm):  # one bad batch must not destroy the averaged weights
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {name: float(value.detach()) for name, value in losses.items()} | {"gradient_norm": float(norm)}


def _decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    # Embeddings are left out: decay would shrink the words of the findings, which the base never sees.
    spared: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            (decayed if parameter.ndim > 1 and "embedding" not in name else spared).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]


def _average(ema: list[Tensor], parameters: list[nn.Parameter], decay: float) -> None:
    with torch.no_grad():
        torch._foreach_lerp_(ema, [p.detach() for p in parameters], 1 - decay)


def _copy(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


class _Interrupt:
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


def _out_of_time(started: float, settings: LoopSettings) -> bool:
    return settings.max_minutes is not None and time.monotonic() - started > settings.max_minutes * 60


def _validate_and_export(
    task: Task, parameters: list[nn.Parameter], ema: list[Tensor], step: int, settings: LoopSettings, out_dir: Path
) -> None:
    with averaged_weights(parameters, ema), torch.no_grad():
        figures = task.validate()
        task.export(out_dir)
    _log(out_dir, step, settings, {f"validation_{name}": value for name, value in figures.items()})


def _log(out_dir: Path, step: int, settings: LoopSettings, row: dict[str, float]) -> None:
    rounded = {name: float(f"{value:.6g}") for name, value in row.items()}
    with (out_dir / LOG).open("a") as lines:
        lines.write(json.dumps({"step": step, "samples": step * settings.batch_size} | rounded) + "\n")


def _save(
    task: Task,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    ema: list[Tensor],
    step: int,
    elapsed_s: float,
    settings: LoopSettings,
    out_dir: Path,
) -> None:
    tensors = {f"extra.{name}": value.contiguous() for name, value in task.extra_state().items()}
    for index, (parameter, averaged) in enumerate(zip(parameters, ema, strict=True)):
        tensors[f"trained.{index}"] = parameter.detach().contiguous()
        tensors[f"ema.{index}"] = averaged.contiguous()
        moments = optimizer.state.get(parameter, {})
        for name in ("exp_avg", "exp_avg_sq"):
            if name in moments:
                tensors[f"{name}.{index}"] = moments[name].contiguous()
    # Written beside and renamed: being killed here must not cost the last good checkpoint.
    save_file(tensors, out_dir / f"{CHECKPOINT}.tmp", metadata={"step": str(step), "elapsed_s": f"{elapsed_s:.1f}"})
    (out_dir / f"{CHECKPOINT}.tmp").replace(out_dir / CHECKPOINT)
    state = {"step": step, "elapsed_s": round(elapsed_s, 1), "settings": asdict(settings)}
    (out_dir / STATE).write_text(json.dumps(state, indent=2) + "\n")


def _resume(
    task: Task,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    ema: list[Tensor],
    out_dir: Path,
) -> tuple[int, float]:
    if not (out_dir / CHECKPOINT).exists():
        return 0, 0.0
    state = json.loads((out_dir / STATE).read_text())
    tensors = load_file(out_dir / CHECKPOINT)
    expected = {name for name in tensors if name.startswith("trained.")}
    if len(expected) != len(parameters):
        raise DataError(f"{out_dir} holds a checkpoint of another network; choose an empty --out folder")
    for index, parameter in enumerate(parameters):
        with torch.no_grad():
            parameter.copy_(tensors[f"trained.{index}"])
            ema[index].copy_(tensors[f"ema.{index}"])
        if f"exp_avg.{index}" in tensors:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(state["step"])),
                "exp_avg": tensors[f"exp_avg.{index}"].to(parameter.device),
                "exp_avg_sq": tensors[f"exp_avg_sq.{index}"].to(parameter.device),
            }
    task.load_extra_state({name[6:]: value for name, value in tensors.items() if name.startswith("extra.")})
    return state["step"], state["elapsed_s"]
