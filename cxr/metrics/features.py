"""Images -> features: what every distance between sets of images is computed on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cxr.request.errors import DataError

Features = NDArray[np.floating]
ROWS = 512  # of a strip of distances: a whole table of 10,000 x 10,000 would not fit a laptop


def check_features(features: Features) -> NDArray[np.float64]:
    """The features as float64.

    Raises:
        DataError: not [N, D] with N at least 2, or a value is not finite.
    """
    try:
        values = np.asarray(features, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("features are not a table of numbers; use [N, D] with N of 2 or more") from error
    if values.ndim != 2 or len(values) < 2 or not values.shape[1]:
        raise DataError(f"features are {list(values.shape)}; use [N, D] with N of 2 or more")
    if not np.isfinite(values).all():
        raise DataError("a feature is not finite; the extractor's weights may be damaged")
    return values


def check_widths(x: Features, y: Features) -> None:
    """Refuse sets of features that differ in their number of columns.

    Raises:
        DataError: they do.
    """
    if x.shape[1] != y.shape[1]:
        raise DataError(f"the features have {x.shape[1]} and {y.shape[1]} columns; use one extractor for both sets")


def squared_distances(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared Euclidean distances of all rows of x [N, D] to all rows of y [M, D]: [N, M]."""
    squares = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)
    distances: NDArray[np.float64] = np.clip(squares - 2 * x @ y.T, 0, None)
    return distances


def distance_strips(
    x: NDArray[np.float64], y: NDArray[np.float64], rows: int = ROWS
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """`squared_distances` of a few rows of x at a time: which rows, and [at most ``rows``, M]."""
    for start in range(0, len(x), rows):
        strip = slice(start, min(start + rows, len(x)))
        yield strip, squared_distances(x[strip], y)
