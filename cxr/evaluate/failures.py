"""How often does the generator return nothing, or nothing of use?"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.metrics.intervals import wilson
from cxr.metrics.result import MetricResult
from cxr.request.errors import DataError

PER = 1000  # images
FLAT_DEVIATION = 5.0  # grey levels of 255; the flattest of 6,415 radiographs of NIH ChestX-ray14 (128 px) has 10.8
FLAT_SHARE = 0.99  # of the pixels in one grey level; among the same radiographs 0.57 is the most
NEVER_COUNTED = "a folder does not say how many images were asked for and never written"
NAN_IS_FLAT = "a file cannot hold NaN: such an image arrives flat, usually all black, and is counted there"


def measure_failures(
    pixels: NDArray[np.uint8], hashes: Sequence[str], num_failed: int | None
) -> dict[str, MetricResult]:
    """Count failures per 1,000 images.

    Args:
        pixels: [N, S, S] uint8, every finished image.
        hashes: SHA-256 of the N files.
        num_failed: images that were asked for and not written, because the generator gave up; None if unknown.
    Returns:
        "failed" of all images asked for; of the finished ones "flat" (hardly any contrast), "nan" (not measurable in
        files) and "duplicates" (the same pixels or file as an earlier one; several flat images count here too).
    Raises:
        DataError: there is nothing to count, or the arguments do not belong together.
    """
    count, failed = len(pixels), num_failed or 0
    if pixels.ndim != 3 or count != len(hashes) or failed < 0:
        raise DataError(
            f"there are pixels {list(pixels.shape)}, {len(hashes)} hashes and {num_failed} failed images; "
            "give [N, S, S], N hashes and 0 or more"
        )
    if count + failed == 0:
        raise DataError("no image was asked for, so there is no failure rate; generate some first")
    limits = {"deviation_below": FLAT_DEVIATION, "share_above": FLAT_SHARE}
    return {
        "failed": _rate("failed", failed, count + failed)
        if num_failed is not None
        else MetricResult("failed", math.nan, num_generated=count, note=NEVER_COUNTED),
        "flat": _rate("flat", sum(is_nearly_flat(image) for image in pixels), count, limits),
        "nan": MetricResult("nan", math.nan, num_generated=count, note=NAN_IS_FLAT),
        "duplicates": _rate("duplicates", _num_duplicates(pixels, hashes), count),
    }


def is_nearly_flat(image: NDArray[np.uint8]) -> bool:
    """Whether an image [H, W] uint8 is one grey all over, or nearly."""
    commonest = np.bincount(image.ravel(), minlength=256).max()
    return bool(image.std() < FLAT_DEVIATION or commonest > FLAT_SHARE * image.size)


def _num_duplicates(pixels: NDArray[np.uint8], hashes: Sequence[str]) -> int:
    """Images beyond the first of their kind."""
    seen: set[str] = set()
    duplicates = 0
    for image, sha256 in zip(pixels, hashes, strict=True):
        marks = {f"file {sha256}", f"pixels {hashlib.sha256(image.tobytes()).hexdigest()}"}
        duplicates += not seen.isdisjoint(marks)
        seen |= marks
    return duplicates


def _rate(name: str, number: int, count: int, limits: dict[str, float] | None = None) -> MetricResult:
    """So many of ``count``, per 1,000, with Wilson's interval."""
    low, high = (PER * end for end in wilson(number, count))
    value, note = (PER * number / count, "") if count else (math.nan, "no image was finished")
    return MetricResult(
        name, value, low, high, count, settings={"number": number, "per": PER, **(limits or {})}, note=note
    )
