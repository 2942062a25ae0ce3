"""Precision, recall, density and coverage: is each set where the other is?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cxr.metrics.features import Features, check_features, check_widths, distance_strips
from cxr.request.errors import DataError

NEAREST = 5


def measure_neighbourhoods(reference: Features, generated: Features, seed: int = 0) -> dict[str, float]:
    """Compare two sets by k-nearest-neighbour balls (k = `NEAREST`), equally many images of each.

    Args:
        reference: [N, D].
        generated: [M, D]; of the larger set a random part is used, since the figures depend on the counts.
        seed: of that part.
    Returns:
        precision: share of the generated images inside the neighbourhood of some reference image; recall: share of the
        reference images inside the neighbourhood of some generated image (outliers inflate both); density: reference
        neighbourhoods that a generated image lies in, on average, over `NEAREST`, may exceed 1; coverage: share of the
        reference images whose neighbourhood holds some generated image.
    Raises:
        DataError: a set has too few images for its neighbours.
    Source:
        Kynkaanniemi et al., NeurIPS 2019 (precision, recall); Naeem et al., ICML 2020 (density, coverage).
    """
    sides = check_features(reference), check_features(generated)
    check_widths(*sides)
    count = min(map(len, sides))
    if count <= NEAREST:
        raise DataError(f"{count} images are too few for {NEAREST} nearest neighbours; use {NEAREST + 1} or more")
    rng = np.random.default_rng(seed)
    real, fake = (_draw(side, count, rng) for side in sides)
    real_radii, fake_radii = _radii(real), _radii(fake)
    hits = np.zeros(count, np.int64)  # reference balls around each generated image
    recalled, covered = np.empty(count, bool), np.empty(count, bool)
    for rows, distances in _strips(real, fake):
        hits += (distances < real_radii[rows, None]).sum(axis=0)
        recalled[rows] = (distances < fake_radii).any(axis=1)
        covered[rows] = distances.min(axis=1) < real_radii[rows]
    figures = {"precision": hits > 0, "recall": recalled, "density": hits, "coverage": covered}
    return {name: float(rows.mean()) / (NEAREST if rows is hits else 1) for name, rows in figures.items()}


def _radii(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each row to its `NEAREST`-th other row: [N]."""
    radii = np.empty(len(features))
    for rows, distances in _strips(features, features):
        radii[rows] = np.partition(distances, NEAREST, axis=1)[:, NEAREST]  # place 0 is the row itself
    return radii


def _strips(x: NDArray[np.float64], y: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Euclidean distances of a few rows of x at a time to all of y."""
    for rows, squared in distance_strips(x, y):
        if x is y:
            squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = 0.0  # not almost 0
        yield rows, np.sqrt(squared)


def _draw(features: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return features if len(features) == count else features[np.sort(rng.choice(len(features), count, replace=False))]
