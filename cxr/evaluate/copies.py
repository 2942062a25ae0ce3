"""Does the model copy its training patients? Nearest training images, calibrated on real images of other patients.

Radiographs are all alike, so a distance means nothing by itself. It is compared with how near real images of held-out
patients come to the training set, and the rule is tried on both sides: real images of yet other patients must pass
it, planted copies of every kind must not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.copy_search import ALIGNED, HALVES, Nearest, search_copies
from cxr.evaluate.copy_set import CopySet, Embed, plant_copies
from cxr.metrics.diversity import standardised
from cxr.metrics.features import Features, distance_strips
from cxr.metrics.intervals import wilson
from cxr.metrics.result import JsonObject, MetricResult
from cxr.request.errors import DataError

QUANTILE = 0.001  # of real distances; what is nearer is flagged
MAX_REAL = 0.002  # real images of other patients that may be flagged
MIN_CONTROL = 0.95  # planted copies of each kind that must be found
NEAR_EXACT = 0.9  # correlation on the local scale after alignment; of 300 real films with others 0.73 at most
NUM_PAIRS = 20
TABLE_BYTES = 2**25  # of one strip of a table of all training images
OVER_TRAINED = "images of an over-trained model"

Indices = NDArray[np.intp]


class Space(TypedDict):
    """One way to see how near images are: an extractor, or one of the search.

    Args:
        threshold: 0.1 % quantile of the distances of the calibration images.
        median: of the distances of generated images to their nearest training image.
        median_real: of those of all held-out images.
        smallest: of those of generated images.
        flagged: generated images nearer than the threshold.
        flagged_real: held-out images that did not set it and are (negative control).
        authentic: of extractors, as `_authentic` tells.
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
    """Planted copies of one kind: the share found by the aligned pixels or halves, and the shares by each space."""

    kind: str
    found: MetricResult
    spaces: dict[str, float]


class Copies(TypedDict):
    """The part "copies" of a report.

    Args:
        num_training: images that the generated ones were compared with.
        num_calibration: held-out images that set the thresholds.
        num_held_out: held-out images, of other patients again, that the thresholds were tried on.
        spaces: one for each extractor, then those of the search.
        control: one for each kind of planted copy.
        near_exact: generated images that share their file's hash with a training image, or correlate with one above
            0.9 after alignment.
        pairs: the 20 closest by aligned pixels (distance, name of the generated and of the training image), closest
            first.
    """

    num_training: int
    num_calibration: int
    num_held_out: int
    spaces: list[Space]
    control: list[Control]
    near_exact: int
    pairs: list[tuple[float, str, str]]


def check_copies(
    generated: CopySet,
    training: CopySet,
    held_out: CopySet,
    patients: Sequence[str],
    control: CopySet | None = None,
    seed: int = 0,
    *,
    embed: Mapping[str, Embed] | None = None,
) -> Copies:
    """Compare generated images with all images that the model was trained on.

    Args:
        generated: the images to check.
        training: all training images.
        held_out: real images of patients that are not in the training set.
        patients: of the held-out images, [K].
        control: images of a model that was over-trained on a few of the training images on purpose, if there are any.
        seed: of the choice of training images of which copies are planted, and of how.
        embed: the extractors, [N, S, S] uint8 -> features [N, D]: the planted copies need features too.
    Raises:
        DataError: a set is too small, the sets do not fit together, or a held-out file is in the training set.
    """
    _check(generated, training, held_out, patients, control)
    calibrating = calibration_half(patients)

    def search(queries: CopySet) -> dict[str, Nearest]:
        names = [name for name in sorted(training.features) if name in queries.features]
        found = {name: nearest_features(queries.features[name], training.features[name]) for name in names}
        return found | search_copies(queries.pixels, training.pixels)

    made, real = search(generated), search(held_out)
    thresholds = {name: float(np.quantile(found.distances[calibrating], QUANTILE)) for name, found in real.items()}
    spaces = [
        _measure_space(name, training, made[name], real[name], calibrating, thresholds[name]) for name in thresholds
    ]
    planted = dict(plant_copies(training, held_out.pixels, seed, embed)) | ({OVER_TRAINED: control} if control else {})
    return {
        "num_training": len(training),
        "num_calibration": int(calibrating.sum()),
        "num_held_out": int((~calibrating).sum()),
        "spaces": spaces,
        "control": [_found(kind, search(some), thresholds) for kind, some in planted.items()],
        "near_exact": _num_near_exact(generated, training, made[ALIGNED]),
        "pairs": _closest(generated, training, made[ALIGNED]),
    }


