"""The rows of distances that stand beside each other, their intervals, and images made worse on purpose."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cxr.evaluate import distances
from cxr.metrics.degrade import DEGRADATIONS, add_noise, blur, degrade
from cxr.metrics.kernel import polynomial_mmd
from cxr.metrics.result import MetricResult
from cxr.request.errors import DataError

WIDTH = 6


def features(count: int, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, WIDTH))


def by_name(results: list[MetricResult]) -> dict[str, MetricResult]:
    return {result.name: result for result in results}


def test_no_patient_is_in_both_halves() -> None:
    patients = [str(k // 3) for k in range(300)]
    halves = distances.halve(patients)
    assert sorted([*halves.first, *halves.second]) == list(range(300))
    assert not {patients[k] for k in halves.first} & {patients[k] for k in halves.second}
    assert abs(len(halves.first) - 150) <= 3


def test_halves_do_not_depend_on_the_order() -> None:
    patients = [str(k // 2) for k in range(100)]
    first = {patients[k] for k in distances.halve(patients).first}
    backwards = patients[::-1]
    assert {backwards[k] for k in distances.halve(backwards).first} == first


@pytest.mark.parametrize("patients", [["one"] * 100, [str(k) for k in range(30)]])
def test_a_reference_that_cannot_be_halved_is_refused(patients: list[str]) -> None:
    with pytest.raises(DataError, match="halves need 20 images each"):
        distances.halve(patients)


def test_rows_tell_a_near_set_from_a_far_one() -> None:
    reference = features(400)
    halves = distances.halve([str(k) for k in range(400)])
    rows = distances.measure_rows(reference, halves, {"near": features(300, seed=1), "far": features(300, 1.0, seed=2)})
    near, far, real = (by_name(rows[name]) for name in ("near", "far", "real against real"))
    assert near["KD"].low < 0.02 < far["KD"].low
    assert real["KD"].low <= 0 <= real["KD"].high
    assert far["coverage"].high < near["coverage"].low
    assert far["CMMD"].value > 5 * near["CMMD"].value
    assert {row["KD"].num_generated for row in (near, far, real)} == {200}


def test_fd_is_refused_below_two_thousand_images(monkeypatch: pytest.MonkeyPatch) -> None:
    few = by_name(distances.measure_row(features(60), features(60, seed=1), 1.0, 0))
    assert math.isnan(few["FD"].value)
    assert "refused below 2,000" in few["FD"].note
    assert "needs 100 images" in few["FD-infinity"].note
    monkeypatch.setattr(distances, "FEWEST_FOR_FD", 400)
    many = by_name(distances.measure_row(features(400), features(400, 0.5, seed=1), 1.0, 0))
    assert many["FD"].low < many["FD"].value
    assert "exploratory" in many["FD"].note
    assert many["FD-infinity"].value == pytest.approx(WIDTH * 0.25, abs=0.3)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="19 images are too few"):
        distances.measure_row(features(19), features(30), 1.0, 0)


def test_the_interval_holds_the_unbiased_distance() -> None:
    # The true distance of these two, from far more images than the interval sees.
    truth = polynomial_mmd(features(4000, seed=5), features(4000, 0.4, seed=6))
    held = 0
    for seed in range(20):
        low, high = distances.kernel_interval(features(100, seed=seed), features(100, 0.4, seed=100 + seed), seed)
        held += low <= truth <= high
    assert held >= 16


def test_leaving_out_more_of_a_scattered_figure_widens_its_interval() -> None:
    calm, wild = (distances.jackknife(0.5, [0.5 + sign * width for sign in [-1, 1] * 5]) for width in (0.001, 0.01))
    assert calm.low < 0.5 < calm.high
    assert wild.high - wild.low == pytest.approx(10 * (calm.high - calm.low))


def chests(count: int = 60, side: int = 64) -> np.ndarray:
    """Smooth shapes with edges: two dark ovals on grey, of random size."""
    chance, (y, x) = np.random.default_rng(3), np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    images = []
    for _ in range(count):
        width, height = chance.uniform(0.2, 0.4), chance.uniform(0.4, 0.8)
        lungs = sum((((x - c) / width) ** 2 + (y / height) ** 2 < 1) for c in (-0.45, 0.45))
        images.append(150 - 90 * (lungs > 0) + chance.normal(0, 2, (side, side)))
    pixels: np.ndarray = np.clip(images, 0, 255).astype(np.uint8)
    return pixels


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_each_level_is_worse_than_the_one_before(kind: str) -> None:
    pixels = chests()
    worsen, levels = DEGRADATIONS[kind]
    errors = [np.square(worsen(pixels, level).astype(float) - pixels).mean() for level in levels]
    assert (np.diff(errors) > 0).all()


def test_degrading_keeps_size_and_type_and_is_repeatable() -> None:
    pixels = chests(4)
    assert degrade(pixels).dtype == np.uint8
    assert np.array_equal(degrade(pixels), degrade(pixels))
    assert np.array_equal(add_noise(pixels, 0.0), pixels)
    assert np.array_equal(blur(pixels, 0.0), pixels)
