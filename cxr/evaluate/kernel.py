"""Kernel distances of two sets of features: unbiased at any number of images, where the Frechet distance is not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr.errors import DataError
from cxr.evaluate.features import Features, check_features, squared_distances

SUBSETS = 100
SUBSET_SIZE = 1000
MEDIAN_PAIRS = 1000  # images from which the median distance is taken


@dataclass(frozen=True)
class KernelDistance:
    """Mean and standard deviation over subsets; the deviation is no confidence interval, subsets share images."""

    value: float
    deviation: float
    subset_size: int


def kernel_distance(reference: Features, generated: Features, seed: int = 0) -> KernelDistance:
    """Unbiased squared maximum mean discrepancy with the kernel (x'y / D + 1)^3, a mean over random subsets.

    Args:
        reference: [N, D].
        generated: [M, D].
        seed: of the subsets.
    Returns:
        About 0 for sets of one distribution; slightly negative values are legal.
    Raises:
        DataError: as `check_features`.
    Source:
        Binkowski et al., ICLR 2018; with Inception's features this is KID.
    """
    first, second = check_features(reference), check_features(generated)
    size = min(SUBSET_SIZE, len(first), len(second))
    chance = np.random.default_rng(seed)
    values = []
    for _ in range(SUBSETS):
        x, y = (side[chance.choice(len(side), size, replace=False)] for side in (first, second))
        values.append(polynomial_mmd(x, y))
    return KernelDistance(float(np.mean(values)), float(np.std(values)), size)


def polynomial_mmd(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Unbiased squared maximum mean discrepancy of [N, D] and [N, D] with the kernel (x'y / D + 1)^3."""
    count, width = x.shape
    if y.shape != x.shape:
        raise DataError(f"the sets are {list(x.shape)} and {list(y.shape)}; use equal shapes")
    inside = [np.power(side @ side.T / width + 1, 3) for side in (x, y)]
    across = np.power(x @ y.T / width + 1, 3).mean()
    within = sum((k.sum() - np.trace(k)) / (count * (count - 1)) for k in inside)
    return float(within - 2 * across)


def gaussian_mmd(reference: Features, generated: Features, sigma: float | None = None) -> float:
    """Squared maximum mean discrepancy with a Gaussian kernel, times 1000; CMMD when the features are CLIP's.

    Args:
        reference: [N, D].
        generated: [M, D].
        sigma: width of the kernel. CMMD's 10 is made for CLIP's embeddings of length 1; None takes the median distance
            among the reference features instead, which suits any extractor.
    Source:
        Jayasumana et al., CVPR 2024 (CMMD). As there, the diagonal counts: the value is at least 0.
    """
    x, y = check_features(reference), check_features(generated)
    if sigma is None:
        some = x[:MEDIAN_PAIRS]
        sigma = float(np.sqrt(np.median(squared_distances(some, some)[np.triu_indices(len(some), 1)])))
        if sigma == 0:
            raise DataError("most reference features are equal; the extractor does not tell these images apart")
    means = [np.exp(-squared_distances(a, b) / (2 * sigma**2)).mean() for a, b in ((x, x), (y, y), (x, y))]
    return float(1000 * (means[0] + means[1] - 2 * means[2]))
