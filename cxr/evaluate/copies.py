"""Does the model copy its training patients? Nearest training images, calibrated on real images of other patients.

Radiographs are all alike, so a distance means nothing by itself. It is compared with how near real images of held-out
patients come to the training set, and the rule is tried on both sides: real images of yet other patients must pass
it, planted copies must not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.alignment import MAX_ANGLE, MAX_SCALE, MAX_SHIFT, SIDE, TABLE_BYTES, aligned_nearest
from cxr.evaluate.copy_set import CopySet, Embed, plant_copies
from cxr.metrics.features import Features, check_features, distance_strips
from cxr.metrics.intervals import wilson
from cxr.metrics.result import MetricResult
from cxr.request.errors import DataError

QUANTILE = 0.001  # of real distances; what is nearer is flagged
MAX_REAL = 0.002  # real images of other patients that may be flagged
MIN_CONTROL = 0.95  # planted copies that must be flagged
NEAR_EXACT = 0.98  # correlation after alignment
NUM_PAIRS = 20
PIXELS = "pixels"
REMADE, OVER_TRAINED = "re-made training images", "images of an over-trained model"

Indices = NDArray[np.intp]
Nearest = tuple[NDArray[np.float64], Indices]  # distance to the nearest training image, and which it is
Search = Callable[..., Nearest]  # queries: CopySet, own: Indices | None = None


def check_copies(
    generated: CopySet,
    training: CopySet,
    held_out: CopySet,
    patients: Sequence[str],
    control: CopySet | None = None,
    seed: int = 0,
    *,
    embed: Mapping[str, Embed] | None = None,
) -> dict[str, Any]:
    """Compare generated images with all images that the model was trained on.

    Args:
        generated: the images to check.
        training: all training images.
        held_out: real images of patients that are not in the training set.
        patients: of the held-out images, [K].
        control: images of a model that was over-trained on a few of the training images on purpose, if there are any.
        seed: of the choice of training images that are re-made as planted copies, and of how.
        embed: the extractors, [N, S, S] uint8 -> features [N, D]: the planted copies need features too.
    Returns:
        num_training: images that the generated ones were compared with; num_calibration: held-out images that set the
        thresholds; num_held_out: held-out images, of other patients again, that the thresholds were tried on;
        near_exact: generated images that share their file's hash with a training image, or correlate with one above
        0.98 after alignment; pairs: the 20 closest by aligned pixels (distance, name of the generated and of the
        training image), closest first; spaces: one for each extractor, and last the aligned pixels, with

        - threshold: 0.1 % quantile of the distances of the calibration images,
        - median, smallest: of the distances of generated images to their nearest training image; median_real: of those
          of all held-out images,
        - flagged: generated images nearer than the threshold; flagged_real: held-out images that did not set it and
          are (negative control); flagged_control: planted copies that are (positive control),
        - authentic: as `_authentic` tells.
    Raises:
        DataError: a set is too small, the sets do not fit together, or a held-out file is in the training set.
    """
    _check(generated, training, held_out, patients, control)
    calibrating = calibration_half(patients)
    calibration, test = held_out.take(calibrating), held_out.take(~calibrating)
    planted = {REMADE: plant_copies(training, seed, embed)} | ({OVER_TRAINED: control} if control is not None else {})

    def search(name: str) -> Search:
        if name == PIXELS:
            return lambda queries, own=None: aligned_nearest(queries.pixels, training.pixels, own)
        known = training.features[name]
        return lambda queries, own=None: nearest_features(queries.features[name], known, own)

    spaces, nearest = [], {}
    for name in (*sorted(training.features), PIXELS):
        nearest[name] = search(name)(generated)
        spaces.append(_measure_space(name, search(name), nearest[name], training, (calibration, test), planted))
    distances, indices = nearest[PIXELS]
    # distance**2 = 2 - 2 * correlation
    near_exact = np.isin(generated.hashes, training.hashes) | (distances < math.sqrt(2 - 2 * NEAR_EXACT))
    closest = np.argsort(distances, kind="stable")[:NUM_PAIRS]
    return {
        "num_training": len(training),
        "num_calibration": len(calibration),
        "num_held_out": len(test),
        "spaces": spaces,
        "near_exact": int(near_exact.sum()),
        "pairs": [(float(distances[k]), generated.names[k], training.names[indices[k]]) for k in closest],
    }


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
    Not cosine: lengths tell radiographs apart as well. Of planted copies two networks' features betrayed 64 and 70 %
    by this distance, and 52 and 40 % by the cosine of centred features.

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


def _measure_space(
    name: str,
    search: Search,
    nearest: Nearest,
    training: CopySet,
    held_out: tuple[CopySet, CopySet],
    planted: Mapping[str, CopySet],
) -> dict[str, Any]:
    """One of the "spaces" of `check_copies`, given the nearest training images of the generated ones in it."""
    real = [search(side) for side in held_out]
    num_calibration = len(held_out[0])
    threshold = float(np.quantile(real[0][0], QUANTILE))
    distances, indices = (np.concatenate(column) for column in zip(*real, strict=True))
    copies = {kind: some for kind, some in planted.items() if name == PIXELS or name in some.features}
    return {
        "name": name,
        "threshold": threshold,
        "median": float(np.median(nearest[0])),
        "median_real": float(np.median(distances)),
        "smallest": float(nearest[0].min()),
        "flagged": _flagged(name, nearest[0] < threshold, threshold, num_calibration),
        "flagged_real": _flagged_real(real[1][0] < threshold, num_calibration),
        "authentic": _authentic(search, training, nearest, (distances, indices)),
        "flagged_control": _flagged_control(
            {kind: search(some)[0] < threshold for kind, some in copies.items()}, num_calibration
        ),
    }


def _flagged(name: str, flags: NDArray[np.bool_], threshold: float, num_calibration: int) -> MetricResult:
    note = ""
    if num_calibration < 1 / QUANTILE:
        note = (
            f"with {num_calibration} calibration images the 0.1 % quantile is coarse: it lies between the two "
            "smallest of their distances"
        )
    settings: dict[str, Any] = {"threshold": threshold, "quantile": QUANTILE}
    if name == PIXELS:
        settings |= {"side": SIDE, "max_shift": MAX_SHIFT, "max_angle": MAX_ANGLE, "max_scale": MAX_SCALE}
    return _share("flagged", flags, num_calibration, settings, note)


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


def _authentic(search: Search, training: CopySet, nearest: Nearest, real: Nearest) -> MetricResult:
    """Generated images farther from their nearest training image than that is from its own nearest other one.

    Fresh draws give 1/3 in one dimension and come near 1/2 in many; copies give 0. Further images of the same patient
    in the training set raise it: compare with ``settings["held_out"]``, the share of real held-out images.

    Source:
        Alaa et al., ICML 2022.
    """
    neighbours, place = np.unique(np.concatenate([nearest[1], real[1]]), return_inverse=True)
    own_distances = search(training.take(neighbours), neighbours)[0][place]
    flags = np.concatenate([nearest[0], real[0]]) > own_distances
    count = len(nearest[0])
    return _share("authentic", flags[:count], len(training), {"held_out": float(flags[count:].mean())})


def _flagged_control(flags: Mapping[str, NDArray[np.bool_]], num_calibration: int) -> MetricResult:
    if not flags:
        note = "not measured: it needs the extractor, or the features of images of an over-trained model"
        return MetricResult("flagged_control", math.nan, settings={"at_least": MIN_CONTROL}, note=note)
    measured = {kind: float(some.mean()) for kind, some in flags.items()}
    note = ""
    if min(measured.values()) < MIN_CONTROL:
        note = f"under {MIN_CONTROL:.0%} of planted copies are flagged: few flags prove little in this space"
    *_, kind = flags  # images of a model are the better witness
    settings = {"control": kind, "at_least": MIN_CONTROL, "measured": measured}
    return _share("flagged_control", flags[kind], num_calibration, settings, note)


def _share(
    name: str, flags: NDArray[np.bool_], num_reference: int, settings: dict[str, Any], note: str = ""
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
