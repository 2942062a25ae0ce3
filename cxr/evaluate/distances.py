"""How far a set of images is from real ones, beside what real images get where they pose as generated ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from cxr.evaluate.image_set import MIN_IMAGES
from cxr.metrics.arrays import Array
from cxr.metrics.features import Features
from cxr.metrics.frechet import IMAGES_PER_FEATURE, frechet_distance, frechet_infinity
from cxr.metrics.intervals import Interval, bootstrap, jackknife, middle, of_share
from cxr.metrics.kernel import (
    INTERVAL_IMAGES,
    gaussian_mmd,
    halving_distances,
    kernel_distance,
    median_distance,
    mmd_resamples,
)
from cxr.metrics.neighbours import NEAREST, measure_neighbourhoods
from cxr.metrics.result import JsonObject, MetricResult
from cxr.metrics.sample import Sample
from cxr.request.errors import DataError
from cxr.request.messages import plural

POSING = "real films posing as generated"
HALVINGS = 20
MIN_PATIENTS = 2  # of a half: the images of one have no pair that counts
MIN_IMAGES_FOR_FD = 2_000
EXPLORATORY = 10_000
JACKKNIFE_GROUPS = 10


class Halves(NamedTuple):
    """Indices of the two halves of a reference set; no patient is in both."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]


def halve(patients: Sequence[str], seed: int = 0) -> Halves:
    """Split images into two halves by patient: patients in random order, until half of the images is reached.

    Args:
        patients: the patient of each image, [N]; their order does not matter.
        seed: of the order.
    Raises:
        DataError: too few images or patients, or one patient has most of the images.
    """
    names, codes = np.unique(np.asarray(patients), return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(names))[codes]
    order = np.argsort(place, kind="stable")
    count = -(-len(order) // 2)
    while 0 < count < len(order) and place[order[count]] == place[order[count - 1]]:
        count += 1
    first, second = np.sort(order[:count]), np.sort(order[count:])
    if any(len(half) < MIN_IMAGES or len(set(codes[half])) < MIN_PATIENTS for half in (first, second)):
        raise DataError(
            f"the reference has {plural(len(patients), 'image')} of {plural(len(names), 'patient')}; "
            f"its halves need {MIN_IMAGES} images of {MIN_PATIENTS} patients each"
        )
    return Halves(first, second)


def floor_distances(reference: Sample, count: int) -> Array:
    """KD of real images to real images: [HALVINGS], ``count`` images of each half, halved by patient each time."""
    some = reference.draw(INTERVAL_IMAGES)
    rng, masks = np.random.default_rng(0), np.zeros((HALVINGS, 2, len(some)), bool)
    for number in range(HALVINGS):
        for side, rows in enumerate(halve([str(code) for code in some.codes], 1 + number)):
            masks[number, side, rng.permutation(rows)[:count]] = True
    return halving_distances(some, masks)


def measure_rows(
    reference: Sample, halves: Halves, rows: Mapping[str, Sample], limit: int | None = None
) -> dict[str, list[MetricResult]]:
    """Compare sets with the first half of the reference, the second half being one of them.

    Args:
        reference: all real images.
        halves: of it.
        rows: name -> images; as many are drawn of each as the smallest set has, so that all rows compare equal numbers.
        limit: the most images to compare, where other tables are to compare as many.
    Returns:
        Name -> KD, KD - floor, FD-infinity, FD, CMMD, precision, recall, density, coverage; also `POSING`.
    """
    sets = {**rows, POSING: reference.take(halves.second)}
    first = reference.take(halves.first)
    count = min(limit or len(first), len(first), *map(len, sets.values()))
    first, floor = first.draw(count), floor_distances(reference, count)
    width = median_distance(first.features)
    return {name: measure_row(first, some.draw(count), floor, width) for name, some in sets.items()}


def measure_row(x: Sample, y: Sample, floor: Array, sigma: float) -> list[MetricResult]:
    """All distances of one set to as many reference images.

    Args:
        x: reference.
        y: the set, of as many images.
        floor: KD between real images, [HALVINGS].
        sigma: width of CMMD's kernel.
    """
    count = len(x)
    if min(count, len(y)) < MIN_IMAGES:
        raise DataError(f"{min(count, len(y))} images are too few to compare; use {MIN_IMAGES} or more of each")
    kd = kernel_distance(x, y)
    return [
        kd,
        above_floor(kd, mmd_resamples(x, y), floor),
        _extrapolated(x.features, y.features),
        _frechet(x.features, y.features),
        gaussian_mmd(x, y, sigma),
        *_neighbourhoods(x, y),
    ]


def above_floor(kd: MetricResult, resamples: Array, floor: Array) -> MetricResult:
    """KD minus what real images get against real images; the interval holds the spread of both."""
    facts = {"floor": float(floor.mean()), "floor_spread": float(floor.std(ddof=1)), "halvings": len(floor)}
    differences = (resamples[:, None] - floor).ravel()
    return replace(
        kd, name="KD - floor", value=kd.value - floor.mean(), **middle(differences)._asdict(), settings=facts
    )


def rank_agreement(rows: Sequence[JsonObject]) -> float | None:
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


def _extrapolated(x: Features, y: Features) -> MetricResult:
    count = len(x)
    if count < (fewest := IMAGES_PER_FEATURE * x.shape[1]):
        note = f"not computed below {fewest:,} images, {IMAGES_PER_FEATURE} times the features"
        return MetricResult("FD-infinity", np.nan, num_generated=count, num_reference=count, note=note)
    return frechet_infinity(x, y)


def _frechet(x: Features, y: Features) -> MetricResult:
    count = len(x)
    if count < MIN_IMAGES_FOR_FD:
        note = f"refused below {MIN_IMAGES_FOR_FD:,} images of each set: mostly bias; see KD"
        return MetricResult("FD", np.nan, num_generated=count, num_reference=count, note=note)
    note = "" if count >= EXPLORATORY else f"exploratory: fewer than {EXPLORATORY:,} images"
    interval = bootstrap(lambda rows: frechet_distance(x[rows], y[rows]), np.arange(count), resamples=20)
    return MetricResult("FD", frechet_distance(x, y), *interval, count, count, note=note)


def _neighbourhoods(x: Sample, y: Sample) -> list[MetricResult]:
    """Neighbourhood figures; a tenth of the patients of both sides is left out at a time for the interval."""
    whole = measure_neighbourhoods(x.features, y.features)
    rng = np.random.default_rng(0)
    groups = [rng.permutation(int(side.codes.max()) + 1)[side.codes] % JACKKNIFE_GROUPS for side in (x, y)]
    parts = [
        measure_neighbourhoods(x.features[groups[0] != k], y.features[groups[1] != k]) for k in range(JACKKNIFE_GROUPS)
    ]
    results, count = [], min(int(side.codes.max()) + 1 for side in (x, y))
    for name, value in whole.items():
        low, high = jackknife(value, [part[name] for part in parts])
        interval = Interval(max(low, 0.0), high if name == "density" else min(high, 1.0))
        interval = interval if name == "density" else of_share(value, interval, count)
        results.append(MetricResult(name, value, *interval, len(x), len(x), {"k": NEAREST}))
    return results
