"""Structural similarity of images: how alike their structure is, pixel by pixel. Blurring raises it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from cxr.request.errors import DataError

MIN_SIDE = 161  # pixels; five scales of MS-SSIM with windows of 11 need more than 160
DATA_RANGE = 255.0
BATCH = 16


def similarities(images: NDArray[np.uint8], max_pairs: int = 100) -> tuple[float, float, int]:
    """Mean SSIM and MS-SSIM of the pairs of some images.

    Args:
        images: [N, H, W] uint8, two or more, sides above 160.
        max_pairs: at most so many, drawn at random.
    Returns:
        SSIM, MS-SSIM, and the number of pairs.
    Raises:
        DataError: there are fewer than two images, or they are too small.
    Source:
        Wang et al., IEEE TIP 2004 (SSIM) and Asilomar 2003 (MS-SSIM); Odena et al., ICML 2017 (as diversity).
    """
    if len(images) < 2 or min(images.shape[1:]) < MIN_SIDE:
        raise DataError(f"there are {list(images.shape)} pixels; use two images or more of {MIN_SIDE} pixels")
    pairs = np.array(list(combinations(range(len(images)), 2)))
    if len(pairs) > max_pairs:
        pairs = pairs[np.sort(np.random.default_rng(0).choice(len(pairs), max_pairs, replace=False))]
    rows = []
    for start in range(0, len(pairs), BATCH):
        # In float: differences of uint8 would wrap around.
        left, right = (torch.from_numpy(images[pairs[start : start + BATCH, side]]).float()[:, None] for side in (0, 1))
        ssim = structural_similarity_index_measure(left, right, data_range=DATA_RANGE, reduction="none")
        ms_ssim = multiscale_structural_similarity_index_measure(left, right, data_range=DATA_RANGE, reduction="none")
        assert isinstance(ssim, torch.Tensor), "without return_full_image it is one tensor"
        rows.append(torch.stack([ssim, ms_ssim], dim=1))
    first, second = torch.cat(rows).double().mean(dim=0).tolist()
    return first, second, len(pairs)
