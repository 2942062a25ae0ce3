"""Distances between sets of features, against closed forms and the field's own implementations."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import prdc
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from cxr.metrics.frechet import frechet_distance, frechet_infinity
from cxr.metrics.kernel import gaussian_mmd, kernel_distance, mmd
from cxr.metrics.neighbours import NEAREST, measure_neighbourhoods
from cxr.metrics.sample import Sample
from cxr.request.errors import DataError

CASES = range(50)


def two_sets(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of two overlapping distributions; more images than columns, and fewer, and different numbers."""
    chance = np.random.default_rng(seed)
    width = int(chance.integers(3, 40))
    mixing = chance.normal(size=(width, width))
    counts = chance.integers(20, 120, size=2)
    shift = chance.normal(size=width) * chance.uniform(0, 2)
    return chance.normal(size=(counts[0], width)) @ mixing, chance.normal(size=(counts[1], width)) @ mixing + shift


class Given(nn.Module):
    """An extractor whose images are features already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


@pytest.mark.parametrize("seed", CASES)
def test_frechet_distance_is_that_of_torchmetrics(seed: int) -> None:
    reference, generated = two_sets(seed)
    theirs = FrechetInceptionDistance(feature=Given(reference.shape[1]), input_img_size=(1, 1, reference.shape[1]))
    theirs.set_dtype(torch.float64)
    for features, real in ((reference, True), (generated, False)):
        theirs.update(torch.from_numpy(features)[:, None, None], real=real)
    assert frechet_distance(reference, generated) == pytest.approx(float(theirs.compute()), rel=1e-6)


@pytest.mark.parametrize("seed", CASES)
def test_kernel_distance_is_that_of_torchmetrics(seed: int) -> None:
    sets = two_sets(seed)
    count = min(map(len, sets))
    x, y = (features[:count] for features in sets)
    theirs = poly_mmd(torch.from_numpy(x), torch.from_numpy(y))
    assert mmd(Sample(x), Sample(y)) == pytest.approx(float(theirs), rel=1e-6)
    assert kernel_distance(x, y).value == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize("seed", CASES)
def test_neighbourhoods_are_those_of_prdc(seed: int) -> None:
    sets = two_sets(seed)
    count = min(map(len, sets))
    reference, generated = (features[:count] for features in sets)
    ours = measure_neighbourhoods(reference, generated)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the counts
        theirs = prdc.compute_prdc(reference, generated, NEAREST)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(value), rel=1e-6), name


def exact_moments(mean: np.ndarray, deviations: np.ndarray, count: int) -> np.ndarray:
    """Features whose sample mean and covariance are exactly those of an axis-aligned Gaussian."""
    raw = np.random.default_rng(0).normal(size=(count, len(mean)))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return np.asarray(white * deviations + mean)


@pytest.mark.parametrize("width", [2, 7, 30])
def test_frechet_distance_of_known_gaussians(width: int) -> None:
    steps = np.arange(width)
    reference = exact_moments(np.zeros(width), 1 + steps / 3, 100)
    generated = exact_moments(steps / 5, 2 + steps / 7, 140)
    expected = np.square(steps / 5).sum() + np.square(1 + steps / 3 - 2 - steps / 7).sum()
    assert frechet_distance(reference, generated) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_distances_do_not_depend_on_sides_or_order(seed: int) -> None:
    reference, generated = two_sets(seed)
    shuffled = np.random.default_rng(9).permutation(generated)
    for measure in (frechet_distance, lambda x, y: gaussian_mmd(x, y, sigma=3.0).value):
        value = measure(reference, generated)
        assert measure(generated, reference) == pytest.approx(value, rel=1e-9)
        assert measure(reference, shuffled) == pytest.approx(value, rel=1e-9)
    assert frechet_distance(reference, reference) == pytest.approx(0, abs=1e-8)


def test_more_difference_is_more_distance() -> None:
    reference = np.random.default_rng(0).normal(size=(300, 8))
    other = np.random.default_rng(1).normal(size=(300, 8))
    for measure in (frechet_distance, *(lambda x, y, f=f: f(x, y).value for f in (gaussian_mmd, kernel_distance))):
        values = [measure(reference, other + shift) for shift in (0, 0.5, 1, 2)]
        assert values == sorted(values)
    coverages = [measure_neighbourhoods(reference, other + shift)["coverage"] for shift in (0, 1, 3)]
    assert coverages == sorted(coverages, reverse=True)


def test_kernel_distance_of_one_distribution_is_about_zero() -> None:
    """The Frechet distance is not: it is biased."""
    chance = np.random.default_rng(0)
    x, y = chance.normal(size=(2, 400, 32))
    distance = kernel_distance(x, y)
    assert abs(distance.value) < 0.02
    assert distance.low < 0 < distance.high
    assert frechet_distance(x, y) > 1


def of_patients(count: int, seed: int, images: int = 4) -> Sample:
    """Images of one patient differ less than patients do."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count, 1, 12))
    features = (centres + 0.6 * rng.normal(size=(count, images, 12))).reshape(-1, 12)
    return Sample(features, np.repeat(np.arange(count), images))


