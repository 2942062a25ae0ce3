"""Kernel distances of two sets of features: unbiased at any number of images, where the Frechet distance is not.

Images of one patient resemble each other. Pairs of them inside a set would make it look tighter than it is and the
distance larger, so they are left out; the intervals draw whole patients.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cxr.metrics.arrays import Array
from cxr.metrics.features import ROWS, Features, check_features, check_widths, squared_distances
from cxr.metrics.intervals import RESAMPLES, cluster_weights, middle
from cxr.metrics.result import MetricResult
from cxr.metrics.sample import Sample
from cxr.request.errors import DataError

MEDIAN_PAIRS = 1000  # images from which the median distance is taken
INTERVAL_IMAGES = 2_000  # intervals are computed on at most so many images of each set
CMMD_UNIT = 1000.0

Kernel = Callable[[Array, Array], Array]  # [N, D] and [M, D] -> [N, M]


def cubic_kernel(x: Array, y: Array) -> Array:
    """(x'y / D + 1)^3 of all pairs of rows, the kernel of KID."""
    table: Array = np.power(x @ y.T / x.shape[1] + 1, 3)
    return table


def gaussian_kernel(sigma: float) -> Kernel:
    """exp(-|x - y|^2 / (2 sigma^2)) of all pairs of rows, the kernel of CMMD."""
    return lambda x, y: np.exp(-squared_distances(x, y) / (2 * sigma**2))


def kernel_distance(reference: Sample | Features, generated: Sample | Features, seed: int = 0) -> MetricResult:
    """KD: unbiased squared maximum mean discrepancy with the kernel (x'y / D + 1)^3.

    Args:
        reference: [N, D], or a `Sample` that names patients.
        generated: [M, D], or a `Sample`.
        seed: of the interval.
    Returns:
        About 0 for sets of one distribution; slightly negative values are legal. The interval draws patients of both.
    Raises:
        DataError: as `check_features`.
    Source:
        Gretton et al., JMLR 2012, lemma 6 (U-statistic); Binkowski et al., ICLR 2018 (KID, with Inception's features).
    """
    x, y = _samples(reference, generated)
    return _result("KD", mmd(x, y), mmd_resamples(x, y, seed=seed), x, y)


def gaussian_mmd(
    reference: Sample | Features, generated: Sample | Features, sigma: float | None = None, seed: int = 0
) -> MetricResult:
    """CMMD: unbiased squared maximum mean discrepancy with a Gaussian kernel, times 1000.

    Args:
        reference: [N, D], or a `Sample`.
        generated: [M, D], or a `Sample`.
        sigma: width of the kernel. CMMD's 10 is made for CLIP's embeddings of length 1; None takes the median distance
            among the reference features instead, which suits any extractor.
        seed: of the interval.
    Raises:
        DataError: as `check_features`, or the width is not above 0.
    Source:
        Jayasumana et al., CVPR 2024, where the diagonal counts, so that their value is never below 0.
    """
    x, y = _samples(reference, generated)
    width = median_distance(x.features) if sigma is None else sigma
    if not 0 < width < np.inf:
        raise DataError(f"sigma is {sigma}; use a width above 0, or None for the median distance")
    kernel = gaussian_kernel(width)
    values = mmd(x, y, kernel), mmd_resamples(x, y, kernel, seed)
    return _result("CMMD", CMMD_UNIT * values[0], CMMD_UNIT * values[1], x, y, {"sigma": width})


def mmd(x: Sample, y: Sample, kernel: Kernel = cubic_kernel) -> float:
    """Squared maximum mean discrepancy as a U-statistic that leaves out pairs of one patient.

    Raises:
        DataError: a set is of one patient, so that it has no pair, or the widths differ.
    """
    check_widths(x.features, y.features)
    within = sum(_mean_of_pairs(side, kernel) for side in (x, y))
    strips = (kernel(x.features[k : k + ROWS], y.features).sum() for k in range(0, len(x), ROWS))
    return float(within - 2 * sum(strips) / (len(x) * len(y)))


def mmd_resamples(
    x: Sample, y: Sample, kernel: Kernel = cubic_kernel, seed: int = 0, resamples: int = RESAMPLES
) -> Array:
    """`mmd` on resamples that draw whole patients of both sets: [resamples].

    Of two sets of one distribution they spread wider than the figure itself does: the interval then is too wide rather
    than too narrow. Equal arguments of ``x`` and ``seed`` draw the same patients of ``x`` whatever ``y`` is.

    Source:
        Arcones and Gine, Annals of Statistics 1992 (degenerate U-statistics).
    """
    x, y = (side.draw(INTERVAL_IMAGES, seed) for side in (x, y))
    weights = [cluster_weights(side.codes, seed + k, resamples) for k, side in enumerate((x, y))]
    within = sum(
        weighted_mean(pair_table(side, kernel), w, side.codes) for side, w in zip((x, y), weights, strict=True)
    )
    across = kernel(x.features, y.features)
    between = np.einsum("bi,bi->b", weights[0] @ across, weights[1])
    values: Array = within - 2 * between / (weights[0].sum(axis=1) * weights[1].sum(axis=1))
    return values


def halving_distances(reference: Sample, firsts: NDArray[np.bool_]) -> Array:
    """`mmd` between the two halves of one set, for several halvings at once.

    Args:
        reference: at most a few thousand images.
        firsts: [H, 2, N]: for each halving which images its two halves hold; no patient may be in both.
    Returns:
        [H].
    """
    table, codes = pair_table(reference, cubic_kernel), reference.codes
    first, second = (firsts[:, k].astype(np.float64) for k in (0, 1))
    within = weighted_mean(table, first, codes) + weighted_mean(table, second, codes)
    between = np.einsum("bi,bi->b", first @ table, second) / (first.sum(axis=1) * second.sum(axis=1))
    values: Array = within - 2 * between
    return values


def pair_table(sample: Sample, kernel: Kernel) -> Array:
    """The kernel among all images of one set, [N, N]; 0 for pairs of one patient."""
    return np.where(sample.codes[:, None] == sample.codes, 0.0, kernel(sample.features, sample.features))


def weighted_mean(table: Array, weights: Array, codes: NDArray[np.intp]) -> Array:
    """Mean over the pairs of different patients, for several weightings [B, N] of the images: [B]."""
    total = np.einsum("bi,bi->b", weights @ table, weights)
    of_patients = np.zeros((len(weights), int(codes.max()) + 1))
    np.add.at(of_patients.T, codes, weights.T)
    pairs = np.square(weights.sum(axis=1)) - np.square(of_patients).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, total / pairs, np.nan)


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


def _mean_of_pairs(sample: Sample, kernel: Kernel) -> float:
    """Mean of the kernel over the pairs of different patients, a strip of rows at a time."""
    total, pairs = 0.0, 0
    for start in range(0, len(sample), ROWS):
        apart = sample.codes[start : start + ROWS, None] != sample.codes
        total += float((kernel(sample.features[start : start + ROWS], sample.features) * apart).sum())
        pairs += int(apart.sum())
    if not pairs:
        raise DataError(f"all {len(sample)} images are of one patient; a distance needs two patients or more")
    return total / pairs


def _samples(*sides: Sample | Features) -> tuple[Sample, Sample]:
    x, y = (side if isinstance(side, Sample) else Sample(side) for side in sides)
    return x, y


def _result(
    name: str, value: float, resamples: Array, x: Sample, y: Sample, settings: dict[str, float] | None = None
) -> MetricResult:
    facts = {"resamples": RESAMPLES, **(settings or {})}
    shared = len({row.tobytes() for row in x.features} & {row.tobytes() for row in y.features})
    note = f"{shared} images are in both sets, which lowers the distance" if shared else ""
    return MetricResult(name, value, *middle(resamples), len(y), len(x), facts, note)
