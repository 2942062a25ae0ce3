"""Does a distance notice damage? Real images made worse step by step, and one kind of image that becomes rare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.extractors.extractor import Extractor, embed
from cxr.evaluate.image_set import MIN_IMAGES
from cxr.metrics.degrade import DEGRADATIONS
from cxr.metrics.kernel import kernel_distance
from cxr.metrics.sample import Sample

DROPPED_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
UNDAMAGED = "undamaged"


class Damage(TypedDict):
    """Distances of images that are made worse.

    Args:
        kind: of the damage.
        levels: of it, from mild to strong.
        kd: the distance at each level.
        monotone: whether they rise throughout, beginning with no damage.
    """

    kind: str
    levels: Sequence[float]
    kd: list[float]
    monotone: bool


def choose_patients(patients: NDArray[np.generic], count: int) -> NDArray[np.intp]:
    """Images of random patients, at most ``count``; of neighbours in a folder many are alike."""
    codes = np.unique(patients, return_inverse=True)[1]
    place = np.random.default_rng(0).permutation(int(codes.max()) + 1)[codes]
    return np.sort(np.argsort(place, kind="stable")[:count])


def measure_degradations(
    reference: Sample, pixels: NDArray[np.uint8], patients: NDArray[np.generic], extractor: Extractor
) -> list[Damage]:
    """Kernel distance of real images to other real images, the former as they are and then made worse.

    Args:
        reference: the other real images.
        pixels: [N, S, S] uint8.
        patients: of the N images.
        extractor: of the reference's features.
    Returns:
        First the row `UNDAMAGED`, then one for each kind of damage.
    """

    def distance(some: NDArray[np.uint8]) -> float:
        return kernel_distance(reference, Sample(embed(some, extractor), patients)).value

    start = distance(pixels)
    rows: list[Damage] = [{"kind": UNDAMAGED, "levels": (0.0,), "kd": [start], "monotone": True}]
    for kind, (worsen, levels) in DEGRADATIONS.items():
        rows.append(_row(kind, levels, start, (distance(worsen(pixels, level)) for level in levels)))
    return rows


def measure_loss(reference: Sample, sample: Sample, rarer: NDArray[np.bool_]) -> list[Damage]:
    """Kernel distance of real images to other real images, one kind becoming rare and at last gone.

    Args:
        reference: the other real images.
        sample: N images.
        rarer: [N], which of them are of that kind.
    Returns:
        One row as of `measure_degradations`; none if the kind is missing or almost everything.
    """
    kind = np.flatnonzero(rarer)
    if not 0 < len(kind) < len(sample) - MIN_IMAGES:
        return []
    order, every = np.random.default_rng(0).permutation(kind), np.arange(len(sample))
    left = (sample.take(np.delete(every, order[: round(share * len(order))])) for share in DROPPED_SHARES)
    values = (kernel_distance(reference, some).value for some in left)
    return [_row("loss of AP views", DROPPED_SHARES, kernel_distance(reference, sample).value, values)]


def _row(kind: str, levels: Sequence[float], start: float, distances: Iterable[float]) -> Damage:
    values = list(distances)
    return {"kind": kind, "levels": levels, "kd": values, "monotone": bool(np.all(np.diff([start, *values]) > 0))}
