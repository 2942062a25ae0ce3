"""float32 or bfloat16 autocast: what is faster for a run is measured on the run itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from cxr.models.devices import WORTHWHILE_SPEEDUP, best_seconds, has_native_bfloat16
from cxr.train.parallel import any_process

ROUNDS = 2


@dataclass(frozen=True)
class Precision:
    """Where a run computes and in which format, torch.float32 or torch.bfloat16."""

    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """What its batches are computed under."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)


def choose_precision(device: torch.device, run: Callable[[Precision], object]) -> tuple[Precision, dict[str, float]]:
    """bfloat16 on a GPU; on a CPU that multiplies it, whichever format is faster; float32 elsewhere.

    Having bfloat16 instructions does not make a CPU faster with them, so both are timed.

    Args:
        device: where to train.
        run: computes one batch and its gradients.
    Returns:
        The format, and what was measured: seconds of the best of a few rounds, empty where nothing was.
    """
    float32, bfloat16 = Precision(device, torch.float32), Precision(device, torch.bfloat16)
    if device.type != "cpu":
        return bfloat16, {}
    if not has_native_bfloat16():
        return float32, {}
    float32_s, bfloat16_s = best_seconds([partial(run, float32), partial(run, bfloat16)], device, ROUNDS)
    times = {"float32_s": float32_s, "bfloat16_s": bfloat16_s}
    # One process that gains nothing decides for all, so that all compute alike.
    is_slow = any_process(float32_s < WORTHWHILE_SPEEDUP * bfloat16_s)
    return float32 if is_slow else bfloat16, times
