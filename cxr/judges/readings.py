"""What a judge read off images beside what they should show, and how far the two agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxr.labels.targets import ATTRIBUTES, GROUPS, LABELS, NEAR_YEARS, attribute_scores, attribute_targets
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.agreement import weighted_auroc, weighted_share
from cxr.metrics.intervals import FEWEST_CLUSTERS, cluster_weights

ABNORMAL, VIEW = LABELS.index("abnormal"), LABELS.index("PA")
SHUFFLES = 20
PAIRED_RESAMPLES = 2_000  # enough for a p-value that survives the correction for many findings

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
_FINDINGS = [ATTRIBUTES.index(name) for name in FINDINGS]


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
        pf: [1 + B, len(ATTRIBUTES)], balanced accuracy: mean of the share of images asked to show an attribute that do,
            and of those asked not to that do not; of the images that `comparisons` names, a mean over the views.
        auroc: [1 + B, len(ATTRIBUTES)], the same without a threshold.
        joint: [1 + B], share of images on which everything that was asked is seen at once.
        mae: [1 + B], years.
        within: [1 + B], share of ages within `NEAR_YEARS`.
        num_positive: [len(ATTRIBUTES)], images asked to show it that were compared.
        num_negative: [len(ATTRIBUTES)], images asked not to.
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
        thresholds: [len(ATTRIBUTES)], the logit at and above which an attribute counts as seen; fixed beforehand.
        seed: of the resamples, which draw whole clusters.
    """
    weights = _weights(reading, seed)
    return Agreement(
        _balanced_accuracies(reading, thresholds, weights),
        _areas(reading, weights),
        _joint(reading, thresholds, weights),
        *_years(reading, weights),
        *_counts(reading),
    )


def joint_share(reading: Reading, thresholds: Array, seed: int = 0) -> Array:
    """`Agreement.joint` by itself: attributes without a threshold are not counted."""
    return _joint(reading, thresholds, _weights(reading, seed))


def _weights(reading: Reading, seed: int) -> Array:
    """How often each image counts as measured, and in resamples: [1 + B, N]."""
    drawn = cluster_weights(reading.clusters, seed, fewest=FEWEST_CLUSTERS)
    return np.vstack([np.ones(len(reading)), drawn])


def shuffled(reading: Reading, thresholds: Array, share: float | None = None, seed: int = 0) -> Array:
    """PF of each attribute with prompts given to other images, a mean over `SHUFFLES`: [len(ATTRIBUTES)].

    Args:
        reading: of one judge.
        thresholds: as for `measure_agreement`.
        share: of the prompts, drawn at random; None for all.
        seed: of the shuffles.
    """
    rng, once = np.random.default_rng(seed), np.ones((1, len(reading)))
    rows = []
    for _ in range(SHUFFLES):
        order = np.arange(len(reading))
        moved = order if share is None else np.flatnonzero(rng.random(len(reading)) < share)
        order[moved] = rng.permutation(moved)
        rows.append(_balanced_accuracies(replace(reading, seen=reading.seen[order]), thresholds, once)[0])
    shuffled: NDArray[np.float64] = np.mean(rows, axis=0)
    return shuffled


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


def comparisons(reading: Reading) -> Iterator[tuple[int, list[tuple[Flags, Flags]]]]:
    """For each attribute, which images are to show it and which are not: column, pairs of flags [N], one for each view.

    Findings are compared within a view, as prompts are balanced by view and real films are not: the sickest are lying.
    Images of one finding at most count, and what is not to show a finding is a normal image: a prompt for an effusion
    does not ask for the absence of a mass. Views without both kinds are left out.
    """
    single = (reading.asked[:, _FINDINGS] == 1).sum(axis=1) <= 1
    every = np.ones(len(reading), bool)
    views = [reading.asked[:, VIEW] == 1, reading.asked[:, VIEW] == 0, np.isnan(reading.asked[:, VIEW])]
    for column, name in enumerate(ATTRIBUTES):
        positive, negative = reading.asked[:, column] == 1, reading.asked[:, column] == 0
        if name in FINDINGS or name in GROUPS or column == ABNORMAL:
            positive, negative = positive & single, negative & (reading.asked[:, ABNORMAL] == 0)
        pairs = [(positive & view, negative & view) for view in ([every] if column == VIEW else views)]
        if pairs := [pair for pair in pairs if pair[0].any() and pair[1].any()]:
            yield column, pairs


def seen_elsewhere(reading: Reading, thresholds: Array) -> Array:
    """Share of the images that ask for one other finding in which each is seen: [len(ATTRIBUTES)], NaN for others."""
    shares, alone = np.full(len(ATTRIBUTES), np.nan), (reading.asked[:, _FINDINGS] == 1).sum(axis=1) == 1
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
