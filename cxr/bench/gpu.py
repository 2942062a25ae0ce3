"""This program against plain diffusers on a GPU: the same weights, seeds, steps, guidance and scheduler in one run.

The arms take turns in each round, so that heat and other programs fall on all of them alike; medians over the rounds.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from cxr.bench.roofline import (
    PROMPT,
    call_diffusers,
    check_runs,
    count_flops,
    interleaved_medians,
    make_images,
    peak_flops_per_s,
)
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.models.devices import choose_device, run_step, seconds
from cxr.request.errors import RequestError
from cxr.request.generation_request import GenerationRequest

DEFAULT_RUNS = 5
PRODUCT = "this program"
PLAIN = ("float32", "float16")  # number formats of plain diffusers
# Speed-ups over plain float16 that are aimed at, for one image at a time and for the best batch.
GOAL_ONE, GOAL_BEST = 2.0, 1.3
# Shares of the GPU's own matrix products that are aimed at, by what its name holds.
GOAL_SHARES = {"A100": 0.38, "H100": 0.30}


@dataclass(frozen=True)
class GpuBench:
    """What was measured.

    Args:
        device: name of the GPU, or "cpu".
        model: name of the base model, which is timed without a LoRA.
        weight_dtype: number format that this program uses here.
        num_inference_steps: of every arm, all guided.
        runs: rounds.
        best_batch: the micro-batch that this program chose.
        image_s: median seconds an image, by arm (`PRODUCT`, or the format of plain diffusers) and batch.
        step_s: median seconds of one UNet step with the best batch.
        step_flops: operations of that step.
        peak_flops_per_s: of a matrix product in the same format and run.
    """

    device: str
    model: str
    weight_dtype: str
    num_inference_steps: int
    runs: int
    best_batch: int
    image_s: Mapping[tuple[str, int], float]
    step_s: float
    step_flops: int
    peak_flops_per_s: float

    def speedup(self, plain: str, batch: int) -> float:
        """How many times faster this program is than plain diffusers in a format, at a batch."""
        return self.image_s[plain, batch] / self.image_s[PRODUCT, batch]

    @property
    def roofline_share(self) -> float:
        """The UNet's operations per second as a share of the matrix product's."""
        return self.step_flops / self.step_s / self.peak_flops_per_s


def run_gpu_bench(model: str | None = None, runs: int = DEFAULT_RUNS, device: str = "cuda") -> GpuBench:
    """Measure.

    Args:
        model: as for ``load_model``; without a LoRA.
        runs: rounds, 1 to 100.
        device: "cuda"; tests measure a "cpu".
    Raises:
        RequestError: there is no such device, or ``runs`` is outside its range.
        GenerationError: the model makes no image from the bench's prompt.
    """
    check_runs(runs)
    if choose_device().type != device:
        raise RequestError("bench --gpu needs a CUDA device, and there is none here; use bench without --gpu")
    reference = load_model(model, "none", weight_dtype="float32", micro_batch_size=1)
    if (kind := type(reference.pipeline).__name__) != "StableDiffusionPipeline":
        raise RequestError(f"bench --gpu times StableDiffusionPipeline only; model {model!r} is a {kind}")
    plain = dict(plain_pipelines(reference))
    loaded = load_model(model, "none")
    image_s = _interleaved(loaded, plain, runs)
    step = partial(run_step, loaded.pipeline.unet, loaded.micro_batch_size)
    flops = count_flops(step)
    return GpuBench(
        device=torch.cuda.get_device_name(loaded.device) if device == "cuda" else device,
        model=loaded.info.model,
        weight_dtype=loaded.info.weight_dtype,
        num_inference_steps=GenerationRequest.num_inference_steps,
        runs=runs,
        best_batch=loaded.micro_batch_size,
        image_s=image_s,
        step_s=statistics.median(seconds(step, loaded.device) for _ in range(max(runs, DEFAULT_RUNS))),
        step_flops=flops,
        peak_flops_per_s=peak_flops_per_s(loaded.device, loaded.weight_dtype),
    )


def format_gpu_bench(result: GpuBench) -> str:
    """The result as a few lines of text, with the goals beside."""
    head = f"{result.device}: model {result.model} without a LoRA, {result.num_inference_steps} guided steps, "
    lines = [f"{head}median of {result.runs}, {result.weight_dtype}:"]
    for batch, goal in _batches(result.best_batch).items():
        lines.append(f"  batch {batch:<2}  {PRODUCT}: {result.image_s[PRODUCT, batch]:.3f} s an image")
        for dtype in PLAIN:
            beside = _beside(result.speedup(dtype, batch), goal) if dtype == "float16" else ""
            lines.append(
                f"  batch {batch:<2}  plain diffusers {dtype}: {result.image_s[dtype, batch]:.3f} s, "
                f"{result.speedup(dtype, batch):.2f} times as long{beside}"
            )
    share_goal = next((share for name, share in GOAL_SHARES.items() if name in result.device), None)
    lines.append(
        f"  UNet, batch {result.best_batch}: {result.step_flops / result.step_s / 1e12:.3g} of "
        f"{result.peak_flops_per_s / 1e12:.3g} TFLOP/s of a {result.weight_dtype} matrix product, "
        f"{result.roofline_share:.2f}{_beside(result.roofline_share, share_goal)}"
    )
    return "\n".join(lines)


def _batches(best: int) -> dict[int, float]:
    """The goal of each batch that is timed."""
    return {1: GOAL_ONE} if best == 1 else {1: GOAL_ONE, best: GOAL_BEST}


def _beside(value: float, goal: float | None) -> str:
    if goal is None:
        return " (no goal for this GPU)"
    return f" (goal {goal:g}: {'reached' if value >= goal else 'missed'})"


def plain_pipelines(loaded: LoadedModel) -> Iterator[tuple[str, Any]]:
    """The pipeline in the formats of `PLAIN`, with the layout, the VAE and the loop that diffusers itself gives it."""
    for name in PLAIN:
        pipeline = type(loaded.pipeline)(**copy.deepcopy(loaded.pipeline.components), requires_safety_checker=False)
        for network in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            to: Any = torch.nn.Module.to
            to(network, dtype=getattr(torch, name), memory_format=torch.contiguous_format)
        pipeline.set_progress_bar_config(disable=True)
        yield name, pipeline


def _interleaved(loaded: LoadedModel, plain: Mapping[str, Any], runs: int) -> dict[tuple[str, int], float]:
    """Median seconds an image of each arm and batch; they take turns."""
    arms: dict[tuple[str, int], Callable[[], object]] = {}
    for batch in _batches(loaded.micro_batch_size):
        arms[PRODUCT, batch] = partial(_make_images, loaded, batch)
        for name, pipeline in plain.items():
            arms[name, batch] = partial(_call_plain, pipeline, batch)
    medians = interleaved_medians(arms, runs, loaded.device)
    return {arm: taken_s / arm[1] for arm, taken_s in medians.items()}


def _make_images(loaded: LoadedModel, batch: int) -> None:
    chosen, loaded.micro_batch_size = loaded.micro_batch_size, batch
    try:
        make_images(loaded, num_images=batch, guidance_stop=1.0)
    finally:
        loaded.micro_batch_size = chosen


def _call_plain(pipeline: Any, batch: int) -> None:
    request = GenerationRequest(PROMPT, num_images=batch)
    call_diffusers(pipeline, request.num_inference_steps, request.guidance_scale, request.seeds)
