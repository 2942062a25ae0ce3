"""Intervals, against published values and against what they promise."""

import math
from functools import partial

import numpy as np
import pytest

from cxr.metrics.intervals import bootstrap, cluster_weights, holm, two_sided, wilson


def mean_of(values: np.ndarray, rows: np.ndarray) -> float:
    return float(values[rows].mean())


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 1998, table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_is_as_published(successes: int, count: int, low: float, high: float) -> None:
    assert wilson(successes, count) == pytest.approx((low, high), abs=6e-5)


def test_nothing_counted_says_nothing() -> None:
    assert all(math.isnan(end) for end in wilson(0, 0))
    assert all(math.isnan(end) for end in bootstrap(lambda _: math.nan, np.arange(5)))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_clusters_give_no_interval(count: int) -> None:
    clusters = np.repeat(np.arange(count), 10)
    assert all(math.isnan(end) for end in bootstrap(lambda rows: float(rows.mean()), clusters))
    assert np.isnan(cluster_weights(clusters)).all()


def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        values = chance.normal(size=60)
        low, high = bootstrap(partial(mean_of, values), np.arange(60), seed=trial)
        held += low < 0 < high
    assert 0.88 < held / 200 < 0.99


def test_images_of_one_prompt_do_not_count_as_many() -> None:
    """Ten prompts with twenty equal images each are ten observations, not two hundred."""
    values = np.repeat(np.random.default_rng(0).normal(size=10), 20)
    prompts = np.repeat([f"prompt {index}" for index in range(10)], 20)
    clustered = bootstrap(partial(mean_of, values), prompts)
    one_by_one = bootstrap(partial(mean_of, values), np.arange(200))
    assert clustered.high - clustered.low > 3 * (one_by_one.high - one_by_one.low)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.arange(30.0)
    first, second = (bootstrap(partial(mean_of, values), np.arange(30), seed=4) for _ in range(2))
    assert first == second


def test_holm_multiplies_by_how_many_are_left_and_never_falls() -> None:
    nan = float("nan")
    corrected = holm([0.01, 0.04, nan, 0.03, 0.6])
    assert corrected[:2] == pytest.approx([0.04, 0.09])
    assert math.isnan(corrected[2])
    assert corrected[3:] == pytest.approx([0.09, 0.6])


@pytest.mark.parametrize(
    ("differences", "expected"), [([1.0] * 99, 0.02), ([-1.0] * 99, 0.02), ([-1.0, 1.0] * 50, 1.0), ([0.0] * 10, 1.0)]
)
def test_a_difference_is_sure_when_no_resample_turns_it_round(differences: list[float], expected: float) -> None:
    assert two_sided(np.array(differences)) == pytest.approx(expected, abs=0.01)


def test_weights_of_a_cluster_are_those_of_each_of_its_images() -> None:
    clusters = np.array(["a", "b", "a", "c"])
    weights = cluster_weights(clusters, resamples=50)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
