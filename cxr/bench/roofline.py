"""What share of a device's arithmetic the denoising network uses."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

GEMM_SIDES = {"cuda": (4096, 8192), "cpu": (256, 512)}
GEMM_ROUNDS = 10


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of some work, 2 for each multiplication with addition; only large operations count."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        work()
    return int(counter.get_total_flops())


@torch.inference_mode()
def peak_flops_per_s(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of this device's own matrix product: the best of a few square sizes and rounds.

    Args:
        device: "cuda" or "cpu".
        dtype: of the matrices.
    """
    best = 0.0
    for side in GEMM_SIDES["cuda" if device.type == "cuda" else "cpu"]:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        for _ in range(GEMM_ROUNDS):
            taken_s = seconds(lambda left=left, right=right: left @ right, device)  # type: ignore[misc]
            best = max(best, 2 * side**3 / taken_s)
    return best


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Time of some work, until the device has finished it."""
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
