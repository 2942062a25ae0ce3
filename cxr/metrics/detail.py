"""What networks of 128 pixels overlook at the native size: sharpness, noise, contrast, the side of the heart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from cxr.metrics.arrays import Array
from cxr.metrics.intervals import LEVEL, MIN_CLUSTERS
from cxr.metrics.result import MetricResult
from cxr.metrics.spectrum import SHARES, band_powers, edges_of

FLOOR = 1e-12  # of a power, far below that of one grey level
SPECTRUM = tuple(f"power at {100 * low:.0f}-{100 * high:.0f} %" for low, high in pairwise(SHARES))
PROPERTIES = (*SPECTRUM, "mean grey level", "contrast", "fine structure", "left-right")
BLOCKS = 16  # of a side, for what lies left and right


def measure_properties(pixels: NDArray[np.uint8], sides: Array | None = None) -> tuple[Array, Array]:
    """What each image looks like, without a network.

    Args:
        pixels: [N, S, S] uint8, S a multiple of 16.
        sides: [16, 16], how the two sides of reference images differ; None takes that of these images.
    Returns:
        [N, len(PROPERTIES)]: power by band in dB; mean and deviation of the grey levels in [-1, 1]; logarithm of the
        kurtosis of the finest detail (high for a few edges on even ground, as JPEG leaves them, low for noise); how far
        the sides differ as those of the reference do, 1 as much, -1 mirrored. And ``sides``.
    """
    grey = pixels / 127.5 - 1
    power = 10 * np.log10(band_powers(pixels, edges_of(pixels.shape[1])) + FLOOR)
    fine = grey[:, 1:, 1:] - grey[:, :-1, 1:] - grey[:, 1:, :-1] + grey[:, :-1, :-1]
    square = np.square(fine).mean(axis=(1, 2))
    kurtosis = np.log((fine**4).mean(axis=(1, 2)) / np.maximum(square, FLOOR) ** 2 + FLOOR)
    size = pixels.shape[1] // BLOCKS
    blocks = grey[:, : BLOCKS * size, : BLOCKS * size].reshape(len(grey), BLOCKS, size, BLOCKS, size).mean(axis=(2, 4))
    skew = (blocks - blocks[:, :, ::-1]) / 2
    sides = skew.mean(axis=0) if sides is None else sides
    along = (skew * sides).sum(axis=(1, 2)) / max(float(np.square(sides).sum()), FLOOR)
    columns = (power, grey.mean(axis=(1, 2)), grey.std(axis=(1, 2)), kurtosis, along)
    return np.column_stack(columns), sides


def compare_properties(
    reference: Array, generated: Array, patients: NDArray[np.generic], groups: NDArray[np.generic]
) -> list[MetricResult]:
    """Differences of means, in deviations of the reference.

    Args:
        reference: [N, P] from `measure_properties`.
        generated: [M, P].
        patients: [N], the patient of each reference image.
        groups: [M], likewise.
    Returns:
        One for each of `PROPERTIES`; the intervals hold together for all of them (Bonferroni) and treat the images of a
        patient as one. Setting ``differs``: whether the interval leaves 0 out.
    """
    scale = np.maximum(reference.std(axis=0), FLOOR)
    difference = (generated.mean(axis=0) - reference.mean(axis=0)) / scale
    error = np.hypot(*(_cluster_error(x, codes) for x, codes in ((reference, patients), (generated, groups)))) / scale
    half = float(norm.ppf(1 - (1 - LEVEL) / 2 / len(PROPERTIES))) * error
    return [
        MetricResult(
            name,
            float(difference[k]),
            float(difference[k] - half[k]),
            float(difference[k] + half[k]),
            len(generated),
            len(reference),
            {"differs": bool(abs(difference[k]) > half[k])},
        )
        for k, name in enumerate(PROPERTIES)
    ]


def _cluster_error(values: Array, groups: NDArray[np.generic]) -> Array:
    """Standard error of the means of columns [N, P] whose rows come in groups: [P]; NaN of few groups."""
    codes = np.unique(groups, return_inverse=True)[1]
    sums = np.zeros((int(codes.max()) + 1, values.shape[1]))
    np.add.at(sums, codes, values - values.mean(axis=0))
    if len(sums) < MIN_CLUSTERS:
        return np.full(values.shape[1], np.nan)
    return np.asarray(np.sqrt(np.square(sums).sum(axis=0) * len(sums) / (len(sums) - 1)) / len(values))
