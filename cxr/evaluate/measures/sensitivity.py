"""Does a distance notice damage? Real images made worse step by step, and one kind of image that becomes rare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.extractors.extractor import Extractor, embed
from cxr.evaluate.measures.distances import FEWEST
from cxr.metrics.degrade import DEGRADATIONS
from cxr.metrics.features import Features
from cxr.metrics.kernel import kernel_distance

DROPPED_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)


def measure_degradations(
    reference: Features, pixels: NDArray[np.uint8], extractor: Extractor, seed: int
) -> list[dict[str, Any]]:
    """Kernel distance of real images [N, S, S] to other real images' features [M, D], the former made worse.

    Returns:
        For each kind of damage its levels, the distances, and whether they rise throughout.
    """
    return [
        _row(kind, levels, reference, (embed(worsen(pixels, level), extractor) for level in levels), seed)
        for kind, (worsen, levels) in DEGRADATIONS.items()
    ]


def measure_loss(reference: Features, features: Features, rarer: NDArray[np.bool_], seed: int) -> list[dict[str, Any]]:
    """Kernel distance of real images' features to other real images', one kind becoming rare and at last gone.

    Args:
        reference: [M, D].
        features: [N, D].
        rarer: [N], which images are of that kind.
        seed: of the order in which they go.
    Returns:
        One row as of `measure_degradations`; none if the kind is missing or almost everything.
    """
    kind = np.flatnonzero(rarer)
    if not 0 < len(kind) < len(features) - FEWEST:
        return []
    order = np.random.default_rng(seed).permutation(kind)
    left = (np.delete(features, order[: round(share * len(order))], axis=0) for share in DROPPED_SHARES)
    return [_row("loss of AP views", DROPPED_SHARES, reference, left, seed)]


def _row(
    kind: str, levels: Sequence[float], reference: Features, sets: Iterable[Features], seed: int
) -> dict[str, Any]:
    values = [kernel_distance(reference, features, seed).value for features in sets]
    return {"kind": kind, "levels": levels, "kd": values, "monotone": bool(np.all(np.diff(values) > 0))}
