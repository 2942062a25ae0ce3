"""Checkpoints of a training run: weights, averages and optimizer moments as safetensors, so nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cxr.request.errors import DataError

CHECKPOINT = "checkpoint.safetensors"
STATE = "state.json"
# Facts of a checkpoint: what its run depends on, and the steps that its optimizer took: fewer than the run's where
# gradients were not finite.
RUN, OPTIMIZER_STEP = "run", "optimizer_step"


@dataclass
class Progress:
    """Everything that changes while training: what is saved, and what a cut-off run takes back.

    Args:
        parameters: the trained weights.
        ema: their averages, in the same order.
        optimizer: AdamW over the parameters.
        step: optimizer steps taken.
        samples: images seen, over all processes.
        elapsed_s: training time so far, over all runs.
        buffers: what modules keep beside their weights.
    """

    parameters: list[nn.Parameter]
    ema: list[Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    samples: int = 0
    elapsed_s: float = 0.0
    buffers: list[Tensor] = field(default_factory=list)


def save(progress: Progress, settings: Any, out_dir: Path, facts: dict[str, str] | None = None) -> None:
    """Write the checkpoint and a readable ``state.json``.

    Args:
        progress: what to keep.
        settings: a dataclass, for the reader of ``state.json`` only.
        out_dir: an existing folder.
        facts: what else `read_facts` should tell of the checkpoint.
    """
    tensors = {f"buffer.{index}": buffer.contiguous() for index, buffer in enumerate(progress.buffers)}
    for index, (parameter, averaged) in enumerate(zip(progress.parameters, progress.ema, strict=True)):
        tensors[f"trained.{index}"] = parameter.detach().contiguous()
        tensors[f"ema.{index}"] = averaged.contiguous()
        moments = progress.optimizer.state.get(parameter, {})
        for name in ("exp_avg", "exp_avg_sq"):
            if name in moments:
                tensors[f"{name}.{index}"] = moments[name].contiguous()
    # Written beside and renamed: being killed here must not cost the last good checkpoint.
    told = {"step": str(progress.step), "samples": str(progress.samples), "elapsed_s": f"{progress.elapsed_s:.1f}"}
    states = progress.optimizer.state.values()
    told[OPTIMIZER_STEP] = str(max((int(state["step"]) for state in states), default=0))
    save_file(tensors, out_dir / f"{CHECKPOINT}.tmp", metadata=told | (facts or {}))
    (out_dir / f"{CHECKPOINT}.tmp").replace(out_dir / CHECKPOINT)
    state = {
        "step": progress.step,
        "samples": progress.samples,
        "elapsed_s": round(progress.elapsed_s, 1),
        "settings": asdict(settings),
    }
    (out_dir / STATE).write_text(json.dumps(state, indent=2) + "\n")


def read_facts(out_dir: Path) -> dict[str, str]:
    """What the checkpoint of a folder tells of itself, without its weights; nothing where there is none.

    Raises:
        DataError: the checkpoint is damaged.
    """
    if not (out_dir / CHECKPOINT).exists():
        return {}
    try:
        with safe_open(out_dir / CHECKPOINT, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise DataError(f"the checkpoint in {out_dir} is damaged; choose an empty --out folder") from error


def resume(progress: Progress, out_dir: Path) -> None:
    """Take back what ``save`` wrote, if there is a checkpoint.

    Raises:
        DataError: the checkpoint is of another network.
    """
    if not (out_dir / CHECKPOINT).exists():
        return
    tensors, told = load_file(out_dir / CHECKPOINT), read_facts(out_dir)
    shapes = [tensors[name].shape for name in tensors if name.startswith("trained.")]
    if sorted(shapes) != sorted(parameter.shape for parameter in progress.parameters):
        raise DataError(f"{out_dir} holds a checkpoint of another network; choose an empty --out folder")
    progress.step, progress.samples = int(told["step"]), int(told["samples"])
    progress.elapsed_s = float(told["elapsed_s"])
    optimizer_step = float(told.get(OPTIMIZER_STEP, progress.step))
    for index, buffer in enumerate(progress.buffers):
        buffer.copy_(tensors[f"buffer.{index}"])
    for index, parameter in enumerate(progress.parameters):
        with torch.no_grad():
            parameter.copy_(tensors[f"trained.{index}"])
            progress.ema[index].copy_(tensors[f"ema.{index}"])
        if f"exp_avg.{index}" in tensors:
            progress.optimizer.state[parameter] = {
                "step": torch.tensor(optimizer_step, device=parameter.device),
                "exp_avg": tensors[f"exp_avg.{index}"].to(parameter.device),
                "exp_avg_sq": tensors[f"exp_avg_sq.{index}"].to(parameter.device),
            }


def check_same_run(out_dir: Path, facts: Mapping[str, object], unspoken: Collection[str]) -> None:
    """Refuse to go on from a checkpoint that was made otherwise.

    Args:
        out_dir: of the run.
        facts: what its weights depend on, as the checkpoint keeps it.
        unspoken: those of them whose values say nothing to people; their names say what is different.
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
            how = name if name in unspoken else f"{name} {before.get(name)}, and this one has {value}"
            raise DataError(f"{out_dir} holds a run with {how}; use the same again, or an empty --out folder")
