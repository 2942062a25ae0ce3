"""What every training task starts from: images split by patient, how long to train and how fast, and random numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from cxr.labels.radiograph import Radiograph
from cxr.request.errors import RequestError

ABOVE_ZERO = (
    *("steps", "batch_size", "gradient_accumulation_steps", "learning_rate"),
    *("log_every", "validate_every"),
)


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to train.

    Args:
        steps: optimizer steps in all.
        batch_size: samples computed at once, in each process.
        learning_rate: peak of the schedule.
        warmup_steps: linear rise at the start.
        decay_share: last share of the steps in which the rate falls to a hundredth, along a half cosine.
        ema_decay: decay of the averaged weights per step; it rises from 0 as (1 + k) / (10 + k).
        betas: of AdamW.
        gradient_accumulation_steps: batches of one optimizer step, whose gradients are averaged.
        rates: factor on the learning rate of the weights whose names begin so.
        checkpoint_every: steps between checkpoints; None for one with each look at held-out patients.
        max_minutes: stop and save after this time even if steps are left; None for no limit.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 200
    decay_share: float = 0.2
    ema_decay: float = 0.999
    betas: tuple[float, float] = (0.9, 0.99)
    gradient_accumulation_steps: int = 1
    rates: Mapping[str, float] = field(default_factory=dict)
    clip_norm: float = 1.0
    weight_decay: float = 0.01
    seed: int = 0
    log_every: int = 50
    validate_every: int = 1000
    checkpoint_every: int | None = None
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        for name in ABOVE_ZERO:
            if getattr(self, name) <= 0:
                raise RequestError(f"{name} is {getattr(self, name)}; use a number above 0")


@dataclass(frozen=True)
class Setup:
    """Records to learn from, records of other patients to check with, settings of the loop and the device."""

    training: Sequence[Radiograph]
    validation: Sequence[Radiograph]
    settings: LoopSettings
    device: torch.device


def learning_rate_at(step: int, settings: LoopSettings) -> float:
    """Linear warm-up, constant, then half a cosine down to a hundredth of the peak."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    decay_steps = settings.steps * settings.decay_share
    left = settings.steps - step
    cooled = 1.0 if left >= decay_steps else 0.01 + 0.99 * (0.5 - 0.5 * math.cos(math.pi * left / decay_steps))
    return settings.learning_rate * warm * cooled


def batch_generator(seed: int, step: int) -> torch.Generator:
    """The random source of one step, a function of (seed, step) alone."""
    return torch.Generator().manual_seed(seed_of_batch(seed, step))


def seed_of_batch(seed: int, step: int) -> int:
    """A seed for everything that a batch draws."""
    return (seed * 1_000_003 + step) % 2**63
