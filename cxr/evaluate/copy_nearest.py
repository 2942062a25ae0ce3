"""The training image that is nearest to each image, in each space of features and of the search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cxr.evaluate.copy_grid import ALIGNED, NATIVE
from cxr.evaluate.copy_native import CHECK_SIDE, Indices, Native, Pixels, joined
from cxr.evaluate.copy_search import Nearest, search_copies
from cxr.evaluate.copy_set import CopySet
from cxr.metrics.diversity import standardised
from cxr.metrics.features import Features, distance_strips
from cxr.request.errors import DataError

TABLE_BYTES = 2**25  # of one strip of a table of all training images


def nearest_in_all_spaces(sides: Sequence[CopySet], training: CopySet) -> Iterator[dict[str, Nearest]]:
    """Of each side in each space; searched at once, for each search first prepares all training images."""
    shared = [sorted(set(training.features) & set(side.features)) for side in sides]
    found = [
        {name: nearest_features(side.features[name], training.features[name]) for name in names}
        for side, names in zip(sides, shared, strict=True)
    ]
    pixels, native = np.concatenate([side.pixels for side in sides]), joined([side.at_own_size for side in sides])
    aligned = _search_pixels(pixels, native, training)
    start = 0
    for side, near in zip(sides, found, strict=True):
        rows = slice(start, start + len(side))
        yield near | {space: Nearest(every.distances[rows], every.indices[rows]) for space, every in aligned.items()}
        start = rows.stop


def _search_pixels(queries: Pixels, native: Native, training: CopySet) -> dict[str, Nearest]:
    """`search_copies`, for `NATIVE` among those training images alone that have more pixels than it looks at.

    What lies nearest among all of them would mostly be too small, and which images are left would depend on what is
    alike: no threshold would hold for them.
    """
    known = training.at_own_size
    many, large = (np.flatnonzero(side.sides > CHECK_SIDE) for side in (native, known))
    if len(large) == len(training):
        return search_copies(queries, training.pixels, native=(native, known))
    nearest = Nearest(np.full(len(queries), np.nan), np.zeros(len(queries), np.intp))
    if len(many) and len(large):
        some = native.take(many), known.take(large)
        found = search_copies(queries[many], training.pixels[large], native=some, spaces=(ALIGNED,))[NATIVE]
        nearest.distances[many], nearest.indices[many] = found.distances, large[found.indices]
    return search_copies(queries, training.pixels) | {NATIVE: nearest}


def nearest_features(queries: Features, references: Features, own: Indices | None = None) -> Nearest:
    """The nearest reference of each query, by Euclidean distance of standardised features.

    Standardised, since the features of a network differ in size by orders of magnitude and a few would decide alone.
    Not cosine: radiographs differ in the length of their features, too.

    Args:
        queries: [N, D].
        references: [M, D], M at least 2; their means and deviations standardise both sides.
        own: [N], for each query the reference that is the query itself and does not count.
    Raises:
        DataError: the features are not finite or not of one kind.
    """
    if queries.ndim != 2 or queries.shape[1] != references.shape[1] or not np.isfinite(queries).all():
        raise DataError(f"features {list(queries.shape)} cannot be compared with {list(references.shape)}")
    known, asked = (standardised(part, references) for part in (references, queries))
    if not known.shape[1]:
        raise DataError("the features are all the same; use an extractor that tells the training images apart")
    distances, indices = np.empty(len(asked)), np.empty(len(asked), np.intp)
    for strip, squared in distance_strips(asked, known, max(1, TABLE_BYTES // (8 * len(known)))):
        if own is not None:
            squared[np.arange(len(squared)), own[strip]] = np.inf
        indices[strip] = squared.argmin(axis=1)
        distances[strip] = np.sqrt(squared.min(axis=1))
    return Nearest(distances, indices)
