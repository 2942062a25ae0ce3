"""Frechet distance of two sets of features, and its extrapolation to infinitely many images.

With Inception's features this is FID; with any other extractor it is called FD and compares with nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import linregress

from cxr.metrics.features import Features, check_features, check_widths
from cxr.metrics.intervals import jackknife
from cxr.metrics.result import MetricResult
from cxr.request.errors import DataError

IMAGES_PER_FEATURE = 10  # fewer, and the line ends far from the truth: at 10 to 46 instead of 0 in one report
JACKKNIFE_GROUPS = 10
FIT_POINTS = 15
DRAWS = 2  # subsets of each size
SMALLEST = 20  # images of a subset


def frechet_distance(reference: Features, generated: Features) -> float:
    """Distance of two Gaussians that have the means and covariances of the features.

    Args:
        reference: [N, D], N at least 2.
        generated: [M, D], M at least 2.
    Returns:
        |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), at least 0; biased upwards when N or M is small.
    Raises:
        DataError: a set is too small, widths differ, or a value is not finite.
    Source:
        Dowson and Landau (1982); Heusel et al., NeurIPS 2017.
    """
    x, y = check_features(reference), check_features(generated)
    check_widths(x, y)
    (mean, root), (other_mean, other_root) = _moments(x), _moments(y)
    # With C = R'R the trace of (C1 C2)^(1/2) is the sum of the singular values of R1 R2': no root of a matrix is taken.
    overlap = np.linalg.svd(root @ other_root.T, compute_uv=False).sum()
    spread = np.square(root).sum() + np.square(other_root).sum()
    return max(0.0, float(np.square(mean - other_mean).sum() + spread - 2 * overlap))


def frechet_infinity(reference: Features, generated: Features, seed: int = 0) -> MetricResult:
    """Distance extrapolated to infinitely many images, from random subsets of both sets.

    A straight line is drawn through distances against 1 / N; its value at 0 is the figure.

    Args:
        reference: [N, D].
        generated: [M, D].
        seed: of the subsets.
    Returns:
        "FD-infinity", with an interval that leaves out a tenth of both sets at a time. Settings: ``r_squared``, the
        share of the variance that the line explains (far below 1, the figure means little), and the smallest and
        largest number of images of a subset.
    Raises:
        DataError: a set has fewer images than `IMAGES_PER_FEATURE` times the number of features, or than twice
            `SMALLEST`.
    Source:
        Chong and Forsyth, CVPR 2020; subsets from a tenth of the images on. The interval: `jackknife`.
    """
    reference, generated = check_features(reference), check_features(generated)
    count = min(len(reference), len(generated))
    if count < (fewest := max(IMAGES_PER_FEATURE * reference.shape[1], 2 * SMALLEST)):
        raise DataError(f"{count} images are too few to extrapolate the distance; use {fewest:,} or more")
    sizes = np.repeat(np.linspace(max(SMALLEST, count // 10), count, FIT_POINTS).astype(int), DRAWS)
    rng = np.random.default_rng(seed)
    values = [
        frechet_distance(*(x[rng.choice(len(x), size, replace=False)] for x in (reference, generated)))
        for size in sizes
    ]
    fit = linregress(1 / sizes, values)
    value = float(fit.intercept)
    share = 1.0 if np.isnan(fit.rvalue) else float(fit.rvalue**2)  # all distances equal
    settings = {"r_squared": share, "smallest": int(sizes[0]), "largest": int(sizes[-1])}
    # Subsets share images: how far they lie from the line says little of how far another draw of images would.
    sides = [(x, rng.permutation(len(x)) % (2 * JACKKNIFE_GROUPS)) for x in (reference, generated)]
    interval = jackknife(value, [_without(sides, group) for group in range(JACKKNIFE_GROUPS)])
    return MetricResult("FD-infinity", value, *interval, len(generated), len(reference), settings)


def _without(sides: Sequence[tuple[Features, NDArray[np.intp]]], group: int) -> float:
    """The distance at 1 / N = 0, by the line through that of all images and those of halves, without a group of them.

    Args:
        sides: features [N, D] of a set and the place of each [N]: a group is two of them, one from each half.
        group: to be left out.
    """
    kept = [(x[place // 2 != group], place[place // 2 != group] % 2) for x, place in sides]
    halves = [frechet_distance(*(x[of_half == half] for x, of_half in kept)) for half in (0, 1)]
    return 2 * frechet_distance(*(x for x, _ in kept)) - sum(halves) / 2


def _moments(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [D] and a root R [min(N, D), D] of the covariance, R'R = C, from whichever side is shorter."""
    mean = features.mean(axis=0)
    centred = (features - mean) / np.sqrt(len(features) - 1)
    if len(features) <= features.shape[1]:
        return mean, centred
    values, vectors = np.linalg.eigh(centred.T @ centred)
    return mean, np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
