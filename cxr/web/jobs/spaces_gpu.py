"""Hugging Face ZeroGPU lends a GPU to decorated functions; everywhere else the decorator does nothing."""

from __future__ import annotations

import functools
import importlib
import math
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from cxr.models.presets import find_preset
from cxr.request.errors import CxrError
from cxr.request.generation_request import GenerationRequest
from cxr.request.recipe import COMPILED

if TYPE_CHECKING:
    from cxr.web.jobs.model_choice import ModelChoice

Function = TypeVar("Function", bound=Callable[..., object])

# Estimates, on the safe side: the time that is not used is not charged. No ZeroGPU was at hand to measure them.
START_S = 10.0  # moving the weights to the GPU, merging the LoRA, and the first, slower steps
STEP_S = 0.1  # a guided step of one image of 512 x 512; an A100 takes 0.043 s without compiling (diffusers' own figure)
FEWEST_STEP_S = 0.02  # below this the GPU waits for Python, however small the image
USUAL_RESOLUTION = 512  # of a model folder whose table row does not say
# ZeroGPU asks for 1.5 times as much on its present GPUs, and refuses what is more than is left of a visitor's day: two
# minutes for those who have not signed in.
MAX_SECONDS = 80

borrowers: list[Callable[..., object]] = []  # functions that need a GPU


def is_zero_gpu() -> bool:
    """Whether this is a Space on ZeroGPU, which sets this variable."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))


def gpu_seconds(request: GenerationRequest, choice: ModelChoice) -> int:
    """Time on the GPU to ask for, in seconds; ZeroGPU calls this with the arguments of the decorated function.

    Args:
        request: of it images, filled up to whole micro-batches, and steps count.
        choice: of it the size of the model's images counts.
    """
    from cxr.models.batch_size import ZERO_GPU_BATCH_SIZE  # torch takes seconds to import

    resolution = find_preset(choice.model).resolution or USUAL_RESOLUTION
    step_s = max(FEWEST_STEP_S, STEP_S * (resolution / USUAL_RESOLUTION) ** 2)
    num_images = math.ceil(request.num_images / ZERO_GPU_BATCH_SIZE) * ZERO_GPU_BATCH_SIZE
    num_steps = num_images * request.num_steps_in_all / request.num_images
    return min(MAX_SECONDS, math.ceil(START_S + num_steps * step_s))


def on_gpu(function: Function) -> Function:
    """Let a function with the parameters of `gpu_seconds` run where ZeroGPU has a GPU for it."""
    if not is_zero_gpu():
        return function
    borrowers.append(function)

    @functools.wraps(function)
    def borrowed(*arguments: object, **options: object) -> object:
        return lend_gpu(function)(*arguments, **options)

    return cast(Function, borrowed)


@functools.cache
def lend_gpu(function: Callable[..., object]) -> Callable[..., object]:
    """The function as ZeroGPU runs it; the function itself where its package is missing."""
    # Not when the module is imported: it brings gradio, which reads the environment that is prepared first.
    try:
        spaces = importlib.import_module("spaces")
    except ImportError:
        return function
    decorated: Callable[..., object] = spaces.GPU(duration=gpu_seconds)(function)
    return decorated


def place_model(choice: ModelChoice) -> None:
    """On ZeroGPU load the model now, while the main module is imported; elsewhere the server loads it by itself.

    Only the importing thread can put weights on a GPU that ZeroGPU has not lent yet, and each request's own process
    gets them with it.

    Args:
        choice: which model; if it cannot be loaded, that is said here, and again by the page.
    """
    if not is_zero_gpu():
        return
    from cxr.web.jobs.model_choice import load_model_for

    for function in borrowers:  # ZeroGPU wants to see them before the page is launched, and before torch
        lend_gpu(function)
    try:
        loaded = load_model_for(choice)
        if loaded.info.engine == COMPILED:
            from cxr.web.jobs.ahead_of_time import compile_ahead

            compile_ahead(loaded, importlib.import_module("spaces"))
    except CxrError as error:
        sys.stderr.write(f"{error}\n")
