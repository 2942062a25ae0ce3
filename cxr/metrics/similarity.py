"""Structural similarity among images of one prompt: a measure of diversity, not of quality."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from cxr.metrics.result import MetricResult
from cxr.request.errors import DataError

SMALLEST_SIDE = 161  # pixels; five scales of MS-SSIM with windows of 11 need more than 160
DATA_RANGE = 255
BATCH = 16


def measure_similarity(
    groups: Sequence[NDArray[np.uint8]], pairs_per_group: int = 100, seed: int = 0
) -> tuple[MetricResult, MetricResult]:
    """SSIM and MS-SSIM of pairs within groups, usually the images of one prompt; lower is more diverse.

    Args:
        groups: each [N, H, W] uint8, sides above 160; a group of one image has no pairs and is left out.
        pairs_per_group: at most so many, drawn at random.
        seed: of the draw.
    Returns:
        Means over the pairs, each group counting the same.
    Raises:
        DataError: no group has two images, or they are too small.
    Source:
        Wang et al., IEEE TIP 2004 (SSIM) and Asilomar 2003 (MS-SSIM); Odena et al., ICML 2017 (as diversity).
    """
    rng, rows, num_pairs, side = np.random.default_rng(seed), [], 0, 0
    for images in groups:
        if len(images) < 2:
            continue
        side = min(images.shape[1:])
        if side < SMALLEST_SIDE:
            raise DataError(f"images are {images.shape[2]}x{images.shape[1]} pixels; MS-SSIM needs {SMALLEST_SIDE}")
        pairs = np.array(list(combinations(range(len(images)), 2)))
        if len(pairs) > pairs_per_group:
            pairs = pairs[np.sort(rng.choice(len(pairs), pairs_per_group, replace=False))]
        rows.append(_similarities(images, pairs).mean(axis=0))
        num_pairs += len(pairs)
    if not rows:
        raise DataError("no prompt has two images or more, so their similarity cannot be measured")
    settings = {"num_groups": len(rows), "num_pairs": num_pairs, "data_range": DATA_RANGE, "size": side}
    ssim, ms_ssim = np.mean(rows, axis=0).tolist()
    return MetricResult("SSIM", ssim, settings=settings), MetricResult("MS-SSIM", ms_ssim, settings=settings)


def _similarities(images: NDArray[np.uint8], pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    """SSIM and MS-SSIM of each pair: [P, 2]."""
    rows = []
    for start in range(0, len(pairs), BATCH):
        # In float: differences of uint8 would wrap around.
        left, right = (torch.from_numpy(images[pairs[start : start + BATCH, side]]).float()[:, None] for side in (0, 1))
        ssim = structural_similarity_index_measure(left, right, data_range=float(DATA_RANGE), reduction="none")
        ms_ssim = multiscale_structural_similarity_index_measure(
            left, right, data_range=float(DATA_RANGE), reduction="none"
        )
        assert isinstance(ssim, torch.Tensor), "without return_full_image it is one tensor"
        rows.append(torch.stack([ssim, ms_ssim], dim=1))
    return torch.cat(rows).double().numpy()
