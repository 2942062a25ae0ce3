"""Noise of an image from its own seed alone, so that no image depends on its neighbours in a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def generator_for(seed: int) -> torch.Generator:
    """The random generator of one image.

    It lives on the CPU, also when the model runs on a GPU: CUDA generators give other numbers for the same seed.

    Args:
        seed: 0 to 2**53 - 1.
    """
    return torch.Generator(device="cpu").manual_seed(seed)


def initial_latents(seeds: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    """Starting noise, one row per seed.

    Args:
        seeds: one per image.
        shape: (channels, height, width) of one image's latents.
    Returns:
        [B, C, h, w] float32 on the CPU, standard normal; row k depends on ``seeds[k]`` and on nothing else.
    """
    rows = [torch.randn(shape, generator=generator_for(seed), dtype=torch.float32) for seed in seeds]
    return torch.stack(rows)