def test_pairs_of_one_patient_are_left_out() -> None:
    """With them both sets look tighter than they are, and the distance of equal distributions is no longer about 0."""
    values, biased = [], []
    for seed in range(20):
        x, y = of_patients(30, seed), of_patients(30, 100 + seed)
        values.append(mmd(x, y))
        biased.append(mmd(Sample(x.features), Sample(y.features)))
    assert abs(np.mean(values)) < 2 * np.std(values) / np.sqrt(20) + 1e-9
    assert np.mean(biased) > 5 * abs(np.mean(values))


def test_the_u_statistic_is_the_mean_over_pairs_of_different_patients() -> None:
    x, y = of_patients(4, 0, 2), of_patients(3, 1, 3)

    def mean(first: Sample, second: Sample, same: bool) -> float:
        pairs = [
            (a @ b / 12 + 1) ** 3
            for i, a in enumerate(first.features)
            for j, b in enumerate(second.features)
            if not (same and first.codes[i] == second.codes[j])
        ]
        return float(np.mean(pairs))

    assert mmd(x, y) == pytest.approx(mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False), rel=1e-9)


@pytest.mark.slow
def test_the_interval_holds_zero_for_one_distribution_of_patients() -> None:
    held = 0
    for seed in range(100):
        result = kernel_distance(of_patients(60, seed), of_patients(60, 1000 + seed), seed)
        held += result.low <= 0 <= result.high
    assert held >= 90


def test_a_real_difference_leaves_the_interval() -> None:
    x, y = of_patients(60, 0), of_patients(60, 1)
    moved = Sample(y.features + 0.5, y.codes)
    for measure in (kernel_distance, gaussian_mmd):
        assert measure(x, moved).low > 0
        assert measure(x, y).low < 0 < measure(x, y).high


def test_extrapolation_takes_away_the_bias() -> None:
    chance = np.random.default_rng(0)
    x, y = chance.normal(size=(2, 2000, 16))
    line = frechet_infinity(x, y)
    assert abs(line.value) < 0.1 * frechet_distance(x[:200], y[:200])
    assert line.settings["r_squared"] > 0.9
    assert (line.settings["smallest"], line.settings["largest"]) == (200, 2000)


def test_an_extrapolation_to_nothing_holds_0() -> None:
    chance, held = np.random.default_rng(0), 0
    for _ in range(20):
        result = frechet_infinity(*chance.normal(size=(2, 100, 4)))
        held += result.low <= 0 <= result.high
    assert held >= 18
    x, y = chance.normal(size=(2, 100, 4))
    assert frechet_infinity(x, y + 0.5).low > 0


def test_a_set_of_copies_is_precise_and_covers_nothing() -> None:
    reference = np.random.default_rng(0).normal(size=(200, 4))
    result = measure_neighbourhoods(reference, np.repeat(reference[:1], 200, axis=0))
    assert result["precision"] == 1
    assert result["coverage"] < 0.1


