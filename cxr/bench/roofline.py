"""What the hardware's own arithmetic reaches, and images of the bench's prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers import DiffusionPipeline
from torch.utils.flop_counter import FlopCounterMode

from cxr.bench.rounds import PROMPT, Stopwatch
from cxr.generate.images import generate
from cxr.generate.loaded_model import LoadedModel
from cxr.models.devices import cast_weights
from cxr.request.errors import GenerationError
from cxr.request.events import FailedImage
from cxr.request.generation_request import GenerationRequest

GEMM_SIDES = {"cuda": (4096, 8192), "cpu": (256, 512)}
CONV_SHAPES = {"cuda": ((512, 64), (1024, 64)), "cpu": ((128, 32), (256, 16))}  # channels, height and width
ROUNDS = 10

Work = Callable[[], object]


def count_flops(work: Work) -> int:
    """Floating-point operations of some work, 2 for each multiplication with addition; only large operations count."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        work()
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class Peak:
    """Operations per second that the hardware's own routines reach.

    Args:
        gemm: of a matrix product.
        conv: of a convolution with 3 x 3 weights.
    """

    gemm: float
    conv: float

    @property
    def best(self) -> float:
        """The higher of both."""
        return max(self.gemm, self.conv)


def measure_peak(device: torch.device, dtype: torch.dtype, watch: Stopwatch) -> Peak:
    """The best of a few sizes and rounds.

    Args:
        device: "cuda" or "cpu".
        dtype: of the numbers.
    """
    kind = "cuda" if device.type == "cuda" else "cpu"
    return Peak(
        gemm=max(_best_rate(_gemm(side, device, dtype), watch) for side in GEMM_SIDES[kind]),
        conv=max(_best_rate(_conv(*shape, device, dtype), watch) for shape in CONV_SHAPES[kind]),
    )


def _gemm(side: int, device: torch.device, dtype: torch.dtype) -> Work:
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return lambda: left @ right


def _conv(channels: int, side: int, device: torch.device, dtype: torch.dtype) -> Work:
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, device=device, dtype=dtype)
    cast_weights(layer, dtype)
    picture = torch.randn(2, channels, side, side, device=device).to(dtype).to(memory_format=torch.channels_last)
    return lambda: layer(picture)


@torch.inference_mode()
def _best_rate(work: Work, watch: Stopwatch) -> float:
    """Operations per second in the quickest of some rounds."""
    flops = count_flops(work)
    return max(flops / watch(work) for _ in range(ROUNDS))


def make_bench_images(loaded: LoadedModel, **settings: float) -> None:
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


def call_diffusers(
    pipeline: DiffusionPipeline, num_inference_steps: int, guidance_scale: float, seeds: Sequence[int]
) -> None:
    """Make images of the bench's prompt by the pipeline's own call."""
    pipeline(
        PROMPT,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        num_images_per_prompt=len(seeds),
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="np",
    )
