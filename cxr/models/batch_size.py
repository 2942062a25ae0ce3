"""How many images are denoised together: measured once on a machine's GPU, always one on a CPU.

The size decides the last bits of an image, so it is fixed when a model is loaded, named in every recipe, and can be
given: by CXR_BATCH_SIZE, and by whoever makes images again from their recipes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from cxr.models.decisions import decide_once
from cxr.models.devices import best_seconds
from cxr.request.errors import ModelError
from cxr.request.generation_request import GenerationRequest
from cxr.request.recipe_checks import MAX_MICRO_BATCH_SIZE

if TYPE_CHECKING:
    from diffusers import ModelMixin

BATCH_SIZE_VARIABLE = "CXR_BATCH_SIZE"
BATCH_SIZES = (1, 2, 4, 8, 16)
# Images per second that a larger batch must win by: a request for one image fills the rest of it up in vain.
WORTHWHILE_GAIN = 1.05
# ZeroGPU has no GPU while the model is loaded, and what is measured later is lost with the process that had one. So is
# what a machine measures that cannot keep it.
ZERO_GPU_BATCH_SIZE = 4
# Of MPS, of torch on Linux and on Windows, and of oneDNN, where it cannot have the memory of a kernel. It says the same
# of a "primitive descriptor" where it does not know how to compute something.
ALLOCATOR_MESSAGES = re.compile(
    "MPS backend out of memory|can't allocate memory|not enough memory: you tried to allocate"
    "|could not create a primitive(?! desc)|could not create a memory object|could not execute a primitive"
)

Work = Callable[[int], object]


@dataclass(frozen=True)
class Trial:
    """Time and memory of one micro-batch.

    Args:
        seconds: for all its images, from noise to pixels.
        peak_bytes: of the GPU's memory at the worst moment, beyond what lay there before.
    """

    seconds: float
    peak_bytes: int = 0


def choose_micro_batch_size(device: torch.device, step: Work, decode: Work, model: str = "") -> int:
    """The size for a model: what CXR_BATCH_SIZE says, else what was once found fastest on the GPU, else 1.

    Args:
        step: runs the denoising network once, on as many guided images.
        decode: runs the VAE once, on as many images.
        model: what the size is kept under; without a name it is measured each time.
    Raises:
        ModelError: CXR_BATCH_SIZE is not a whole number from 1 to 64.
    """
    wanted = os.environ.get(BATCH_SIZE_VARIABLE, "")
    if wanted:
        if not wanted.isascii() or not wanted.isdigit() or not 1 <= int(wanted[:9]) <= MAX_MICRO_BATCH_SIZE:
            allowed = f"use a whole number from 1 to {MAX_MICRO_BATCH_SIZE}, or leave it unset"
            raise ModelError(f"{BATCH_SIZE_VARIABLE} is {wanted!r}; {allowed}")
        return int(wanted)
    if device.type != "cuda":
        return 1
    if os.environ.get("SPACES_ZERO_GPU"):
        return ZERO_GPU_BATCH_SIZE

    def measure() -> str:
        free_bytes, _ = torch.cuda.mem_get_info(device)
        return str(fastest_batch_size(lambda size: try_batch(size, device, step, decode), free_bytes))

    kept = decide_once(f"batch size of {model}", measure, str(ZERO_GPU_BATCH_SIZE)) if model else measure()
    return int(kept) if kept in map(str, BATCH_SIZES) else ZERO_GPU_BATCH_SIZE


def fastest_batch_size(run: Callable[[int], Trial], free_bytes: int | None = None) -> int:
    """The one of `BATCH_SIZES` with the most images per second; a larger one only if it wins by `WORTHWHILE_GAIN`.

    Args:
        run: makes a micro-batch of a size; may run out of memory.
        free_bytes: of the GPU's memory; a size that would need more, by the size before it, is not tried.
    """
    best_size, best_rate, last = BATCH_SIZES[0], 0.0, (0, 0)
    for size in BATCH_SIZES:
        last_size, last_bytes = last
        if free_bytes is not None and last_size and last_bytes / last_size * size > free_bytes:
            break
        try:
            trial = run(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        last = (size, trial.peak_bytes)
        rate = size / trial.seconds
        if rate > best_rate * WORTHWHILE_GAIN:
            best_size, best_rate = size, rate
    free_memory()
    return best_size


@torch.inference_mode()
def try_batch(size: int, device: torch.device, step: Work, decode: Work) -> Trial:
    """Time a micro-batch with the default number of steps: one step and one decoding are run.

    Args:
        size: images of the micro-batch.
        step: runs the denoising network once, on as many guided images.
        decode: runs the VAE once, on as many images.
    """
    before = _start_counting(device)
    (step_s,), (decode_s,) = (best_seconds([partial(work, size)], device) for work in (step, decode))
    peak = torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else 0
    return Trial(GenerationRequest.num_inference_steps * step_s + decode_s, peak)


@torch.inference_mode()
def decode_zeros(vae: ModelMixin, side: int, size: int) -> torch.Tensor:
    """Decode as many empty latents [size, C, side, side]."""
    latents = next(vae.parameters()).new_zeros(size, vae.config.latent_channels, side, side)
    decoded: torch.Tensor = vae.decode(latents, return_dict=False)[0]
    return decoded


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the GPU or of the machine, did not suffice."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and ALLOCATOR_MESSAGES.search(str(error)) is not None


def free_memory() -> None:
    """Give back what torch keeps of the GPU's memory for later, so that a smaller batch finds it in one piece."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _start_counting(device: torch.device) -> int:
    """Bytes of the GPU's memory in use, from where its peak is counted anew."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)
