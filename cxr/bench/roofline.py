"""What both benches share: the prompt, the runs, and the share of a device's arithmetic that is used."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from cxr.generate.images import generate
from cxr.generate.loaded_model import LoadedModel
from cxr.models.devices import seconds
from cxr.request.errors import GenerationError, RequestError
from cxr.request.events import FailedImage
from cxr.request.generation_request import GenerationRequest

PROMPT = "A 55-year-old man with pneumonia"
MAX_RUNS = 100
GEMM_SIDES = {"cuda": (4096, 8192), "cpu": (256, 512)}
GEMM_ROUNDS = 10

Arm = TypeVar("Arm")


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


def interleaved_medians(arms: Mapping[Arm, Callable[[], object]], runs: int, device: torch.device) -> dict[Arm, float]:
    """Median seconds of each arm; every round runs all of them, after one that only warms up.

    Args:
        arms: what is timed, by its name.
        runs: rounds.
        device: where it runs.
    """
    taken: dict[Arm, list[float]] = {arm: [] for arm in arms}
    for number in range(1 + runs):
        for arm, work in arms.items():
            taken_s = seconds(work, device)
            if number:
                taken[arm].append(taken_s)
    return {arm: statistics.median(values) for arm, values in taken.items()}


def check_runs(runs: int) -> None:
    """Refuse a number of rounds that is none.

    Raises:
        RequestError: it is outside 1 to `MAX_RUNS`.
    """
    if not 1 <= runs <= MAX_RUNS:
        raise RequestError(f"is {runs}; use a whole number from 1 to {MAX_RUNS}", field="runs")


def make_images(loaded: LoadedModel, **settings: float) -> None:
    """Make images of the bench's prompt.

    Args:
        loaded: by which model.
        settings: fields of the request that are not the defaults.
    Raises:
        GenerationError: the model makes none of it.
    """
    for event in generate(GenerationRequest(PROMPT, **settings), loaded):  # type: ignore[arg-type]
        if isinstance(event, FailedImage):
            raise GenerationError(f"the bench's prompt gives no image: {event.reason}")


def call_diffusers(pipeline: Any, num_inference_steps: int, guidance_scale: float, seeds: Sequence[int] = (0,)) -> None:
    """Make images of the bench's prompt by the pipeline's own call."""
    pipeline(
        PROMPT,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        num_images_per_prompt=len(seeds),
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="np",
    )
