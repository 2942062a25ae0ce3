"""How certain a figure is: 95 % intervals of shares and of anything that can be computed again on a resample."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 200
MIN_CLUSTERS = 3  # for an interval: resamples of fewer hardly differ, and it would feign certainty


class Interval(NamedTuple):
    """Lower and upper end; NaN where nothing can be said."""

    low: float
    high: float


def wilson(successes: int, count: int) -> Interval:
    """Interval of a share.

    Args:
        successes: 0 to ``count``.
        count: trials that do not depend on one another.
    Source:
        Wilson, JASA 1927.
    """
    from scipy.stats import binomtest  # takes its time, and the page starts without it

    if count == 0:
        return Interval(math.nan, math.nan)
    low, high = binomtest(successes, count).proportion_ci(LEVEL, "wilson")
    return Interval(float(low), float(high))


def of_share(value: float, interval: Interval, count: int) -> Interval:
    """The interval of a share or an area; of 0 or 1 all resamples are alike, and yet it is not certain.

    Args:
        value: 0 to 1.
        interval: from resamples.
        count: images behind it, or groups of them, of which `wilson` then stands in.
    """
    is_certain = value in (0, 1) and math.isclose(*interval, abs_tol=1e-9)
    return wilson(int(value) * count, count) if is_certain else interval


def bootstrap(
    measure: Callable[[NDArray[np.intp]], float],
    clusters: NDArray[np.generic],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Percentile interval of a figure, whole clusters drawn with replacement.

    Images of one prompt, or of one patient, resemble each other: drawing them one by one would feign certainty.

    Args:
        measure: indices of images [n] -> the figure on them.
        clusters: what each image belongs to, [N] of any comparable kind; all different draws image by image.
        seed: of the draws.
        resamples: how many.
    Returns:
        The middle 95 %; resamples on which the figure is NaN are left out, NaN if all are or with fewer than
        `MIN_CLUSTERS`.
    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.
    """
    names, membership = np.unique(clusters, return_inverse=True)
    if len(names) < MIN_CLUSTERS:
        return Interval(math.nan, math.nan)
    members = np.split(np.argsort(membership, kind="stable"), np.cumsum(np.bincount(membership))[:-1])
    rng = np.random.default_rng(seed)
    draws = (rng.integers(len(members), size=len(members)) for _ in range(resamples))
    return middle(np.array([measure(np.concatenate([members[index] for index in drawn])) for drawn in draws]))


def cluster_weights(
    clusters: NDArray[np.generic], seed: int = 0, resamples: int = RESAMPLES, min_clusters: int = MIN_CLUSTERS
) -> NDArray[np.float64]:
    """How often each image counts in resamples that draw whole clusters with replacement.

    For figures that can be computed for many weightings at once, far quicker than `bootstrap`.

    Args:
        clusters: what each image belongs to, [N].
        seed: of the draws.
        resamples: how many.
        min_clusters: fewer give no interval.
    Returns:
        [resamples, N]; NaN with fewer than ``min_clusters``.
    """
    names, membership = np.unique(clusters, return_inverse=True)
    if (count := len(names)) < min_clusters:
        return np.full((resamples, len(membership)), np.nan)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return drawn[:, membership].astype(np.float64)


def weightings(
    clusters: NDArray[np.generic], resamples: int = RESAMPLES, min_clusters: int = MIN_CLUSTERS
) -> NDArray[np.float64]:
    """How often each image counts as measured, once, and then in `cluster_weights`: [1 + resamples, N]."""
    drawn = cluster_weights(clusters, resamples=resamples, min_clusters=min_clusters)
    return np.vstack([np.ones(len(clusters)), drawn])


def middle(values: NDArray[np.float64]) -> Interval:
    """The middle 95 % of resampled figures; those that are NaN are left out, NaN if all are."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def jackknife(value: float, parts: Sequence[float]) -> Interval:
    """Interval of a figure from the same figure with one of several groups of the images left out at a time.

    A bootstrap draws images twice, and an image is its own nearest neighbour: neighbourhood figures cannot bear that.

    Source:
        Busing, Meijer and van der Leeden, Statistics and Computing 1999 (delete-m jackknife).
    """
    half = 1.96 * float(np.sqrt((len(parts) - 1) * np.var(parts)))
    return Interval(value - half, value + half)


def two_sided(differences: NDArray[np.float64]) -> float:
    """How often resampled differences [B] are on the other side of 0, twice; at least 2 / (B + 1), NaN without any."""
    finite = differences[np.isfinite(differences)]
    if not len(finite):
        return math.nan
    beyond = min((finite <= 0).sum(), (finite >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(finite) + 1)))


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for there being several of them; NaNs are not counted and stay.

    Source:
        Holm, Scandinavian Journal of Statistics 1979.
    """
    order = sorted((k for k, value in enumerate(values) if math.isfinite(value)), key=lambda k: values[k])
    result, largest = [math.nan] * len(values), 0.0
    for place, k in enumerate(order):
        largest = max(largest, min(1.0, values[k] * (len(order) - place)))
        result[k] = largest
    return result
