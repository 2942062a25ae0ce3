"""The failure rate on folders whose failures are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cxr.evaluate.failures import is_nearly_flat, measure_failures
from cxr.request.errors import DataError


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16), np.uint8)


def test_each_kind_is_counted_per_thousand() -> None:
    pixels = noise(20)
    pixels[3] = 0
    pixels[8] = pixels[7]  # the same pixels in another file
    hashes = [str(number) for number in range(20)]
    hashes[12] = hashes[5] = hashes[1]  # three times the same file
    rates = measure_failures(pixels, hashes, num_failed=5)
    assert {name: rate.value for name, rate in rates.items() if name != "nan"} == {
        "failed": 1000 * 5 / 25,
        "flat": 1000 * 1 / 20,
        "duplicates": 1000 * 3 / 20,
    }
    assert math.isnan(rates["nan"].value)
    assert "arrives flat" in rates["nan"].note
    assert (rates["failed"].num_generated, rates["flat"].num_generated) == (25, 20)


def test_none_of_a_thousand_still_has_an_upper_end() -> None:
    rate = measure_failures(noise(1000), [str(number) for number in range(1000)], 0)["flat"]
    # Wilson's upper end for 0 of n is z^2 / (n + z^2), here per 1,000.
    assert rate.value == 0
    assert rate.high == pytest.approx(1000 * 3.8415 / 1003.8415, rel=1e-4)


@pytest.mark.parametrize(
    ("image", "flat"),
    [
        (np.zeros((20, 20), np.uint8), True),
        (np.full((20, 20), 255, np.uint8), True),
        (np.tile(np.array([100, 109], np.uint8), (20, 10)), True),  # deviation 4.5
        (np.tile(np.array([100, 111], np.uint8), (20, 10)), False),  # deviation 5.5
        (np.pad(np.full((1, 3), 255, np.uint8), ((0, 19), (0, 17))), True),  # 3 of 400 pixels are white
        (np.pad(np.full((1, 5), 255, np.uint8), ((0, 19), (0, 15))), False),
    ],
)
def test_flat_is_hardly_any_contrast(image: np.ndarray, flat: bool) -> None:
    assert is_nearly_flat(image) is flat


def test_when_everything_failed_nothing_else_is_known() -> None:
    rates = measure_failures(np.empty((0, 16, 16), np.uint8), [], 4)
    assert rates["failed"].value == 1000
    assert math.isnan(rates["duplicates"].value)
    assert rates["duplicates"].note == "no image was finished"


@pytest.mark.parametrize(
    ("count", "num_hashes", "num_failed", "message"),
    [(0, 0, 0, "no image was asked for"), (2, 1, 0, "1 hashes"), (2, 2, -1, "-1 failed images")],
)
def test_what_cannot_be_counted_is_refused(count: int, num_hashes: int, num_failed: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        measure_failures(noise(count), ["a"] * num_hashes, num_failed)


def test_failures_that_nobody_counted_are_not_zero() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16), np.uint8)
    result = measure_failures(pixels, ["a", "b", "c"], None)
    assert np.isnan(result["failed"].value)
    assert "does not say" in result["failed"].note
    assert result["flat"].value == 0
