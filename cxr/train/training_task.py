"""What the training loop trains, and what a task may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from cxr.train.checkpoint import TrainingProgress
from cxr.train.precision import Precision


class Task(Protocol):
    """What the loop trains: modules with trained weights, a loss and a way to check them."""

    trained: nn.Module
    """The weights that the main optimizer and the EMA see."""

    def loss(self, step: int) -> dict[str, Tensor]:
        """Losses of batch number ``step``; "loss" is minimised, the others are logged."""

    def validate(self) -> dict[str, float]:
        """Figures on held-out patients, with the weights as they are now."""

    def export(self, out_dir: Path) -> None:
        """Write the current weights in the form that ships."""


@dataclass(frozen=True)
class Run:
    """What a task may ask of the loop besides its settings.

    Args:
        precision: where and in which format to compute; None for the faster of float32 and bfloat16.
        facts: what the weights depend on, kept with the checkpoint for `cxr.train.checkpoint.check_same_run`.
        first_row: figures for the first line of the log.
        report: called after each look at held-out patients, with the averaged weights in their place.
        validate_first: look at held-out patients before the first step too.
    """

    precision: Precision | None = None
    facts: Mapping[str, object] | None = None
    first_row: Mapping[str, float] = field(default_factory=dict)
    report: Callable[[TrainingProgress], None] = lambda progress: None
    validate_first: bool = False
