"""What every training task starts from: images split by patient, how long to train and how fast, and random numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cxr.labels.radiograph import Radiograph
from cxr.train.loop_settings import LoopSettings


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
