"""Does a distance notice damage? Real images made worse step by step, and one kind of image that becomes rare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.extractors.extract import Extractor, embed
from cxr.evaluate.sections.distances import FEWEST
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
    rows = []
    for kind, (worsen, levels) in DEGRADATIONS.items():
        worse = (embed(worsen(pixels, level), extractor) for level in levels)
        rows.append(_row(kind, levels, [kernel_distance(reference, features, seed).value for features in worse]))
    return rows


def measure_loss(reference: Features, features: Features, rarer: NDArray[np.bool_], seed: int) -> list[dict[str, Any]]:
    """The same for real images of which one kind, flagged in ``rarer``, becomes rare and is gone at last.

    Returns:
        One row; none if the kind is missing or almost everything.
    """
    kind = np.flatnonzero(rarer)
    if not 0 < len(kind) < len(features) - FEWEST:
        return []
    order = np.random.default_rng(seed).permutation(kind)
    left = [np.delete(features, order[: round(share * len(order))], axis=0) for share in DROPPED_SHARES]
    values = [kernel_distance(reference, some, seed).value for some in left]
    return [_row("loss of AP views", DROPPED_SHARES, values)]


def _row(kind: str, levels: Sequence[float], values: list[float]) -> dict[str, Any]:
    return {"kind": kind, "levels": levels, "kd": values, "monotone": bool(np.all(np.diff(values) > 0))}
