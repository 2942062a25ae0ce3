"""How well scores agree with what is known: areas under ROC curves, thresholds, and shares at a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr.metrics.arrays import Flags

Scores = NDArray[np.float64]

JUDGEABLE_AUROC = 0.95  # on real images; below, a verdict on a single image is wrong too often to be shown as one


def auroc(scores: Scores, positive: Flags) -> float:
    """Area under the ROC curve, ties counted half; NaN without both classes, or where a score is NaN."""
    return float(weighted_auroc(scores, positive, np.ones((1, len(scores))))[0])


def weighted_auroc(scores: Scores, positive: Flags, weights: Scores) -> Scores:
    """Areas under the ROC curve for several weightings of the same images, as resampling makes them.

    Args:
        scores: [N].
        positive: [N].
        weights: [B, N], how often each image counts.
    Returns:
        [B]; NaN where a weighting leaves a class empty, or a score is NaN.
    Source:
        Mann and Whitney (1947): the share of positive and negative pairs that are in order.
    """
    positive = np.asarray(positive, bool)
    if not len(scores) or np.isnan(scores).any():
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores[order]) > 0]))  # of runs of equal scores
    yes, no = (np.add.reduceat(weights[:, order] * side[order], starts, axis=1) for side in (positive, ~positive))
    below = np.cumsum(no, axis=1) - no
    with np.errstate(invalid="ignore"):
        areas: Scores = ((below + no / 2) * yes).sum(axis=1) / (yes.sum(axis=1) * no.sum(axis=1))
    return areas


def weighted_share(flags: Flags, among: Flags, weights: Scores) -> Scores:
    """Share of flagged images among some, for several weightings: [N], [N], [B, N] -> [B]; NaN where there are none."""
    with np.errstate(invalid="ignore"):
        shares: Scores = weights @ (flags & among) / (weights @ among)
    return shares


def youden_threshold(scores: Scores, positive: Flags) -> float:
    """The score at and above which "yes" gives the highest balanced accuracy; the middle of two neighbouring scores.

    Returns:
        NaN without both classes.
    Source:
        Youden, Cancer 1950.
    """
    if not 0 < positive.sum() < len(positive):
        return float("nan")
    order = np.argsort(scores, kind="stable")
    ranked, hits = scores[order], positive[order]
    missed = np.concatenate([[0], np.cumsum(hits)]) / hits.sum()
    refused = np.concatenate([[0], np.cumsum(~hits)]) / (~hits).sum()
    # A cut can only lie between two different scores.
    possible = np.concatenate([[True], np.diff(ranked) > 0, [True]])
    best = int(np.argmax(np.where(possible, refused - missed, -np.inf)))
    around = np.concatenate([[ranked[0] - 1], ranked, [ranked[-1] + 1]])
    return float((around[best] + around[best + 1]) / 2)