def _num_near_exact(generated: CopySet, training: CopySet, found: Nearest) -> int:
    # distance**2 = 2 - 2 * correlation
    near = np.isin(generated.hashes, training.hashes) | (found.distances < math.sqrt(2 - 2 * NEAR_EXACT))
    return int(near.sum())


def _closest(generated: CopySet, training: CopySet, found: Nearest) -> list[tuple[float, str, str]]:
    order = np.argsort(found.distances, kind="stable")[:NUM_PAIRS]
    return [(float(found.distances[k]), generated.names[k], training.names[found.indices[k]]) for k in order]


def calibration_half(patients: Sequence[str]) -> NDArray[np.bool_]:
    """Which held-out images set the thresholds, by a hash of the patient: [K]; the others try them.

    Raises:
        DataError: all images fall into one half.
    """
    half = np.array([hashlib.sha256(f"calibration {patient}".encode()).digest()[0] < 128 for patient in patients])
    if half.all() or not half.any():
        raise DataError(
            f"the held-out images are of {len(set(patients))} patients, too few for a calibration and a test half "
            "without a patient in both; hold out more patients"
        )
    return half


def nearest_features(queries: Features, references: Features, own: Indices | None = None) -> Nearest:
    """The nearest reference of each query, by Euclidean distance of standardised features.

    Standardised, since the features of a network differ in size by orders of magnitude and a few would decide alone.
    Not cosine: lengths tell radiographs apart as well.

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


def _measure_space(
    name: str, training: CopySet, made: Nearest, real: Nearest, calibrating: NDArray[np.bool_], threshold: float
) -> Space:
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
    return _share("flagged", flags, num_calibration, {"threshold": threshold, "quantile": QUANTILE}, note)


def _flagged_real(flags: NDArray[np.bool_], num_calibration: int) -> MetricResult:
    # Of n values in random order the k-th smallest has k / (n + 1) of further values below it.
    expected = (1 + QUANTILE * (num_calibration - 1)) / (num_calibration + 1)
    note = ""
    if flags.mean() > MAX_REAL:
        note = (
            f"{flags.sum()} of {len(flags)} real images of other patients are flagged, more than {MAX_REAL:.1%}; "
            f"{expected:.2%} are to be expected of a threshold from {num_calibration} images"
        )
    result = _share("flagged_real", flags, len(flags), {"at_most": MAX_REAL, "expected": expected}, note)
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
    return _share("authentic", flags[:count], len(known), {"held_out": float(flags[count:].mean())})


def _found(kind: str, nearest: Mapping[str, Nearest], thresholds: Mapping[str, float]) -> Control:
    """How many planted copies of one kind are flagged."""
    flags = {name: found.distances < thresholds[name] for name, found in nearest.items()}
    either = flags[ALIGNED] | flags[HALVES]
    note = (
        f"under {MIN_CONTROL:.0%} are found: few flags prove little of this kind" if either.mean() < MIN_CONTROL else ""
    )
    found = _share("found", either, len(either), {"at_least": MIN_CONTROL}, note)
    return {"kind": kind, "found": found, "spaces": {name: float(some.mean()) for name, some in flags.items()}}


def _share(
    name: str, flags: NDArray[np.bool_], num_reference: int, settings: JsonObject, note: str = ""
) -> MetricResult:
    interval = wilson(int(flags.sum()), len(flags))
    return MetricResult(name, float(flags.mean()), *interval, len(flags), num_reference, settings, note)


def _check(
    generated: CopySet, training: CopySet, held_out: CopySet, patients: Sequence[str], control: CopySet | None
) -> None:
    if len(training) < 2 or not len(generated) or len(held_out) != len(patients):
        raise DataError(
            f"there are {len(training)} training and {len(generated)} generated images, "
            f"{len(held_out)} held out with {len(patients)} patients; use two training images or more, one "
            "generated or more and one patient for each image held out"
        )
    sides = [generated, held_out] + ([control] if control is not None else [])
    if any(side.pixels.shape[1:] != training.pixels.shape[1:] for side in sides):
        raise DataError("the images differ in size; read them all at 128 pixels")
    if any(set(side.features) != set(training.features) for side in sides):
        raise DataError(f"not all images have features of {', '.join(sorted(training.features)) or 'no extractor'}")
    if shared := set(training.hashes) & set(held_out.hashes):
        raise DataError(f"{len(shared)} held-out files are in the training set too; split the data by patient")
