"""Structural similarity among images of one prompt: a measure of diversity, not of quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from cxr.request.errors import DataError

SMALLEST_SIDE = 161  # pixels; five scales of MS-SSIM with windows of 11 need more than 160
DATA_RANGE = 255.0
BATCH = 16


@dataclass(frozen=True)
class Similarity:
    """Means over pairs of images from the same group, each group counting the same; lower is more diverse."""

    ssim: float
    ms_ssim: float
    num_groups: int
    num_pairs: int


def measure_similarity(groups: Sequence[NDArray[np.uint8]], pairs_per_group: int = 100, seed: int = 0) -> Similarity:
    """SSIM and MS-SSIM of pairs within groups, usually the images of one prompt.

    Args:
        groups: each [N, H, W] uint8, sides above 160; a group of one image has no pairs and is left out.
        pairs_per_group: at most so many, drawn at random.
        seed: of the draw.
    Raises:
        DataError: no group has two images, or they are too small.
    Source:
        Wang et al., IEEE TIP 2004 (SSIM) and Asilomar 2003 (MS-SSIM); Odena et al., ICML 2017 (as diversity).
    """
    chance = np.random.default_rng(seed)
    rows, num_pairs = [], 0
    for images in groups:
        if len(images) < 2:
            continue
        if min(images.shape[1:]) < SMALLEST_SIDE:
            raise DataError(f"images are {images.shape[2]}x{images.shape[1]} pixels; MS-SSIM needs {SMALLEST_SIDE}")
        pairs = np.array(list(combinations(range(len(images)), 2)))
        if len(pairs) > pairs_per_group:
            pairs = pairs[np.sort(chance.choice(len(pairs), pairs_per_group, replace=False))]
        rows.append(_similarities(images, pairs).mean(axis=0))
        num_pairs += len(pairs)
    if not rows:
        raise DataError("no prompt has two images or more, so their similarity cannot be measured")
    ssim, ms_ssim = np.mean(rows, axis=0)
    return Similarity(float(ssim), float(ms_ssim), len(rows), num_pairs)


def _similarities(images: NDArray[np.uint8], pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    """SSIM and MS-SSIM of each pair: [P, 2]."""
    parts = []
    for start in range(0, len(pairs), BATCH):
        # In float: differences of uint8 would wrap around.
        first, second = (_as_batch(images[pairs[start : start + BATCH, side]]) for side in (0, 1))
        ssim = structural_similarity_index_measure(first, second, data_range=DATA_RANGE, reduction="none")
        ms_ssim = multiscale_structural_similarity_index_measure(first, second, data_range=DATA_RANGE, reduction="none")
        parts.append(torch.stack([_tensor(ssim), _tensor(ms_ssim)], dim=1))
    return torch.cat(parts).double().numpy()


def _as_batch(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).float()[:, None]


def _tensor(value: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    return value if isinstance(value, Tensor) else value[0]
