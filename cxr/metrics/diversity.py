"""How much the images of one set differ from one another, by their features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr.metrics.features import Features, check_features, distance_strips, squared_distances


def standardised(features: Features, reference: Features) -> NDArray[np.float64]:
    """Features on the scale of reference ones; one that is the same for all of those is left out.

    Args:
        features: [N, D].
        reference: [M, D], whose means and deviations are taken.
    Returns:
        [N, at most D].
    """
    known, values = check_features(reference), np.asarray(features, np.float64)
    deviations = known.std(axis=0)
    used = deviations > 1e-9 * np.abs(known).max(axis=0)
    scaled: NDArray[np.float64] = (values[:, used] - known[:, used].mean(axis=0)) / deviations[used]
    return scaled


def mean_pairwise_distance(features: Features) -> float:
    """Mean Euclidean distance of all pairs of different rows of [N, D], over sqrt(D), so that widths do not matter."""
    values = check_features(features)
    distances = np.sqrt(squared_distances(values, values)[np.triu_indices(len(values), 1)])
    return float(distances.mean() / np.sqrt(values.shape[1]))


def vendi_score(features: Features) -> float:
    """How many different images a set is worth: 1 if all are equal, N if no two have anything in common.

    Args:
        features: [N, D]; compared by the cosine of their angle.
    Source:
        Friedman and Dieng, TMLR 2023: the exponential of the entropy of the similarity matrix's eigenvalues over N.
    """
    values = check_features(features)
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    shares = np.square(np.linalg.svd(unit, compute_uv=False)) / len(unit)
    positive = shares[shares > 1e-12]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def nearest_distances(features: Features, others: Features | None = None) -> NDArray[np.float64]:
    """Distance of each row of [N, D] to the nearest other row, or to the nearest of ``others`` [M, D]: [N]."""
    values = check_features(features)
    nearest = np.empty(len(values))
    for rows, squared in distance_strips(values, values if others is None else check_features(others)):
        if others is None:
            squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = np.inf
        nearest[rows] = np.sqrt(squared.min(axis=1))
    return nearest
