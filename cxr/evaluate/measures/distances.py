"""How far a set of images is from real ones, beside rows that say what such a figure is worth."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from cxr.metrics.features import Features
from cxr.metrics.frechet import FEWEST_FOR_FIT, frechet_distance, frechet_infinity
from cxr.metrics.intervals import Interval, bootstrap, cluster_weights, middle
from cxr.metrics.kernel import gaussian_mmd, kernel_distance, kernel_tables, median_distance
from cxr.metrics.neighbours import NEAREST, measure_neighbourhoods
from cxr.metrics.result import MetricResult
from cxr.request.errors import DataError

FEWEST = 20  # images of a set; fewer say nothing
FEWEST_FOR_FD = 2_000
EXPLORATORY = 10_000
INTERVAL_IMAGES = 2_000  # the intervals are computed on at most so many of each set
JACKKNIFE_GROUPS = 10
UNKNOWN = Interval(np.nan, np.nan)


class Halves(NamedTuple):
    """Indices of the two halves of a reference set; no patient is in both."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]


def halve(patients: Sequence[str]) -> Halves:
    """Split images into two halves by patient: patients in the order of a hash, until half of the images is reached.

    Raises:
        DataError: too few images, or one patient has most of them.
    """
    keys = {patient: hashlib.sha256(f"half {patient}".encode()).hexdigest() for patient in set(patients)}
    order = sorted(range(len(patients)), key=lambda index: (keys[patients[index]], index))
    count = -(-len(order) // 2)
    while 0 < count < len(order) and patients[order[count]] == patients[order[count - 1]]:
        count += 1
    first, second = order[:count], order[count:]
    if min(len(first), len(second)) < FEWEST:
        raise DataError(
            f"the reference has {len(patients)} images of {len(keys)} patients; its halves need {FEWEST} images each"
        )
    return Halves(np.array(sorted(first)), np.array(sorted(second)))


def measure_rows(
    reference: Features, halves: Halves, rows: Mapping[str, Features], seed: int = 0
) -> dict[str, list[MetricResult]]:
    """Compare sets with the first half of the reference, the second half being one of them.

    Args:
        reference: [N, D].
        halves: of it.
        rows: name -> [M, D]; at most as many images as the first half has are used of each, drawn at random, so that
            all rows compare equal numbers.
        seed: of all draws.
    Returns:
        Name -> KD, FD-infinity, FD, CMMD, precision, recall, density, coverage; also "real against real".
    """
    first, second = reference[halves.first], reference[halves.second]
    width = median_distance(first)
    return {
        name: measure_row(first, features, width, seed)
        for name, features in {**rows, "real against real": second}.items()
    }


def measure_row(reference: Features, features: Features, sigma: float, seed: int) -> list[MetricResult]:
    """All distances of one set [M, D] to the reference [N, D]; ``sigma`` is the width of CMMD's kernel."""
    count = min(len(reference), len(features))
    if count < FEWEST:
        raise DataError(f"{count} images are too few to compare; use {FEWEST} or more of each")
    x, y = _draw(reference, features, count, seed)
    low, high = kernel_interval(x, y, seed)
    return [
        replace(kernel_distance(x, y, seed), low=low, high=high),
        frechet_infinity(x, y, seed)
        if count >= FEWEST_FOR_FIT
        else _result("FD-infinity", count, note=f"needs {FEWEST_FOR_FIT} images of each set"),
        _frechet(x, y, seed),
        _result("CMMD", count, gaussian_mmd(x, y, sigma), settings={"sigma": sigma}),
        *_neighbourhoods(x, y, seed),
    ]


def rank_agreement(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Do the extractors put the sets in the same order by KD? The mean rank correlation of all pairs of extractors.

    Args:
        rows: the part "distances" of a report, in plain values: one entry for each extractor.
    Returns:
        None with one extractor, or with fewer than three rows.
    Source:
        Spearman (1904).
    """
    orders = [[row["metrics"][0]["value"] for row in entry["rows"]] for entry in rows]
    if len(orders) < 2 or len(orders[0]) < 3:
        return None
    return float(np.mean([spearmanr(first, second).statistic for first, second in combinations(orders, 2)]))


def kernel_interval(x: Features, y: Features, seed: int) -> Interval:
    """Bootstrap interval of the kernel distance over the images of both sets."""
    x, y = _draw(x, y, INTERVAL_IMAGES, seed)
    inside_x, inside_y, across = kernel_tables(x, y)
    weights_x, weights_y = (cluster_weights(np.arange(len(side)), seed + k) for k, side in enumerate((x, y)))
    within = _weighted_mean(inside_x, weights_x) + _weighted_mean(inside_y, weights_y)
    between = np.einsum("bi,bi->b", weights_x @ across, weights_y) / (len(x) * len(y))
    return middle(within - 2 * between)


def jackknife(value: float, parts: Sequence[float]) -> Interval:
    """Interval from the same figure with a tenth of the images left out at a time.

    A bootstrap draws images twice, and an image is its own nearest neighbour: neighbourhood figures cannot bear that.

    Source:
        Busing, Meijer and van der Leeden, Statistics and Computing 1999 (delete-m jackknife).
    """
    half = 1.96 * float(np.sqrt((len(parts) - 1) * np.var(parts)))
    return Interval(value - half, value + half)


def _draw(x: Features, y: Features, count: int, seed: int) -> tuple[Features, Features]:
    """At most ``count`` images of each set, in their order."""
    rng = np.random.default_rng(seed)
    first, second = (side[np.sort(rng.choice(len(side), min(len(side), count), replace=False))] for side in (x, y))
    return first, second


def _weighted_mean(table: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    # An image drawn twice must not be compared with itself: that would look like two images that are alike.
    off = table - np.diag(np.diag(table))
    total = np.einsum("bi,bi->b", weights @ off, weights)
    mean: NDArray[np.float64] = total / (np.square(weights.sum(axis=1)) - np.square(weights).sum(axis=1))
    return mean


def _frechet(x: Features, y: Features, seed: int) -> MetricResult:
    count = len(x)
    if count < FEWEST_FOR_FD:
        note = f"refused below {FEWEST_FOR_FD:,} images of each set: it would mostly be bias; see FD-infinity and KD"
        return _result("FD", count, note=note)
    note = "" if count >= EXPLORATORY else f"exploratory: fewer than {EXPLORATORY:,} images"
    interval = bootstrap(lambda rows: frechet_distance(x[rows], y[rows]), np.arange(count), seed, resamples=20)
    return _result("FD", count, frechet_distance(x, y), interval, note=note)


def _neighbourhoods(x: Features, y: Features, seed: int) -> list[MetricResult]:
    whole, order = measure_neighbourhoods(x, y, seed), np.random.default_rng(seed).permutation(len(y))
    parts = [
        measure_neighbourhoods(x, y[np.sort(np.delete(order, np.s_[k::JACKKNIFE_GROUPS]))], seed)
        for k in range(JACKKNIFE_GROUPS)
    ]
    return [
        _result(name, len(x), value, jackknife(value, [part[name] for part in parts]), settings={"k": NEAREST})
        for name, value in whole.items()
    ]


def _result(name: str, count: int, value: float = np.nan, interval: Interval = UNKNOWN, **facts: Any) -> MetricResult:
    return MetricResult(name, value, *interval, num_generated=count, num_reference=count, **facts)
