"""Downstream utility on toy radiographs, whose finding is a bright corner."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cxr.evaluate.few_real import FewReal, measure_few_real
from cxr.evaluate.utility import Utility, measure_utility
from cxr.evaluate.utility_classifier import LabelledImages, augment, classify, train_classifier
from cxr.labels.targets import LABELS
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.agreement import auroc
from cxr.metrics.result import MetricResult, to_plain
from cxr.request.errors import DataError, RequestError

ARMS = ["TRTR", "TSTR", "real + synthetic", "synthetic, then real", "10 % real", "synthetic, then 10 % real"]
ABNORMAL, MALE = LABELS.index("abnormal"), LABELS.index("male")
FIRST = len(LABELS) - len(FINDINGS)  # column of the first finding


def toy_images(count: int, seed: int) -> LabelledImages:
    """Noise of 16 x 16 pixels, half of it with a bright corner, which is all findings; views and ages are unknown."""
    chance = np.random.default_rng(seed)
    pixels = chance.integers(0, 120, (count, 16, 16)).astype(np.uint8)
    targets = np.zeros((count, len(LABELS) + 1), np.float32)
    targets[:, [0, -1]] = np.nan
    targets[::3, MALE] = np.nan
    shown = np.arange(count) % 2 == 1
    pixels[shown, :6, :6] = 250
    targets[shown, ABNORMAL:-1] = 1
    return LabelledImages(pixels, targets)


def measure(synthetic: LabelledImages, num_seeds: int = 1, steps: int = 24) -> Utility:
    patients = [str(index // 2) for index in range(60)]
    return measure_utility(toy_images(80, 0), synthetic, toy_images(60, 1), patients, steps, 8, num_seeds)


def find(metrics: list[MetricResult], name: str) -> MetricResult:
    return next(metric for metric in metrics if metric.name == name)


@pytest.fixture(scope="module")
def good_report() -> Utility:
    return measure(toy_images(50, 2), num_seeds=2)


def test_good_synthetic_images_are_worth_as_much_as_real_ones(good_report: Utility) -> None:
    assert [row["arm"] for row in good_report["rows"]] == ARMS
    assert (good_report["num_images"], good_report["num_seeds"], good_report["steps"]) == (50, 2, 24)
    for row in good_report["rows"][:4]:
        assert find(row["metrics"], "macro AUROC").value > 0.95
        # Only labels that the test has both kinds of.
        assert [metric.name for metric in row["metrics"]] == ["abnormal", *FINDINGS, "macro AUROC"]
    ratio = find(good_report["ratios"], "Effusion")
    assert ratio.value == pytest.approx(1, abs=0.05)
    assert not ratio.note


def test_figures_say_what_is_behind_them(good_report: Utility) -> None:
    few = find(good_report["rows"][4]["metrics"], "Effusion")
    assert (few.settings["num_real"], few.settings["num_synthetic"], few.settings["num_positive"]) == (5, 0, 30)
    assert (few.num_generated, few.num_reference) == (0, 60)
    assert len(few.settings["seeds"]) == 2
    assert few.value == pytest.approx(np.mean(few.settings["seeds"]))
    both = find(good_report["rows"][2]["metrics"], "Effusion")
    assert (both.settings["num_real"], both.num_generated) == (50, 50)
    json.dumps(to_plain(good_report), allow_nan=False)


def test_macro_is_the_mean_over_findings_and_the_difference_is_paired(good_report: Utility) -> None:
    before, after = (row["metrics"] for row in good_report["rows"][-2:])
    assert before[-1].value == pytest.approx(np.mean([find(before, name).value for name in FINDINGS]))
    difference = good_report["difference"]
    assert difference.value == pytest.approx(after[-1].value - before[-1].value)
    assert difference.low <= difference.value <= difference.high


def test_synthetic_images_with_random_labels_are_worth_nothing() -> None:
    random = toy_images(80, 2)
    random.targets[:, FIRST:-1] = np.random.default_rng(0).integers(0, 2, (80, len(FINDINGS)))
    report = measure(random)
    real, synthetic = (find(row["metrics"], "macro AUROC") for row in report["rows"][:2])
    assert real.value > 0.95
    assert synthetic.value == pytest.approx(0.5, abs=0.2)


def test_the_ratio_says_when_real_images_teach_nothing() -> None:
    untrained = measure(toy_images(80, 2), steps=1)
    reals = [find(untrained["rows"][0]["metrics"], name) for name in FINDINGS]
    notes = [bool(find(untrained["ratios"], name).note) for name in FINDINGS]
    assert notes == [real.low <= 0.5 for real in reals]
    assert any(notes)


def test_same_seed_same_classifier_and_no_trace_on_other_random_numbers() -> None:
    images = toy_images(20, 3)
    state = torch.random.get_rng_state()
    first, second, other = (classify(train_classifier((images,), 4, 8, seed), images.pixels) for seed in (0, 0, 1))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_stages_follow_one_another() -> None:
    """The last stage decides: it is what was seen last, and with the labels turned round it turns the answer."""
    good = toy_images(40, 0)
    wrong = replace(good, targets=np.where(np.isnan(good.targets), np.nan, 1 - good.targets).astype(np.float32))
    scores = classify(train_classifier((wrong, good), 60, 8, 0), good.pixels)[:, FIRST]
    assert auroc(scores, good.targets[:, FIRST] == 1) > 0.9


def test_unknown_labels_teach_nothing() -> None:
    images = toy_images(20, 0)
    unknown = replace(images, targets=np.full_like(images.targets, np.nan))
    scores = classify(train_classifier((unknown,), 3, 8, 0), images.pixels)
    assert np.isfinite(scores).all()


def test_augmenting_never_mirrors() -> None:
    image = torch.full((64, 1, 16, 16), -1.0)
    image[..., :4] = 1.0
    moved = augment(image, torch.Generator().manual_seed(0))
    assert bool((moved[..., :3].mean(dim=(1, 2, 3)) > moved[..., -3:].mean(dim=(1, 2, 3))).all())
    assert not torch.equal(moved[0], moved[1])


def test_resamples_draw_patients() -> None:
    synthetic = toy_images(20, 2)
    sides = toy_images(20, 0), synthetic, toy_images(40, 1)
    one = measure_utility(*sides, ["the same"] * 40, 2, 4, 1)
    metric = one["rows"][0]["metrics"][0]
    assert metric.low == metric.value == metric.high
    assert math.isfinite(metric.value)


@pytest.mark.parametrize(
    ("real", "test", "patients", "message"),
    [
        (toy_images(9, 0), toy_images(20, 1), 20, "9 real images; utility needs 10"),
        (toy_images(20, 0), toy_images(20, 1), 19, "19 patients are named for 20"),
        (toy_images(20, 0), toy_images(20, 0), 20, "20 test images are among the real"),
        (LabelledImages(np.zeros((20, 8, 8), np.uint8), np.zeros((20, 18), np.float32)), toy_images(20, 1), 20, "size"),
    ],
)
def test_sets_that_do_not_fit_are_refused(
    real: LabelledImages, test: LabelledImages, patients: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        measure_utility(real, toy_images(20, 2), test, [str(index) for index in range(patients)])


def test_progress_is_told() -> None:
    said: list[str] = []
    sides = toy_images(10, 0), toy_images(10, 2), toy_images(10, 1)
    measure_utility(*sides, [str(index) for index in range(10)], 1, 2, 1, said.append)
    assert len(said) == len(ARMS)
    assert said[0] == "utility: seed 1 of 1, TRTR"


@pytest.mark.parametrize(("num_patients", "noted"), [(4, True), (20, False)])
def test_few_patients_are_said(num_patients: int, noted: bool) -> None:
    sides = toy_images(10, 0), toy_images(10, 2), toy_images(40, 1)
    patients = [str(index // 2 % num_patients) for index in range(40)]
    metric = measure_utility(*sides, patients, 1, 2, 1)["rows"][0]["metrics"][0]
    assert metric.settings["num_positive_patients"] == num_patients
    assert ("too few" in metric.note) == noted


def few_real(counts: tuple[int, ...], **made: LabelledImages) -> FewReal:
    patients = [str(index // 2) for index in range(60)]
    return measure_few_real(toy_images(80, 0), made, toy_images(60, 1), patients, counts, 24, 8, 2)


def test_good_synthetic_images_help_where_real_ones_are_few() -> None:
    wrong = toy_images(50, 3)
    wrong = replace(wrong, targets=np.where(wrong.targets == 1, 0, 1 - wrong.targets))
    found = few_real((10, 80), good=toy_images(70, 2), wrong=wrong)
    assert [(row["count"], row["name"]) for row in found["rows"]] == [
        (count, name) for count in (10, 80) for name in ("", "good", "wrong")
    ]
    assert found["num_synthetic"] == 50  # of both as many as the smaller set has
    alone, good, wrong_ones = (find(row["metrics"], "macro AUROC") for row in found["rows"][:3])
    assert good.value > 0.9
    assert wrong_ones.value < alone.value
    for row in found["differences"]:
        (mine,) = (one for one in found["rows"] if (one["count"], one["name"]) == (row["count"], row["name"]))
        (bare,) = (one for one in found["rows"] if (one["count"], one["name"]) == (row["count"], ""))
        added = find(row["metrics"], "macro AUROC")
        expected = find(mine["metrics"], "macro AUROC").value - find(bare["metrics"], "macro AUROC").value
        assert added.value == pytest.approx(expected)
        assert added.low <= added.value <= added.high
        assert added.settings["num_real"] == row["count"]


@pytest.mark.parametrize("count", [-1, 0, 9, 81])
def test_numbers_of_real_films_that_are_not_there_are_refused(count: int) -> None:
    with pytest.raises(RequestError, match=f"is {count}; use 10 to 80"):
        few_real((10, count), good=toy_images(50, 2))
