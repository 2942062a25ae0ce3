"""The rows of distances that stand beside each other, their intervals, and images made worse on purpose."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cxr.evaluate import distances
from cxr.evaluate.sensitivity import choose_patients, measure_loss
from cxr.metrics.degrade import DEGRADATIONS, add_noise, blur, degrade
from cxr.metrics.intervals import jackknife
from cxr.metrics.kernel import kernel_distance, mmd, mmd_resamples
from cxr.metrics.result import MetricResult
from cxr.metrics.sample import Sample
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


def test_halves_do_not_depend_on_the_order_but_on_the_seed() -> None:
    patients = [str(k // 2) for k in range(100)]
    first = {patients[k] for k in distances.halve(patients).first}
    backwards = patients[::-1]
    assert {backwards[k] for k in distances.halve(backwards).first} == first
    assert {patients[k] for k in distances.halve(patients, 1).first} != first


@pytest.mark.parametrize("patients", [["one"] * 100, [str(k) for k in range(30)], [*"abc"] * 40])
def test_a_reference_that_cannot_be_halved_is_refused(patients: list[str]) -> None:
    with pytest.raises(DataError, match="halves need 20 images of 2 patients each"):
        distances.halve(patients)


def rows_of(**sets: np.ndarray) -> dict[str, dict[str, MetricResult]]:
    reference = features(400)
    halves = distances.halve([str(k) for k in range(400)])
    rows = {name: Sample(some) for name, some in sets.items()}
    measured = distances.measure_rows(Sample(reference), halves, rows)
    return {name: by_name(results) for name, results in measured.items()}


def test_rows_tell_a_near_set_from_a_far_one() -> None:
    rows = rows_of(near=features(300, seed=1), far=features(300, 1.0, seed=2))
    near, far, real = rows["near"], rows["far"], rows[distances.POSING]
    assert near["KD"].low < 0.02 < far["KD"].low
    assert real["KD - floor"].low <= 0 <= real["KD - floor"].high
    assert far["KD - floor"].low > real["KD - floor"].high
    assert far["coverage"].high < near["coverage"].low
    assert far["CMMD"].low > near["CMMD"].high


def test_all_rows_of_a_table_compare_equally_many_images() -> None:
    rows = rows_of(many=features(300, seed=1), few=features(90, seed=2))
    counts = {(one.num_generated, one.num_reference) for row in rows.values() for one in row.values()}
    assert counts == {(90, 90)}


def test_the_floor_is_the_mean_and_spread_of_twenty_halvings_by_patient() -> None:
    patients = np.repeat(np.arange(60), 4)
    rng = np.random.default_rng(0)
    some = rng.normal(size=(60, 1, WIDTH)) + 0.5 * rng.normal(size=(60, 4, WIDTH))
    floor = distances.floor_distances(Sample(some.reshape(-1, WIDTH), patients), 120)
    assert len(floor) == distances.HALVINGS == 20
    assert abs(floor.mean()) < floor.std()
    halves = distances.halve([str(code) for code in patients], 1)
    x, y = (Sample(some.reshape(-1, WIDTH)[rows], patients[rows]) for rows in halves)
    assert floor[0] == pytest.approx(mmd(x, y))
    kd = kernel_distance(x, y)
    above = distances.above_floor(kd, mmd_resamples(x, y), floor)
    assert above.value == pytest.approx(kd.value - floor.mean())
    assert above.high - above.low > kd.high - kd.low
    assert above.settings["floor_spread"] == pytest.approx(floor.std(ddof=1))


def row_of(first: np.ndarray, second: np.ndarray) -> dict[str, MetricResult]:
    return by_name(distances.measure_row(Sample(first), Sample(second), np.zeros(20), 1.0))


def test_frechet_distances_are_refused_where_they_are_mostly_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    few = row_of(features(59), features(59, seed=1))
    assert math.isnan(few["FD"].value)
    assert "refused below 2,000" in few["FD"].note
    assert math.isnan(few["FD-infinity"].value)
    assert "not computed below 60 images, 10 times the features" in few["FD-infinity"].note
    monkeypatch.setattr(distances, "MIN_IMAGES_FOR_FD", 400)
    many = row_of(features(400), features(400, 0.5, seed=1))
    assert many["FD"].low < many["FD"].value
    assert "exploratory" in many["FD"].note
    assert many["FD-infinity"].value == pytest.approx(WIDTH * 0.25, abs=0.3)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="19 images are too few"):
        row_of(features(19), features(19))


def test_the_spread_of_neighbourhoods_is_that_of_both_sets() -> None:
    """With the same generated images, another reference gives another figure: the interval has to hold both."""
    made, held = features(150, seed=50), 0
    truth = np.mean([row_of(features(150, seed=k), features(150, seed=100 + k))["coverage"].value for k in range(15)])
    for seed in range(15):
        interval = row_of(features(150, seed=200 + seed), made)["coverage"]
        held += int(interval.low <= truth <= interval.high)
    assert held >= 12


def test_random_patients_are_chosen_whole_and_not_from_the_start() -> None:
    patients = np.repeat([str(k) for k in range(50)], 4)
    chosen = choose_patients(patients, 100)
    assert len(chosen) == 100
    assert len(set(patients[chosen])) <= 26
    assert chosen.max() > 150


def test_a_distance_notices_that_one_kind_becomes_rare() -> None:
    rare = np.arange(200) % 4 == 0
    some = features(200, seed=1) + 2.0 * rare[:, None]
    reference = features(200, seed=2) + 2.0 * rare[:, None]
    (row,) = measure_loss(Sample(reference), Sample(some), rare)
    assert row["kind"] == "loss of AP views"
    assert row["monotone"]
    assert row["kd"][-1] > 10 * abs(row["kd"][0])
    for kind in (np.zeros(200, bool), np.ones(200, bool)):
        assert measure_loss(Sample(reference), Sample(some), kind) == []


def test_the_interval_holds_the_unbiased_distance() -> None:
    # The true distance of these two, from far more images than the interval sees.
    truth = mmd(Sample(features(4000, seed=5)), Sample(features(4000, 0.4, seed=6)))
    held = 0
    for seed in range(20):
        result = kernel_distance(features(100, seed=seed), features(100, 0.4, seed=100 + seed), seed)
        held += result.low <= truth <= result.high
    assert held >= 16


def test_leaving_out_more_of_a_scattered_figure_widens_its_interval() -> None:
    calm, wild = (jackknife(0.5, [0.5 + sign * width for sign in [-1, 1] * 5]) for width in (0.001, 0.01))
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


def test_full_coverage_is_not_certain() -> None:
    apart = 10.0 * np.arange(40)[:, None] + np.random.default_rng(0).normal(size=(2, 40, 1))
    figures = by_name(distances.measure_row(Sample(apart[0]), Sample(apart[1]), np.zeros(2), 1.0))
    assert figures["coverage"].value == 1
    assert 0.85 < figures["coverage"].low < 0.95
    assert figures["coverage"].high == 1