@pytest.mark.parametrize(
    ("reference", "generated", "message"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3)), "N of 2 or more"),
        (np.zeros(5), np.zeros((5, 3)), "N of 2 or more"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "not finite"),
        (np.zeros((5, 4)), np.zeros((5, 3)), "4 and 3 columns"),
    ],
)
def test_bad_features_are_refused(reference: np.ndarray, generated: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        frechet_distance(reference, generated)


def test_degenerate_sets_are_told() -> None:
    with pytest.raises(DataError, match="5 images are too few for 5 nearest neighbours"):
        measure_neighbourhoods(np.eye(5), np.eye(5))
    with pytest.raises(DataError, match="50 images are too few to extrapolate the distance; use 500 or more"):
        frechet_infinity(np.eye(50), np.eye(50))
    with pytest.raises(DataError, match="all 5 images are of one patient"):
        kernel_distance(Sample(np.eye(5), ["a"] * 5), np.eye(5))
    with pytest.raises(DataError, match="2 patients are named for 5 images"):
        Sample(np.eye(5), ["a", "b"])
    with pytest.raises(DataError, match="5 and 4 columns"):
        kernel_distance(np.eye(5), np.ones((5, 4)))
    with pytest.raises(DataError, match="most reference features are equal"):
        gaussian_mmd(np.zeros((5, 2)), np.eye(5)[:, :2])


METRICS = (kernel_distance, gaussian_mmd, frechet_distance, measure_neighbourhoods)
TABLE = np.random.default_rng(0).normal(size=(40, 4))


@pytest.mark.parametrize("metric", METRICS)
def test_lists_and_tensors_are_features(metric: Callable[..., object]) -> None:
    other = TABLE[::-1] + 0.1
    assert metric(TABLE.tolist(), other.tolist()) == metric(torch.tensor(TABLE), torch.tensor(other.copy()))


@pytest.mark.parametrize("metric", [*METRICS, frechet_infinity])
@pytest.mark.parametrize(
    ("features", "message"),
    [
        (TABLE[:1], r"features are \[1, 4\]|too few"),
        (TABLE[:0], r"features are \[0, 4\]|too few"),
        (TABLE[:, 0], r"features are \[40\]"),
        (TABLE[:, :0], r"features are \[40, 0\]"),
        (TABLE[None], r"features are \[1, 40, 4\]"),
        (TABLE * np.nan, "a feature is not finite"),
        (TABLE * np.inf, "a feature is not finite"),
        ([["a", "b"], ["c", "d"]], "not a table of numbers"),
        ([[1.0], [1.0, 2.0]], "not a table of numbers"),
        (np.concatenate([TABLE, TABLE], axis=1), "have 4 and 8 columns"),
    ],
)
def test_what_are_no_features_is_refused_in_one_sentence(
    metric: Callable[..., object], features: object, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        metric(TABLE, features)


@pytest.mark.parametrize(
    "patients",
    [
        ["a"] * 3,
        ["a"] * 40,
        [None] * 40,
        [float("nan")] * 40,
        [["a"]] * 40,
        *(np.array([*range(39), np.nan]), ["a"] * 39 + [float("nan")], ["a"] * 39 + [""], "a"),
    ],
)
def test_patients_that_are_none(patients: Any) -> None:
    with pytest.raises(DataError, match="patient"):
        kernel_distance(Sample(TABLE, patients), TABLE)


@pytest.mark.parametrize("patients", [["a", "b"] * 20, np.array([1, 2] * 20)])
def test_two_patients_give_no_interval(patients: list[str] | NDArray[np.intp]) -> None:
    kd = kernel_distance(Sample(TABLE, patients), TABLE + 1)
    assert np.isfinite(kd.value)
    assert np.isnan([kd.low, kd.high]).all(), "resamples of two hardly differ, which is no certainty"


def test_ids_of_several_kinds_are_ids() -> None:
    assert Sample(TABLE, np.array([1, "a"] * 20, object)).codes.tolist() == [0, 1] * 20


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_a_kernel_of_no_width_is_refused(sigma: float) -> None:
    with pytest.raises(DataError, match="use a width above 0"):
        gaussian_mmd(TABLE, TABLE + 1, sigma)


@pytest.mark.parametrize(("count", "width"), [(10, 1), (20, 2), (39, 3)])
def test_few_images_of_few_features_are_not_extrapolated(count: int, width: int) -> None:
    with pytest.raises(DataError, match=f"{count} images are too few to extrapolate the distance; use 40 or more"):
        frechet_infinity(TABLE[:count, :width], TABLE[:count, :width] + 1)


def test_images_in_both_sets_are_told() -> None:
    other = TABLE + 5
    assert kernel_distance(TABLE, other).note == ""
    assert kernel_distance(TABLE, np.concatenate([other, TABLE[:7]])).note.startswith("7 images are in both sets")
