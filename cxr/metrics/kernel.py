"""Kernel distances of two sets of features: unbiased at any number of images, where the Frechet distance is not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr.metrics.features import Features, check_features, distance_strips, squared_distances
from cxr.metrics.result import MetricResult
from cxr.request.errors import DataError

SUBSETS = 100
SUBSET_SIZE = 1000
MEDIAN_PAIRS = 1000  # images from which the median distance is taken


def kernel_distance(reference: Features, generated: Features, seed: int = 0) -> MetricResult:
    """Unbiased squared maximum mean discrepancy with the kernel (x'y / D + 1)^3, a mean over random subsets.

    Args:
        reference: [N, D].
        generated: [M, D].
        seed: of the subsets.
    Returns:
        "KD": about 0 for sets of one distribution; slightly negative values are legal.
    Raises:
        DataError: as `check_features`.
    Source:
        Binkowski et al., ICLR 2018; with Inception's features this is KID.
    """
    sides = check_features(reference), check_features(generated)
    counts = [len(side) for side in sides]
    size, rng = min(SUBSET_SIZE, *counts), np.random.default_rng(seed)
    subsets = 1 if counts == [size, size] else SUBSETS  # every subset of a whole set is the same
    values = [
        polynomial_mmd(*(side[rng.choice(len(side), size, replace=False)] for side in sides)) for _ in range(subsets)
    ]
    settings = {"subsets": subsets, "subset_size": size}
    return MetricResult(
        "KD", float(np.mean(values)), num_generated=counts[1], num_reference=counts[0], settings=settings
    )


def polynomial_mmd(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Unbiased squared maximum mean discrepancy of [N, D] and [N, D] with the kernel (x'y / D + 1)^3."""
    count = len(x)
    if y.shape != x.shape:
        raise DataError(f"the sets are {list(x.shape)} and {list(y.shape)}; use equal shapes")
    *inside, across = kernel_tables(x, y)
    within = sum((k.sum() - np.trace(k)) / (count * (count - 1)) for k in inside)
    return float(within - 2 * across.mean())


def kernel_tables(
    x: NDArray[np.floating], y: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The kernel (x'y / D + 1)^3 among the rows of x [N, D], among those of y [M, D], and across [N, M]."""
    first, second = (np.asarray(side, np.float64) for side in (x, y))
    width = first.shape[1]
    inside_x, inside_y, across = (
        np.power(a @ b.T / width + 1, 3) for a, b in ((first, first), (second, second), (first, second))
    )
    return inside_x, inside_y, across


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
    width = median_distance(x) if sigma is None else sigma
    means = [_mean_kernel(a, b, width) for a, b in ((x, x), (y, y), (x, y))]
    return float(1000 * (means[0] + means[1] - 2 * means[2]))


def median_distance(features: Features) -> float:
    """Median Euclidean distance among the first `MEDIAN_PAIRS` rows of [N, D].

    Raises:
        DataError: it is 0.
    """
    some = check_features(features)[:MEDIAN_PAIRS]
    median = float(np.sqrt(np.median(squared_distances(some, some)[np.triu_indices(len(some), 1)])))
    if median == 0:
        raise DataError("most reference features are equal; the extractor does not tell these images apart")
    return median


def _mean_kernel(x: NDArray[np.float64], y: NDArray[np.float64], sigma: float) -> float:
    """Mean of the Gaussian kernel over all pairs, a strip of rows at a time."""
    total = sum(np.exp(-squared / (2 * sigma**2)).sum() for _, squared in distance_strips(x, y))
    return float(total / (len(x) * len(y)))
