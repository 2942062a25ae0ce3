"""How sure a figure is: 95 % intervals of shares and of anything that can be computed again on a resample."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
NORMAL_QUANTILE = 1.959963984540054  # of the standard normal distribution, two-sided at `LEVEL`
RESAMPLES = 200


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
    if count == 0:
        return Interval(math.nan, math.nan)
    share, squared = successes / count, NORMAL_QUANTILE**2
    centre = share + squared / (2 * count)
    half = NORMAL_QUANTILE * math.sqrt(share * (1 - share) / count + squared / (4 * count**2))
    scale = 1 + squared / count
    return Interval(max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))


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
        The middle 95 %; resamples on which the figure is NaN are left out, NaN if all are.
    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.
    """
    _, membership = np.unique(clusters, return_inverse=True)
    order = np.argsort(membership, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(membership))[:-1])
    chance = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        drawn = chance.integers(len(members), size=len(members))
        values.append(measure(np.concatenate([members[index] for index in drawn])))
    finite = np.array([value for value in values if math.isfinite(value)])
    if not len(finite):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
