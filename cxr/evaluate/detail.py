"""Sharpness, noise, contrast and sides at the native size, which extractors of 128 pixels overlook."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.distances import POSING, halve
from cxr.evaluate.image_set import MIN_IMAGES, ImageSet
from cxr.images.reading import read_size
from cxr.images.squares import read_squares
from cxr.metrics.detail import SPECTRUM, compare_properties, measure_properties
from cxr.metrics.result import MetricResult, Row

MIN_SIDE, MAX_SIDE, STEP = 64, 512, 16  # pixels
MIN_SHAPES = 0.1  # share of the images of another shape on one side that is worth a sentence
CHUNK = 256  # images held at once


def native_side(paths: tuple[Path, ...]) -> NDArray[np.intp]:
    """The shorter side of each image in pixels, read from its header."""
    return np.array([min(read_size(path)) for path in paths], np.intp)


def shape_note(generated: ImageSet, reference: ImageSet) -> str:
    """A sentence where one side more often than the other gets black bars to be square; "" where not."""
    made, real = (
        100 * np.mean([len({*read_size(path)}) > 1 for path in images.paths]) for images in (generated, reference)
    )
    if abs(made - real) < 100 * MIN_SHAPES:
        return ""
    return (
        f"{made:.0f} % of the generated images and {real:.0f} % of the real films are not square and get black beside "
        "them: distances and judges see that, too; crop both alike."
    )


def size_note(generated: ImageSet, side: int) -> str:
    """A sentence where the images are larger than what they are compared at, so that nobody looked at their detail."""
    made = int(np.median(native_side(generated.paths)))
    if made < side + STEP:
        return ""
    why = "the most that is looked at" if side == MAX_SIDE else "the most that enough real films have"
    return (
        f"The generated images have {made:,} pixels, and their detail is measured at {side}, {why}: how soft or noisy "
        "they are beyond that is not known."
    )


class Detail(TypedDict):
    """The part "detail" of a report.

    Args:
        side: in pixels.
        num_smaller: real images left out since they are smaller.
        rows: the generated images and `POSING`, each beside the other half of the real ones, with a figure for each
            property and the distance of the power spectra in dB.
    """

    side: int
    num_smaller: int
    rows: list[Row]


def choose_side(generated: ImageSet, reference: ImageSet) -> tuple[int, NDArray[np.intp]]:
    """The size at which both sets are looked at, and which real images hold so much detail.

    Real images that are smaller would have to be enlarged and look soft. Where too few are as large as the generated
    ones, the size is the largest that enough of them have.

    Returns:
        The side in pixels, and indices into the reference.
    """
    real, made = native_side(reference.paths), int(np.median(native_side(generated.paths)))
    enough = 4 * MIN_IMAGES if len(real) >= 4 * MIN_IMAGES else len(real)
    side = min(made, int(np.sort(real)[-enough]), MAX_SIDE) // STEP * STEP
    return max(side, MIN_SIDE), np.flatnonzero(real >= side)


def measure_detail(generated: ImageSet, reference: ImageSet) -> Detail:
    """How the images differ from real ones in what needs no network."""
    side, large = choose_side(generated, reference)
    patients = np.asarray(reference.patients)[large]
    halves = halve(list(patients))
    real, sides = _properties([reference.paths[k] for k in large[halves.first]], side)
    sets = {
        "generated": (generated.paths, np.asarray(generated.owners)),
        POSING: (tuple(reference.paths[k] for k in large[halves.second]), patients[halves.second]),
    }
    rows: list[Row] = []
    for name, (paths, groups) in sets.items():
        values, _ = _properties(paths, side, sides)
        metrics = compare_properties(real, values, patients[halves.first], groups)
        distance = float(np.sqrt(np.square((values - real.mean(axis=0)).mean(axis=0)[: len(SPECTRUM)]).mean()))
        metrics.append(MetricResult("spectrum distance", distance, num_generated=len(values), num_reference=len(real)))
        rows.append({"name": name, "metrics": metrics})
    return {"side": side, "num_smaller": len(reference) - len(large), "rows": rows}


def _properties(
    paths: tuple[Path, ...] | list[Path], side: int, sides: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`measure_properties` of files, a few at a time."""
    if sides is None:
        _, sides = measure_properties(read_squares(paths, MIN_SIDE))
    rows = [measure_properties(read_squares(paths[k : k + CHUNK], side), sides)[0] for k in range(0, len(paths), CHUNK)]
    return np.concatenate(rows), sides
