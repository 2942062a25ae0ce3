"""Hugging Face ZeroGPU lends a GPU to decorated functions; everywhere else the decorator does nothing."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

from cxr.schema import GenerationRequest

Function = TypeVar("Function", bound=Callable[..., Any])

START_S = 10.0  # moving to the GPU and the first, slower steps
STEP_S = 0.1


def gpu_seconds(request: GenerationRequest, choice: Any) -> int:
    """Time on the GPU to ask for; ZeroGPU calls this with the arguments of the decorated function."""
    return math.ceil(START_S + STEP_S * request.num_images * request.num_inference_steps)


def on_gpu(function: Function) -> Function:
    """Let a function run where ZeroGPU has a GPU for it."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return function
    try:
        spaces = importlib.import_module("spaces")
    except ImportError:
        return function
    decorated: Function = spaces.GPU(duration=gpu_seconds)(function)
    return decorated
