"""Areas, shares and thresholds on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from cxr.metrics.agreement import auroc, weighted_auroc, weighted_share, youden_threshold


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [([0.1, 0.9], [False, True], 1.0), ([0.9, 0.1], [False, True], 0.0), ([0.5, 0.5, 0.5], [True, False, True], 0.5)],
)
def test_auroc_counts_ties_half(scores: list[float], positive: list[bool], expected: float) -> None:
    assert auroc(np.array(scores), np.array(positive)) == expected


@pytest.mark.parametrize("positive", [[True, True], [False, False], []])
def test_auroc_of_one_class_is_unknown(positive: list[bool]) -> None:
    assert np.isnan(auroc(np.arange(len(positive), dtype=float), np.array(positive, bool)))


def test_a_score_that_is_not_known_makes_no_area() -> None:
    assert np.isnan(auroc(np.array([1, np.nan, 3, 4]), np.array([False, True, False, True])))


def test_classes_may_be_0_and_1() -> None:
    assert auroc(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 1])) == 1


def test_auroc_is_the_share_of_ordered_pairs() -> None:
    random = np.random.default_rng(0)
    scores, positive = random.normal(size=200).round(1), random.random(200) < 0.3
    pairs = scores[positive][:, None] - scores[~positive][None]
    assert auroc(scores, positive) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_a_weight_counts_like_repeating_the_image() -> None:
    random = np.random.default_rng(1)
    scores, positive = random.normal(size=50).round(1), random.random(50) < 0.5
    weights = random.integers(0, 4, (3, 50)).astype(float)
    repeated = [auroc(np.repeat(scores, row.astype(int)), np.repeat(positive, row.astype(int))) for row in weights]
    assert weighted_auroc(scores, positive, weights) == pytest.approx(repeated)


def test_shares_count_only_what_is_asked_for() -> None:
    flags, among = np.array([True, True, False, True]), np.array([True, True, True, False])
    shares = weighted_share(flags, among, np.array([[1.0, 1, 1, 1], [0, 1, 3, 5], [0, 0, 0, 1]]))
    assert shares[:2] == pytest.approx([2 / 3, 1 / 4])
    assert np.isnan(shares[2])


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [
        ([0.0, 1, 2, 3], [False, False, True, True], 1.5),
        ([0.0, 1, 1, 2], [False, True, False, True], 0.5),  # no cut between equal scores
        ([3.0, 1], [False, True], 0.5),  # nothing separates them: everything counts as seen
    ],
)
def test_the_threshold_is_where_balanced_accuracy_is_highest(
    scores: list[float], positive: list[bool], expected: float
) -> None:
    assert youden_threshold(np.array(scores), np.array(positive)) == expected


def test_one_class_gives_no_threshold() -> None:
    assert np.isnan(youden_threshold(np.array([1.0, 2.0]), np.array([True, True])))
