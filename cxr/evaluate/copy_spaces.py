"""How near images come to training images in one space of features or pixels, and what of that is flagged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.copy_grid import NATIVE, SPACES
from cxr.evaluate.copy_nearest import nearest_features
from cxr.evaluate.copy_search import Nearest
from cxr.evaluate.copy_set import CopySet
from cxr.metrics.features import Features
from cxr.metrics.result import MetricResult, share_of

QUANTILE = 0.001  # of real distances; what is nearer is flagged
MAX_REAL = 0.002  # real images of other patients that may be flagged
MIN_CONTROL = 0.95  # planted copies of each kind that must be found


class Space(TypedDict):
    """One way to see how near images are: an extractor, or one of the search.

    Of `NATIVE` all figures are of those images alone that were compared at their own size.

    Args:
        threshold: 0.1 % quantile of the distances of the calibration images.
        median: of the distances of generated images to their nearest training image.
        median_real: of those of all held-out images.
        smallest: of those of generated images.
        flagged: generated images nearer than the threshold.
        flagged_real: held-out images that did not set it and are (negative control).
        authentic: of extractors, as `_authentic` defines it.
    """

    name: str
    threshold: float
    median: float
    median_real: float
    smallest: float
    flagged: MetricResult
    flagged_real: MetricResult
    authentic: NotRequired[MetricResult]


class Control(TypedDict):
    """Planted copies of one kind: the share found by any space of the search, and the shares by each space.

    The share by `NATIVE` is of those copies alone that were compared at their own size, NaN where none was.
    """

    kind: str
    found: MetricResult
    spaces: dict[str, float]


def threshold_of(distances: NDArray[np.float64]) -> float:
    """The distance below which images are flagged, from those of real images of other patients that are known."""
    return float(np.quantile(distances[np.isfinite(distances)], QUANTILE))


def measure_space(
    name: str, training: CopySet, made: Nearest, real: Nearest, calibrating: NDArray[np.bool_], threshold: float
) -> Space:
    """How near images come to the training images, as one extractor or one way of the search sees them.

    Args:
        name: of the extractor or the way.
        training: all training images.
        made: what is nearest to each generated image.
        real: what is nearest to each held-out image.
        calibrating: which held-out images have set the threshold.
        threshold: distances below it are flagged.
    """
    known = np.isfinite(real.distances)
    real, calibrating = Nearest(real.distances[known], real.indices[known]), calibrating[known]
    known = np.isfinite(made.distances)
    made = Nearest(made.distances[known], made.indices[known])
    num_calibration = int(calibrating.sum())
    space: Space = {
        "name": name,
        "threshold": threshold,
        "median": float(np.median(made.distances)),
        "median_real": float(np.median(real.distances)),
        "smallest": float(made.distances.min()),
        "flagged": _flagged(made.distances < threshold, threshold, num_calibration),
        "flagged_real": _flagged_real(real.distances[~calibrating] < threshold, num_calibration),
    }
    if name in training.features:
        space["authentic"] = _authentic(training.features[name], made, real)
    return space


def _flagged(flags: NDArray[np.bool_], threshold: float, num_calibration: int) -> MetricResult:
    note = ""
    if num_calibration < 1 / QUANTILE:
        note = (
            f"with {num_calibration} calibration images the 0.1 % quantile is coarse: it lies between the two "
            "smallest of their distances"
        )
    return share_of("flagged", flags, num_calibration, {"threshold": threshold, "quantile": QUANTILE}, note)


def _flagged_real(flags: NDArray[np.bool_], num_calibration: int) -> MetricResult:
    # Of n values in random order the k-th smallest has k / (n + 1) of further values below it.
    expected = (1 + QUANTILE * (num_calibration - 1)) / (num_calibration + 1)
    note = ""
    if flags.mean() > MAX_REAL:
        note = (
            f"{flags.sum()} of {len(flags)} real images of other patients are flagged, more than {MAX_REAL:.1%}; "
            f"{expected:.2%} are to be expected of a threshold from {num_calibration} images"
        )
    result = share_of("flagged_real", flags, len(flags), {"at_most": MAX_REAL, "expected": expected}, note)
    return replace(result, num_generated=0)


def _authentic(known: Features, made: Nearest, real: Nearest) -> MetricResult:
    """Generated images farther from their nearest training image than that is from its own nearest other one.

    Fresh draws give 1/3 in one dimension and come near 1/2 in many; copies give 0. Further images of the same patient
    in the training set raise it: compare with ``settings["held_out"]``, the share of real held-out images.

    Source:
        Alaa et al., ICML 2022.
    """
    neighbours, place = np.unique(np.concatenate([made.indices, real.indices]), return_inverse=True)
    own = nearest_features(known[neighbours], known, neighbours).distances[place]
    flags = np.concatenate([made.distances, real.distances]) > own
    count = len(made.distances)
    return share_of("authentic", flags[:count], len(known), {"held_out": float(flags[count:].mean())})


def measure_control(kind: str, nearest: Mapping[str, Nearest], thresholds: Mapping[str, float]) -> Control:
    """How many planted copies of one kind are flagged."""
    flags = {name: nearest[name].distances < threshold for name, threshold in thresholds.items()}
    any_of = np.any([flags[space] for space in (*SPACES, NATIVE) if space in flags], axis=0)
    note = (
        f"under {MIN_CONTROL:.0%} are found: few flags prove little of this kind" if any_of.mean() < MIN_CONTROL else ""
    )
    found = share_of("found", any_of, len(any_of), {"at_least": MIN_CONTROL}, note)
    known = {name: np.isfinite(nearest[name].distances) for name in flags}
    shares = {name: float(some[known[name]].mean()) if known[name].any() else math.nan for name, some in flags.items()}
    return {"kind": kind, "found": found, "spaces": shares}
