"""Checkpoints of a training run: weights, averages and optimizer moments as safetensors, so nothing is unpickled.

``Accelerator.save_state`` does not serve: it pickles the optimizer, the schedule and the random generators.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cxr.request.errors import DataError
from cxr.train.loop_settings import LoopSettings

CHECKPOINT = "checkpoint.safetensors"
STATE = "state.json"
KINDS = {"trained", "ema", "buffer", "optimizer"}  # of tensors in a checkpoint
RUN = "run"  # the fact of a checkpoint that says what its run depends on


@dataclass
class TrainingProgress:
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


def save(
    progress: TrainingProgress, settings: LoopSettings, out_dir: Path, facts: dict[str, str] | None = None
) -> None:
    """Write the checkpoint and a readable ``state.json``.

    Args:
        progress: what to keep.
        settings: for the reader of ``state.json`` only.
        out_dir: an existing folder.
        facts: what else `read_facts` is to find.
    """
    tensors = {f"buffer.{index}": buffer for index, buffer in enumerate(progress.buffers)}
    tensors |= {f"trained.{index}": parameter.detach() for index, parameter in enumerate(progress.parameters)}
    tensors |= {f"ema.{index}": average for index, average in enumerate(progress.ema)}
    for index, moments in progress.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    state = {"step": progress.step, "samples": progress.samples, "elapsed_s": round(progress.elapsed_s, 1)}
    metadata = {name: str(value) for name, value in state.items()} | (facts or {})
    # Written beside and renamed: being killed here must not cost the last good checkpoint.
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, out_dir / f"{CHECKPOINT}.tmp", metadata)
    (out_dir / f"{CHECKPOINT}.tmp").replace(out_dir / CHECKPOINT)
    # Those of every training alone: others may be prompts.
    shown = {row.name: getattr(settings, row.name) for row in fields(LoopSettings)}
    (out_dir / STATE).write_text(json.dumps(state | {"settings": shown}, indent=2) + "\n")


def read_facts(out_dir: Path) -> dict[str, str]:
    """What the checkpoint of a folder says of itself, without its weights; nothing where there is none.

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


def resume(progress: TrainingProgress, out_dir: Path) -> None:
    """Take back what ``save`` wrote, if there is a checkpoint.

    Raises:
        DataError: the checkpoint is of another network, or of another version of this program.
    """
    if not (out_dir / CHECKPOINT).exists():
        return
    tensors, facts = load_file(out_dir / CHECKPOINT), read_facts(out_dir)
    shapes = [tensors[name].shape for name in tensors if name.startswith("trained.")]
    if sorted(shapes) != sorted(parameter.shape for parameter in progress.parameters):
        raise DataError(f"{out_dir} holds a checkpoint of another network; choose an empty --out folder")
    if foreign := {name.partition(".")[0] for name in tensors} - KINDS:
        raise DataError(
            f"{out_dir} holds a checkpoint of another version of this program (it has {min(foreign)}); "
            "go on with that version, or choose an empty --out folder"
        )
    progress.step, progress.samples = int(facts["step"]), int(facts["samples"])
    progress.elapsed_s = float(facts["elapsed_s"])
    kept: dict[str, Sequence[Tensor]] = {
        "trained": progress.parameters,
        "ema": progress.ema,
        "buffer": progress.buffers,
    }
    moments: dict[int, dict[str, Tensor]] = {}
    with torch.no_grad():
        for name, tensor in tensors.items():
            kind, index, *rest = name.split(".")
            if kind == "optimizer":
                moments.setdefault(int(index), {})[rest[0]] = tensor
            else:
                kept[kind][int(index)].copy_(tensor)
    progress.optimizer.load_state_dict(progress.optimizer.state_dict() | {"state": moments})


def check_same_run(out_dir: Path, facts: Mapping[str, object], opaque: Collection[str]) -> None:
    """Refuse to go on from a checkpoint that was made otherwise.

    Args:
        out_dir: of the run.
        facts: what its weights depend on, as the checkpoint keeps it.
        opaque: those of them whose values say nothing to people; their names say what is different.
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
            how = name if name in opaque else f"{name} {before.get(name)}, and this one has {value}"
            raise DataError(f"{out_dir} holds a run with {how}; use the same again, or an empty --out folder")
