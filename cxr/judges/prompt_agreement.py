"""How far what a judge read off images agrees with what was asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxr.judges.readings import ABNORMAL, FINDING_COLUMNS, Reading, comparisons
from cxr.labels.targets import ATTRIBUTES, GROUPS, LABELS, NEAR_YEARS
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.agreement import weighted_auroc, weighted_share
from cxr.metrics.arrays import Array, Flags
from cxr.metrics.intervals import weightings

SHUFFLES = 20
PAIRED_RESAMPLES = 2_000  # enough for a p-value that survives the correction for many findings


@dataclass(frozen=True)
class Agreement:
    """Agreement of one judge with what was asked; each array starts with the figure, then `RESAMPLES` resamples.

    Args:
        pf: [1 + B, len(ATTRIBUTES)], balanced accuracy: mean of the share of images asked to show an attribute that do,
            and of those asked not to that do not; of the images that `comparisons` names, a mean over the views.
        auroc: [1 + B, len(ATTRIBUTES)], the same without a threshold.
        joint: [1 + B], share of images on which everything that was asked is seen at once.
        mae: [1 + B], years.
        within: [1 + B], share of ages within `NEAR_YEARS`.
        num_positive: [len(ATTRIBUTES)], images asked to show it that were compared.
        num_negative: [len(ATTRIBUTES)], images asked not to.
        num_clusters: prompts, or patients, of all images.
    """

    pf: Array
    auroc: Array
    joint: Array
    mae: Array
    within: Array
    num_positive: NDArray[np.intp]
    num_negative: NDArray[np.intp]
    num_clusters: int

    def num_independent(self, columns: Sequence[int]) -> int:
        """Images that each of some attributes rests on at least, or clusters where those are fewer."""
        chosen = list(columns)
        return int(min([self.num_clusters, *self.num_positive[chosen], *self.num_negative[chosen]]))


def measure_agreement(reading: Reading, thresholds: Array) -> Agreement:
    """Compare what was seen with what was asked.

    Args:
        reading: of one judge.
        thresholds: [len(ATTRIBUTES)], the logit at and above which an attribute counts as seen; fixed beforehand.
    """
    weights = weightings(reading.clusters)
    return Agreement(
        _balanced_accuracies(reading, thresholds, weights),
        _areas(reading, weights),
        _joint(reading, thresholds, weights),
        *_years(reading, weights),
        *_counts(reading),
        len(set(reading.clusters)),
    )


def joint_share(reading: Reading, thresholds: Array) -> Array:
    """`Agreement.joint` by itself: attributes without a threshold are not counted."""
    return _joint(reading, thresholds, weightings(reading.clusters))


def shuffled(reading: Reading, thresholds: Array, share: float | None = None) -> Array:
    """PF of each attribute with prompts given to other images, a mean over `SHUFFLES`: [len(ATTRIBUTES)].

    Args:
        reading: of one judge.
        thresholds: as for `measure_agreement`.
        share: of the prompts, drawn at random; None for all.
    """
    rng, once = np.random.default_rng(0), np.ones((1, len(reading)))
    rows = []
    for _ in range(SHUFFLES):
        order = np.arange(len(reading))
        moved = order if share is None else np.flatnonzero(rng.random(len(reading)) < share)
        order[moved] = rng.permutation(moved)
        rows.append(_balanced_accuracies(replace(reading, seen=reading.seen[order]), thresholds, once)[0])
    shuffled: NDArray[np.float64] = np.mean(rows, axis=0)
    return shuffled


def paired_difference(first: Reading, second: Reading) -> Array:
    """AUROC of one set minus that of another on the prompts that both have; resamples draw the same prompts for both.

    Returns:
        [1 + `PAIRED_RESAMPLES`, len(ATTRIBUTES)], the difference itself first.
    """
    shared = np.intersect1d(first.clusters, second.clusters)
    counts = weightings(np.arange(len(shared)), PAIRED_RESAMPLES)
    areas = []
    for reading in (first, second):
        rows = np.flatnonzero(np.isin(reading.clusters, shared))
        weights = counts[:, np.searchsorted(shared, reading.clusters[rows])]
        areas.append(_areas(reading.take(rows), weights))
    difference: Array = areas[0] - areas[1]
    return difference


def seen_elsewhere(reading: Reading, thresholds: Array) -> Array:
    """Share of the images that ask for one other finding in which each is seen: [len(ATTRIBUTES)], NaN for others."""
    shares, alone = np.full(len(ATTRIBUTES), np.nan), (reading.asked[:, FINDING_COLUMNS] == 1).sum(axis=1) == 1
    for column, name in enumerate(ATTRIBUTES):
        others = alone & (reading.asked[:, column] == 0)
        if (name in FINDINGS or name in GROUPS) and others.any() and np.isfinite(thresholds[column]):
            shares[column] = (reading.seen[others, column] >= thresholds[column]).mean()
    return shares


def _balanced_accuracies(reading: Reading, thresholds: Array, weights: Array) -> Array:
    """PF of each attribute, [B, len(ATTRIBUTES)]; NaN where not both kinds were asked for or there is no threshold."""
    values = np.full((len(weights), len(ATTRIBUTES)), np.nan)
    for column, pairs in comparisons(reading):
        if np.isfinite(thresholds[column]):
            seen = reading.seen[:, column] >= thresholds[column]
            shares = [
                (weighted_share(seen, yes, weights) + weighted_share(~seen, no, weights)) / 2 for yes, no in pairs
            ]
            values[:, column] = _over_views(shares, pairs)
    return values


def _areas(reading: Reading, weights: Array) -> Array:
    """AUROC of each attribute, [B, len(ATTRIBUTES)]; NaN where not both kinds were asked for."""
    areas = np.full((len(weights), len(ATTRIBUTES)), np.nan)
    for column, pairs in comparisons(reading):
        scores, either = reading.seen[:, column], [yes | no for yes, no in pairs]
        rows = [
            weighted_auroc(scores[some], yes[some], weights[:, some])
            for some, (yes, _) in zip(either, pairs, strict=True)
        ]
        areas[:, column] = _over_views(rows, pairs)
    return areas


def _over_views(values: Sequence[Array], pairs: Sequence[tuple[Flags, Flags]]) -> Array:
    """Mean of figures [B] of several views, by how many images of each show the attribute; NaNs are left out."""
    table, counts = np.array(values), np.array([[float(yes.sum())] for yes, _ in pairs])
    present = np.isfinite(table)
    with np.errstate(invalid="ignore"):
        mean: Array = (np.where(present, table, 0) * counts).sum(axis=0) / (present * counts).sum(axis=0)
    return mean


def _counts(reading: Reading) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    counts = np.zeros((2, len(ATTRIBUTES)), np.intp)
    for column, pairs in comparisons(reading):
        counts[:, column] = [sum(int(flags.sum()) for flags in side) for side in zip(*pairs, strict=True)]
    return counts[0], counts[1]


def _joint(reading: Reading, thresholds: Array, weights: Array) -> Array:
    """Everything that is stated at once: view, sex, age within `NEAR_YEARS`, and the findings asked for, or none."""
    stated = ~np.isnan(reading.asked)
    # An image that was asked for effusion is not blamed for what else it shows: its prompt excluded nothing.
    excluding = (reading.asked == 0) & (np.arange(len(ATTRIBUTES)) > ABNORMAL)
    counted = stated & ~excluding & np.isfinite(thresholds)
    counted[:, len(LABELS) :] = False  # groups repeat their findings
    right = (((reading.seen >= thresholds) == (reading.asked == 1)) | ~counted).all(axis=1)
    near = np.isnan(reading.years_asked) | (np.abs(reading.years_seen - reading.years_asked) <= NEAR_YEARS)
    return weighted_share(right & near, counted.any(axis=1), weights)


def _years(reading: Reading, weights: Array) -> tuple[Array, Array]:
    known = ~np.isnan(reading.years_asked)
    errors, weights = np.abs(reading.years_seen - reading.years_asked)[known], weights[:, known]
    with np.errstate(invalid="ignore"):  # 0 / 0 where no age is known
        return weights @ errors / weights.sum(axis=1), weights @ (errors <= NEAR_YEARS) / weights.sum(axis=1)
