"""Does the model copy its training patients? Nearest training images, calibrated on real images of other patients.

Radiographs are all alike, so a distance means nothing by itself. It is compared with how near real images of held-out
patients come to the training set, and the rule is tried on both sides: real images of yet other patients must pass
it, planted copies must not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.sections.alignment import MAX_ANGLE, MAX_SCALE, MAX_SHIFT, SIDE, TABLE_BYTES, aligned_nearest
from cxr.evaluate.sections.copy_set import CopySet, Embed, remake
from cxr.metrics.features import Features, check_features, distance_strips
from cxr.metrics.intervals import wilson
from cxr.metrics.result import MetricResult
from cxr.request.errors import DataError

QUANTILE = 0.001  # of real distances; what is nearer is flagged
MOST_REAL = 0.002  # real images of other patients that may be flagged
LEAST_CONTROL = 0.95  # planted copies that must be flagged
NEAR_EXACT = 0.98  # correlation after alignment
NUM_PAIRS = 20
PIXELS = "pixels"

Indices = NDArray[np.intp]
Nearest = tuple[NDArray[np.float64], Indices]  # distance to the nearest training image, and which it is


@dataclass(frozen=True)
class SpaceReport:
    """How near generated images come to the training set by one kind of distance.

    Args:
        name: of the extractor, or "pixels" (aligned).
        threshold: 0.1 % quantile of the distances of the calibration images.
        median: distance of generated images to their nearest training image.
        median_real: the same for all held-out images.
        smallest: of the generated images.
        flagged: generated images nearer than the threshold.
        flagged_real: the same for held-out images that did not set the threshold (negative control).
        authentic: generated images that are farther from their nearest training image than that image is from its own
            nearest other one. Fresh draws give 1/3 in one dimension and come near 1/2 in many; copies give 0. Further
            images of the same patient in the training set raise it: compare with ``settings["held_out"]``.
        flagged_control: planted copies that are flagged (positive control).
    Source:
        authentic: Alaa et al., ICML 2022.
    """

    name: str
    threshold: float
    median: float
    median_real: float
    smallest: float
    flagged: MetricResult
    flagged_real: MetricResult
    authentic: MetricResult
    flagged_control: MetricResult


class CopyPair(NamedTuple):
    """A generated image and its nearest training image, by aligned pixel distance."""

    distance: float
    generated: str
    training: str


@dataclass(frozen=True)
class CopyReport:
    """What `check_copies` found.

    Args:
        num_training: images that the generated ones were compared with.
        num_calibration: held-out images that set the thresholds.
        num_held_out: held-out images, of other patients again, that the thresholds were tried on.
        spaces: one for each extractor, and last the aligned pixels.
        near_exact: generated images that share their file's hash with a training image, or correlate with one above
            0.98 after alignment.
        pairs: the 20 closest, closest first.
    """

    num_training: int
    num_calibration: int
    num_held_out: int
    spaces: tuple[SpaceReport, ...]
    near_exact: int
    pairs: tuple[CopyPair, ...]


class _Sets(NamedTuple):
    generated: CopySet
    training: CopySet
    calibration: CopySet
    test: CopySet
    control: CopySet | None  # images of an over-trained model
    remade: CopySet


def check_copies(
    generated: CopySet,
    training: CopySet,
    held_out: CopySet,
    patients: Sequence[str],
    control: CopySet | None = None,
    seed: int = 0,
    *,
    embed: Mapping[str, Embed] | None = None,
) -> CopyReport:
    """Compare generated images with all images that the model was trained on.

    Args:
        generated: the images to check.
        training: all training images.
        held_out: real images of patients that are not in the training set.
        patients: of the held-out images, [K].
        control: images of a model that was over-trained on a few of the training images on purpose, if there are any.
        seed: of the choice of training images that are re-made as planted copies, and of how.
        embed: the extractors, [N, S, S] uint8 -> features [N, D]: the planted copies need features too.
    Raises:
        DataError: a set is too small, the sets do not fit together, or a held-out file is in the training set.
    """
    _check(generated, training, held_out, patients, control)
    calibrating = calibration_half(patients)
    remade = remake(training, seed, embed or {})
    halves = held_out.take(calibrating), held_out.take(~calibrating)
    sets = _Sets(generated, training, *halves, control, remade)
    spaces = [_measure(name, partial(_by_features, name, training), sets)[0] for name in sorted(training.features)]
    pixels, (distances, indices) = _measure(PIXELS, partial(_by_pixels, training), sets)
    known = np.isin(generated.hashes, training.hashes)
    # distance**2 = 2 - 2 * correlation
    near_exact = int((known | (distances < math.sqrt(2 - 2 * NEAR_EXACT))).sum())
    pairs = tuple(
        CopyPair(float(distances[index]), generated.names[index], training.names[indices[index]])
        for index in np.argsort(distances, kind="stable")[:NUM_PAIRS]
    )
    num_calibration, num_test = (len(half.names) for half in halves)
    return CopyReport(len(training.names), num_calibration, num_test, (*spaces, pixels), near_exact, pairs)


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
    Not cosine: lengths tell radiographs apart as well. Of re-made training images (`remake`) two networks' features
    betrayed 64 and 70 % by this distance, and 52 and 40 % by the cosine of centred features.

    Args:
        queries: [N, D].
        references: [M, D], M at least 2; their means and deviations standardise both sides. A feature that is the
            same for all of them has no scale and is left out.
        own: [N], for each query the reference that is the query itself and does not count.
    Returns:
        Distances [N] and indices into ``references`` [N].
    Raises:
        DataError: the features are not finite or not of one kind.
    """
    known = check_features(references)
    deviations = known.std(axis=0)
    used = deviations > 1e-9 * np.abs(known).max(axis=0)
    if queries.ndim != 2 or queries.shape[1] != known.shape[1] or not np.isfinite(queries).all() or not used.any():
        raise DataError(
            f"features {list(queries.shape)} cannot be compared with {list(known.shape)}; use finite features of one "
            "extractor that tell the training images apart"
        )
    known, asked = ((part[:, used] - known[:, used].mean(axis=0)) / deviations[used] for part in (known, queries))
    distances, indices = np.empty(len(asked)), np.empty(len(asked), np.intp)
    for strip, squared in distance_strips(asked, known, max(1, TABLE_BYTES // (8 * len(known)))):
        if own is not None:
            squared[np.arange(len(squared)), own[strip]] = np.inf
        indices[strip] = squared.argmin(axis=1)
        distances[strip] = np.sqrt(squared.min(axis=1))
    return distances, indices


Search = Callable[[CopySet, Indices | None], Nearest]


def _by_features(name: str, training: CopySet, queries: CopySet, own: Indices | None = None) -> Nearest:
    return nearest_features(queries.features[name], training.features[name], own)


def _by_pixels(training: CopySet, queries: CopySet, own: Indices | None = None) -> Nearest:
    return aligned_nearest(queries.pixels, training.pixels, own)


def _measure(name: str, search: Search, sets: _Sets) -> tuple[SpaceReport, Nearest]:
    """Everything about one space, and the nearest training image of each generated image in it."""
    nearest, calibration, test = (search(side, None) for side in (sets.generated, sets.calibration, sets.test))
    threshold = float(np.quantile(calibration[0], QUANTILE))
    real = np.concatenate([calibration[0], test[0]]), np.concatenate([calibration[1], test[1]])
    report = SpaceReport(
        name=name,
        threshold=threshold,
        median=float(np.median(nearest[0])),
        median_real=float(np.median(real[0])),
        smallest=float(nearest[0].min()),
        flagged=_flagged(name, nearest[0], threshold, len(calibration[0])),
        flagged_real=_flagged_real(test[0], threshold, len(calibration[0])),
        authentic=_authentic(search, sets.training, nearest, real),
        flagged_control=_flagged_control(name, search, sets, threshold),
    )
    return report, nearest


def _flagged(name: str, distances: NDArray[np.float64], threshold: float, num_calibration: int) -> MetricResult:
    note = ""
    if num_calibration < 1 / QUANTILE:
        note = (
            f"with {num_calibration} calibration images the 0.1 % quantile is coarse: it lies between the two "
            "smallest of their distances"
        )
    settings = {"threshold": threshold, "quantile": QUANTILE}
    if name == PIXELS:
        settings |= {"side": SIDE, "max_shift": MAX_SHIFT, "max_angle": MAX_ANGLE, "max_scale": MAX_SCALE}
    return _share("flagged", distances < threshold, num_calibration, settings, note)


def _flagged_real(distances: NDArray[np.float64], threshold: float, num_calibration: int) -> MetricResult:
    # Of n values in random order the k-th smallest has k / (n + 1) of further values below it.
    expected = (1 + QUANTILE * (num_calibration - 1)) / (num_calibration + 1)
    flags = distances < threshold
    note = ""
    if flags.mean() > MOST_REAL:
        note = (
            f"{flags.sum()} of {len(flags)} real images of other patients are flagged, more than {MOST_REAL:.1%}; "
            f"{expected:.2%} are to be expected of a threshold from {num_calibration} images"
        )
    result = _share("flagged_real", flags, num_calibration, {"at_most": MOST_REAL, "expected": expected}, note)
    return replace(result, num_generated=0, num_reference=len(flags))


def _authentic(search: Search, training: CopySet, nearest: Nearest, real: Nearest) -> MetricResult:
    neighbours, place = np.unique(np.concatenate([nearest[1], real[1]]), return_inverse=True)
    own_distances = search(training.take(neighbours), neighbours)[0][place]
    count = len(nearest[0])
    held_out = float((real[0] > own_distances[count:]).mean())
    flags = nearest[0] > own_distances[:count]
    return _share("authentic", flags, len(training.names), {"held_out": held_out})


def _flagged_control(name: str, search: Search, sets: _Sets, threshold: float) -> MetricResult:
    shares = {}
    for kind, planted in (("re-made training images", sets.remade), ("images of an over-trained model", sets.control)):
        if planted is not None and (name == PIXELS or name in planted.features):
            shares[kind] = search(planted, None)[0] < threshold
    if not shares:
        note = "not measured: it needs the extractor, or the features of images of an over-trained model"
        return MetricResult("flagged_control", math.nan, settings={"at_least": LEAST_CONTROL}, note=note)
    note = ""
    if min(flags.mean() for flags in shares.values()) < LEAST_CONTROL:
        note = f"under {LEAST_CONTROL:.0%} of planted copies are flagged: few flags prove little in this space"
    measured = {kind: float(flags.mean()) for kind, flags in shares.items()}
    *_, kind = shares  # images of a model are the better witness
    settings = {"control": kind, "at_least": LEAST_CONTROL, "measured": measured}
    return _share("flagged_control", shares[kind], len(sets.calibration.names), settings, note)


def _share(
    name: str, flags: NDArray[np.bool_], num_reference: int, settings: Mapping[str, object], note: str = ""
) -> MetricResult:
    low, high = wilson(int(flags.sum()), len(flags))
    return MetricResult(name, float(flags.mean()), low, high, len(flags), num_reference, dict(settings), note)


def _check(
    generated: CopySet, training: CopySet, held_out: CopySet, patients: Sequence[str], control: CopySet | None
) -> None:
    if len(training.names) < 2 or not generated.names or len(held_out.names) != len(patients):
        raise DataError(
            f"there are {len(training.names)} training and {len(generated.names)} generated images, "
            f"{len(held_out.names)} held out with {len(patients)} patients; use two training images or more, one "
            "generated or more and one patient for each image held out"
        )
    sides = [generated, held_out] + ([control] if control else [])
    if any(side.pixels.shape[1:] != training.pixels.shape[1:] for side in sides):
        raise DataError("the images differ in size; read them all at 128 pixels")
    if any(set(side.features) != set(training.features) for side in sides):
        raise DataError(f"not all images have features of {', '.join(sorted(training.features)) or 'no extractor'}")
    shared = set(training.hashes) & set(held_out.hashes)
    if shared:
        raise DataError(f"{len(shared)} held-out files are in the training set too; split the data by patient")
