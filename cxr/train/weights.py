"""The trained weights: in groups of one learning rate, with their gradients clipped, and averaged over the steps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from cxr.train.loop_settings import LoopSettings


def clip_gradients(optimizer: torch.optim.Optimizer, clip_norm: float) -> float:
    """Clip the weights of each learning rate by themselves: they may be two networks. Returns the whole norm."""
    sides: dict[float, list[nn.Parameter]] = {}
    for group in optimizer.param_groups:
        sides.setdefault(group["rate"], []).extend(group["params"])
    return math.hypot(*(float(nn.utils.clip_grad_norm_(side, clip_norm)) for side in sides.values()))


def parameter_groups(module: nn.Module, settings: LoopSettings) -> list[dict[str, object]]:
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
        for mean, parameter in zip(ema, parameters, strict=True):
            mean.lerp_(parameter, 1 - decay)


@contextlib.contextmanager
def averaged_weights(parameters: list[nn.Parameter], ema: list[Tensor]) -> Iterator[None]:
    """Put the EMA weights into the modules, and the trained ones back afterwards."""
    trained = [parameter.detach().clone() for parameter in parameters]
    _copy(ema, parameters)
    try:
        yield
    finally:
        _copy(trained, parameters)


@torch.no_grad()
def _copy(values: list[Tensor], parameters: list[nn.Parameter]) -> None:
    for value, parameter in zip(values, parameters, strict=True):
        parameter.copy_(value)
