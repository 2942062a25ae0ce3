"""Prompt fidelity: do the images show what their prompts asked for, as far as judges can tell?

Definitions, for one attribute a (a view, a sex, a finding) and one judge:

- PF, prompt fidelity: mean of the shares of images that were asked to show a and do, and that were asked not to and do
  not. Of the latter, normal images and images with other findings (hard negatives) count one half each.
- AUROC: the same without a threshold, over the same mixture.
- C and C_AUROC: both on real held-out images, the judge's ceiling. F: PF with the prompts shuffled, the floor.
- NPF: (PF - 0.5) / (C - 0.5), the share of what this judge can see at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxr.labels.targets import ATTRIBUTES, LABELS, NEAR_YEARS, attribute_scores, attribute_targets
from cxr.metrics.agreement import weighted_auroc, weighted_share
from cxr.metrics.intervals import cluster_weights
from cxr.vocabulary import FINDINGS

ABNORMAL = LABELS.index("abnormal")
SHUFFLES = 20
PAIRED_RESAMPLES = 2_000  # enough for a p-value that survives the correction for many findings
SMALLEST_CEILING = 0.55  # below, NPF would divide by almost nothing

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """What one judge read off N images, and what was asked for (or is known of them).

    Args:
        seen: [N, len(ATTRIBUTES)], logits.
        asked: [N, len(ATTRIBUTES)]: 1 yes, 0 no, NaN not said.
        years_seen: [N].
        years_asked: [N], NaN where not said.
        clusters: [N], the prompt (or the patient) of each.
    """

    seen: Array
    asked: Array
    years_seen: Array
    years_asked: Array
    clusters: NDArray[np.str_]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.seen)

    def take(self, rows: NDArray[np.intp]) -> Reading:
        """Some of the images."""
        years = self.years_seen[rows], self.years_asked[rows]
        return Reading(self.seen[rows], self.asked[rows], *years, self.clusters[rows])


def make_reading(scores: Array, targets: NDArray[np.floating], clusters: Sequence[str]) -> Reading:
    """Put together what `cxr.judges.judge.scores_of` and `targets_of` gave for the same images."""
    return Reading(
        attribute_scores(scores),
        attribute_targets(targets),
        np.asarray(scores[:, -1], np.float64),
        np.asarray(targets[:, -1], np.float64),
        np.asarray(clusters, dtype=np.str_),
    )


@dataclass(frozen=True)
class Agreement:
    """Agreement of one judge with what was asked; each array starts with the figure, then `RESAMPLES` resamples.

    Args:
        pf: [1 + B, len(ATTRIBUTES)], shares in [0, 1].
        auroc: [1 + B, len(ATTRIBUTES)].
        joint: [1 + B], share of images on which everything that was asked is seen at once.
        mae: [1 + B], years.
        within: [1 + B], share of ages within `NEAR_YEARS`.
        num_positive: [len(ATTRIBUTES)].
        num_negative: [len(ATTRIBUTES)].
    """

    pf: Array
    auroc: Array
    joint: Array
    mae: Array
    within: Array
    num_positive: NDArray[np.intp]
    num_negative: NDArray[np.intp]


def measure_agreement(reading: Reading, thresholds: Array, seed: int = 0) -> Agreement:
    """Compare what was seen with what was asked.

    Args:
        reading: of one judge.
        thresholds: [len(ATTRIBUTES)], from which logit on an attribute counts as seen; fixed beforehand.
        seed: of the resamples, which draw whole clusters.
    """
    weights = np.vstack([np.ones(len(reading)), cluster_weights(reading.clusters, seed)])
    said = reading.seen >= thresholds
    pf = np.full((len(weights), len(ATTRIBUTES)), np.nan)
    for column in range(len(ATTRIBUTES)):
        positive = reading.asked[:, column] == 1
        strata = negative_strata(reading, column)
        if not positive.any() or not strata:
            continue
        if np.isfinite(thresholds[column]):
            hits = weighted_share(said[:, column], positive, weights)
            refusals = np.mean([weighted_share(~said[:, column], negative, weights) for negative in strata], axis=0)
            pf[:, column] = (hits + refusals) / 2
    return Agreement(
        pf,
        _areas(reading, weights),
        _joint(reading, said, thresholds, weights),
        *_years(reading, weights),
        (reading.asked == 1).sum(axis=0),
        (reading.asked == 0).sum(axis=0),
    )


def shuffled(reading: Reading, thresholds: Array, seed: int = 0) -> Array:
    """PF of each attribute with prompts given to other images, a mean over `SHUFFLES`: [len(ATTRIBUTES)]."""
    chance = np.random.default_rng(seed)
    rows = []
    for _ in range(SHUFFLES):
        order = chance.permutation(len(reading))
        rows.append(_point_pf(replace(reading, seen=reading.seen[order]), thresholds))
    return np.mean(rows, axis=0)


def partly_shuffled(reading: Reading, thresholds: Array, share: float, seed: int = 0) -> Array:
    """As `shuffled`, only a share of the prompts given to other images: [len(ATTRIBUTES)]."""
    chance = np.random.default_rng(seed)
    rows = []
    for _ in range(SHUFFLES):
        order = np.arange(len(reading))
        moved = np.flatnonzero(chance.random(len(reading)) < share)
        order[moved] = chance.permutation(moved)
        rows.append(_point_pf(replace(reading, seen=reading.seen[order]), thresholds))
    return np.mean(rows, axis=0)


def paired_difference(first: Reading, second: Reading, seed: int = 0) -> Array:
    """AUROC of one set minus that of another on the prompts that both have; resamples draw the same prompts for both.

    Returns:
        [1 + `PAIRED_RESAMPLES`, len(ATTRIBUTES)], the difference itself first.
    """
    shared = np.intersect1d(first.clusters, second.clusters)
    drawn = cluster_weights(np.arange(len(shared)), seed, PAIRED_RESAMPLES)
    counts = np.vstack([np.ones(len(shared)), drawn])
    areas = []
    for reading in (first, second):
        rows = np.flatnonzero(np.isin(reading.clusters, shared))
        weights = counts[:, np.searchsorted(shared, reading.clusters[rows])]
        areas.append(_areas(reading.take(rows), weights))
    difference: Array = areas[0] - areas[1]
    return difference


def negative_strata(reading: Reading, column: int) -> list[NDArray[np.bool_]]:
    """Images that were asked not to show an attribute: for a finding, normal ones and those with other findings."""
    negative = reading.asked[:, column] == 0
    strata = [negative]
    if ATTRIBUTES[column] in FINDINGS or column >= len(LABELS):
        normal = reading.asked[:, ABNORMAL] == 0
        strata = [negative & normal, negative & ~normal]
    return [stratum for stratum in strata if stratum.any()]


def normalised(pf: Array, ceiling: Array) -> Array:
    """(PF - 0.5) / (C - 0.5); NaN where the ceiling is below `SMALLEST_CEILING`."""
    enough = ceiling >= SMALLEST_CEILING
    return np.where(enough, (pf - 0.5) / np.where(enough, ceiling - 0.5, 1.0), np.nan)


def macro(values: Array, columns: Sequence[int], usable: NDArray[np.bool_]) -> Array:
    """Mean over attributes [1 + B, A] -> [1 + B], of the chosen columns that are usable."""
    chosen = [column for column in columns if usable[column]]
    if not chosen:
        return np.full(len(values), np.nan)
    result: Array = values[:, chosen].mean(axis=1)
    return result


def lower_judge(agreements: Mapping[str, Agreement], column: int) -> str:
    """The judge by whom an attribute fares worse; by name where they agree or cannot tell."""

    def key(name: str) -> tuple[float, str]:
        value = float(agreements[name].pf[0, column])
        return (value if np.isfinite(value) else 2.0, name)

    return min(agreements, key=key)


def _areas(reading: Reading, weights: Array) -> Array:
    """AUROC of each attribute, [B, len(ATTRIBUTES)]; NaN where not both kinds were asked for."""
    areas = np.full((len(weights), len(ATTRIBUTES)), np.nan)
    for column in range(len(ATTRIBUTES)):
        positive, strata = reading.asked[:, column] == 1, negative_strata(reading, column)
        if positive.any() and strata:
            scores = reading.seen[:, column]
            areas[:, column] = np.mean([_pairwise(scores, positive, stratum, weights) for stratum in strata], axis=0)
    return areas


def _pairwise(scores: Array, positive: NDArray[np.bool_], negative: NDArray[np.bool_], weights: Array) -> Array:
    either = positive | negative
    return weighted_auroc(scores[either], positive[either], weights[:, either])


def _point_pf(reading: Reading, thresholds: Array) -> Array:
    said, one = reading.seen >= thresholds, np.ones((1, len(reading)))
    values = np.full(len(ATTRIBUTES), np.nan)
    for column in range(len(ATTRIBUTES)):
        strata = negative_strata(reading, column)
        if strata and np.isfinite(thresholds[column]):
            hits = weighted_share(said[:, column], reading.asked[:, column] == 1, one)[0]
            values[column] = (hits + np.mean([weighted_share(~said[:, column], s, one)[0] for s in strata])) / 2
    return values


def _joint(reading: Reading, said: NDArray[np.bool_], thresholds: Array, weights: Array) -> Array:
    """Everything that is stated at once: view, sex, age within `NEAR_YEARS`, and the findings asked for, or none."""
    stated = ~np.isnan(reading.asked)
    # An image that was asked for effusion is not blamed for what else it shows: its prompt excluded nothing.
    excluding = (reading.asked == 0) & (np.arange(len(ATTRIBUTES)) > ABNORMAL)
    counted = stated & ~excluding & np.isfinite(thresholds)
    counted[:, len(LABELS) :] = False  # groups repeat their findings
    right = ((said == (reading.asked == 1)) | ~counted).all(axis=1)
    near = np.isnan(reading.years_asked) | (np.abs(reading.years_seen - reading.years_asked) <= NEAR_YEARS)
    return weighted_share(right & near, counted.any(axis=1), weights)


def _years(reading: Reading, weights: Array) -> tuple[Array, Array]:
    known = ~np.isnan(reading.years_asked)
    if not known.any():
        return np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    errors = np.abs(reading.years_seen - reading.years_asked)[known]
    total = weights[:, known].sum(axis=1)
    return weights[:, known] @ errors / total, weights[:, known] @ (errors <= NEAR_YEARS) / total
