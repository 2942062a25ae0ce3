"""Does the model copy its training patients? Nearest training images, calibrated on real images of other patients.

Radiographs are all alike, so a distance means nothing by itself. It is compared with how near real images of held-out
patients come to the training set, and the rule is tried on both sides: real images of yet other patients must pass
it, planted copies of every kind must not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.copy_grid import ALIGNED, NATIVE
from cxr.evaluate.copy_native import CHECK_SIDE, NATIVE_SIDE
from cxr.evaluate.copy_nearest import nearest_in_all_spaces
from cxr.evaluate.copy_search import Nearest
from cxr.evaluate.copy_set import CopySet, Embed, plant_copies
from cxr.evaluate.copy_spaces import Control, Space, measure_control, measure_space, threshold_of
from cxr.request.errors import DataError

NEAR_EXACT = 0.8  # correlation on the local scale after alignment; of 500 real films with others 0.55 at most
NUM_PAIRS = 20
MIN_NATIVE = 50  # real films in either half; of fewer a threshold would flag more than one stranger in fifty
OVER_TRAINED = "images of an over-trained model"


class Copies(TypedDict):
    """The part "copies" of a report.

    Args:
        num_training: images that the generated ones were compared with.
        num_calibration: held-out images that set the thresholds.
        num_held_out: held-out images, of other patients again, that the thresholds were tried on.
        spaces: one for each extractor, then those of the search; `NATIVE` among them where enough images are large.
        native: how many were compared at their own size, as a sentence.
        control: one for each kind of planted copy.
        near_exact: generated images that share their file's hash with a training image, or correlate with one above
            0.8 after alignment.
        pairs: the 20 closest by aligned pixels (distance, name of the generated and of the training image), closest
            first.
        pairs_native: their distances at their own size; NaN where one of a pair has no more pixels than the search, or
            another training image is nearer among those that have; empty if all are.
    """

    num_training: int
    num_calibration: int
    num_held_out: int
    spaces: list[Space]
    native: str
    control: list[Control]
    near_exact: int
    pairs: list[tuple[float, str, str]]
    pairs_native: list[float]


def check_copies(
    generated: CopySet,
    training: CopySet,
    held_out: CopySet,
    patients: Sequence[str],
    control: CopySet | None = None,
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
        embed: the extractors, [N, S, S] uint8 -> features [N, D]: the planted copies need features too.
    Raises:
        DataError: a set is too small, the sets do not fit together, or a held-out file is in the training set.
    """
    _check(generated, training, held_out, patients, control)
    calibrating = calibration_half(patients)
    planted = dict(plant_copies(training, held_out, embed=embed)) | ({OVER_TRAINED: control} if control else {})
    made, real, *copies = nearest_in_all_spaces([generated, held_out, *planted.values()], training)
    num_large = int((training.at_own_size.sides > CHECK_SIDE).sum())
    is_native, native = _native_words(made[NATIVE], real[NATIVE], calibrating, num_large)
    thresholds = {
        name: threshold_of(found.distances[calibrating]) for name, found in real.items() if is_native or name != NATIVE
    }
    spaces = [
        measure_space(name, training, made[name], real[name], calibrating, thresholds[name]) for name in thresholds
    ]
    return {
        "num_training": len(training),
        "num_calibration": int(calibrating.sum()),
        "num_held_out": int((~calibrating).sum()),
        "spaces": spaces,
        "native": native,
        "control": [measure_control(kind, found, thresholds) for kind, found in zip(planted, copies, strict=True)],
        "near_exact": _num_near_exact(generated, training, made[ALIGNED]),
        "pairs": _closest(generated, training, made[ALIGNED]),
        "pairs_native": _closest_at_own_size(made[NATIVE], made[ALIGNED]),
    }


def _closest_at_own_size(native: Nearest, found: Nearest) -> list[float]:
    of_pairs = np.where(native.indices == found.indices, native.distances, np.nan)[_order(found)]
    return of_pairs.tolist() if np.isfinite(of_pairs).any() else []


def _native_words(made: Nearest, real: Nearest, calibrating: NDArray[np.bool_], num_large: int) -> tuple[bool, str]:
    """Whether enough images were compared at their own size for a space of its own, and how many were."""
    large, large_real = np.isfinite(made.distances), np.isfinite(real.distances)
    halves = int(large_real[calibrating].sum()), int(large_real[~calibrating].sum())
    words = (
        f"At their own size, up to {NATIVE_SIDE} pixels, {large.sum():,} of {len(large):,} images and {halves[0]:,} + "
        f"{halves[1]:,} of {len(large_real):,} real films were compared with the nearest of the {num_large:,} training "
        f"images that have more than {CHECK_SIDE}."
    )
    if large.any() and min(halves) >= MIN_NATIVE:
        return True, words
    return False, f"{words} “{NATIVE}” is left out: it needs one image and {MIN_NATIVE} + {MIN_NATIVE} real films."


def _num_near_exact(generated: CopySet, training: CopySet, found: Nearest) -> int:
    # distance**2 = 2 - 2 * correlation
    near = np.isin(generated.hashes, training.hashes) | (found.distances < math.sqrt(2 - 2 * NEAR_EXACT))
    return int(near.sum())


def _closest(generated: CopySet, training: CopySet, found: Nearest) -> list[tuple[float, str, str]]:
    return [(float(found.distances[k]), generated.names[k], training.names[found.indices[k]]) for k in _order(found)]


def _order(found: Nearest) -> NDArray[np.intp]:
    """The closest ones, the closest first."""
    return np.argsort(found.distances, kind="stable")[:NUM_PAIRS]


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
