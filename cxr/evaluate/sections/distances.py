"""How far a set of images is from real ones, beside rows that say what such a figure is worth."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.metrics.features import Features
from cxr.metrics.frechet import frechet_distance, frechet_infinity
from cxr.metrics.intervals import Interval, bootstrap, cluster_weights, middle
from cxr.metrics.kernel import SUBSET_SIZE, SUBSETS, gaussian_mmd, kernel_distance, kernel_tables, median_distance
from cxr.metrics.neighbours import NEAREST, measure_neighbourhoods
from cxr.metrics.result import MetricResult
from cxr.request.errors import DataError

FEWEST = 20  # images of a set; fewer say nothing
FEWEST_FOR_FD = 2_000
FEWEST_FOR_FIT = 100
EXPLORATORY = 10_000
Counts = dict[str, Any]
INTERVAL_IMAGES = 2_000  # the intervals are computed on at most so many of each set


@dataclass(frozen=True)
class Halves:
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
    first: list[int] = []
    for place, index in enumerate(order):
        if place >= len(order) / 2 and patients[index] != patients[order[place - 1]]:
            break
        first.append(index)
    second = order[len(first) :]
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
    """All distances of one set [M, D] to the reference [N, D]."""
    count = min(len(reference), len(features))
    if count < FEWEST:
        raise DataError(f"{count} images are too few to compare; use {FEWEST} or more of each")
    chance = np.random.default_rng(seed)
    x, y = (side[np.sort(chance.choice(len(side), count, replace=False))] for side in (reference, features))
    counts: Counts = {"num_generated": count, "num_reference": count}
    kernel, interval = kernel_distance(x, y, seed), kernel_interval(x, y, seed)
    size = {"subsets": SUBSETS if count > SUBSET_SIZE else 1, "subset_size": kernel.subset_size}
    results = [MetricResult("KD", kernel.value, *interval, **counts, settings=size)]
    results += [_extrapolated(x, y, seed, counts), _frechet(x, y, seed, counts)]
    results.append(MetricResult("CMMD", gaussian_mmd(x, y, sigma), **counts, settings={"sigma": sigma}))
    return results + _neighbourhoods(x, y, counts, seed)


def kernel_interval(x: Features, y: Features, seed: int) -> Interval:
    """Bootstrap interval of the kernel distance over the images of both sets."""
    chance = np.random.default_rng(seed)
    x, y = (side[np.sort(chance.choice(len(side), min(len(side), INTERVAL_IMAGES), replace=False))] for side in (x, y))
    inside_x, inside_y, across = kernel_tables(x, y)
    weights_x, weights_y = (cluster_weights(np.arange(len(side)), seed + k) for k, side in enumerate((x, y)))
    # An image drawn twice must not be compared with itself: that would look like two images that are alike.
    within = _weighted_mean(inside_x, weights_x) + _weighted_mean(inside_y, weights_y)
    between = np.einsum("bi,bi->b", weights_x @ across, weights_y) / (len(x) * len(y))
    return middle(within - 2 * between)


def _weighted_mean(table: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    off = table - np.diag(np.diag(table))
    total = np.einsum("bi,bi->b", weights @ off, weights)
    pairs = np.square(weights.sum(axis=1)) - np.square(weights).sum(axis=1)
    result: NDArray[np.float64] = total / pairs
    return result


def _extrapolated(x: Features, y: Features, seed: int, counts: Counts) -> MetricResult:
    if len(x) < FEWEST_FOR_FIT:
        note = f"needs {FEWEST_FOR_FIT} images of each set"
        return MetricResult("FD-infinity", float("nan"), **counts, note=note)
    fit = frechet_infinity(x, y, seed)
    spread = Interval(fit.value - 1.96 * fit.deviation, fit.value + 1.96 * fit.deviation)
    settings = {"r_squared": fit.r_squared, "smallest": fit.smallest, "largest": fit.largest}
    note = "the interval is that of the fitted line, not of other images"
    return MetricResult("FD-infinity", fit.value, *spread, **counts, settings=settings, note=note)


def _frechet(x: Features, y: Features, seed: int, counts: Counts) -> MetricResult:
    if len(x) < FEWEST_FOR_FD:
        note = f"refused below {FEWEST_FOR_FD:,} images of each set: it would mostly be bias; see FD-infinity and KD"
        return MetricResult("FD", float("nan"), **counts, note=note)
    note = "" if len(x) >= EXPLORATORY else f"exploratory: fewer than {EXPLORATORY:,} images"
    interval = bootstrap(lambda rows: frechet_distance(x[rows], y[rows]), np.arange(len(x)), seed, resamples=20)
    return MetricResult("FD", frechet_distance(x, y), *interval, **counts, note=note)


def _neighbourhoods(x: Features, y: Features, counts: Counts, seed: int) -> list[MetricResult]:
    whole = measure_neighbourhoods(x, y, seed)
    parts = [measure_neighbourhoods(x, y[rows], seed) for rows in _leave_out(len(y), seed)]
    settings = {"k": NEAREST}
    results = []
    for name in ("precision", "recall", "density", "coverage"):
        value = getattr(whole, name)
        low, high = jackknife(value, np.array([getattr(part, name) for part in parts]))
        results.append(MetricResult(name, value, low, high, **counts, settings=settings))
    return results


def _leave_out(count: int, seed: int, groups: int = 10) -> list[NDArray[np.intp]]:
    order = np.random.default_rng(seed).permutation(count)
    return [np.sort(np.delete(order, np.s_[k::groups])) for k in range(groups)]


def jackknife(value: float, parts: NDArray[np.float64]) -> Interval:
    """Interval from the same figure with a tenth of the images left out at a time.

    A bootstrap draws images twice, and an image is its own nearest neighbour: neighbourhood figures cannot bear that.

    Source:
        Busing, Meijer and van der Leeden, Statistics and Computing 1999 (delete-m jackknife).
    """
    groups = len(parts)
    deviation = np.sqrt((groups - 1) / groups * np.square(parts - parts.mean()).sum())
    return Interval(float(value - 1.96 * deviation), float(value + 1.96 * deviation))
