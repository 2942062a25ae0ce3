"""Diversity by features: what known sets are worth, and that repetition is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr.evaluate import diversity
from cxr.evaluate.distances import POSING
from cxr.evaluate.diversity import FeatureSet, measure_diversity
from cxr.evaluate.image_set import ImageSet
from cxr.labels.vocabulary import PromptLabels
from cxr.metrics.degrade import blur
from cxr.metrics.diversity import mean_pairwise_distance, nearest_distances, standardised, vendi_score


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_the_vendi_score_counts_different_images(count: int) -> None:
    features = np.eye(8)[np.arange(40) % count]
    assert vendi_score(features) == pytest.approx(count)
    assert vendi_score(3.0 * features) == pytest.approx(count)  # only directions count


def test_the_vendi_score_lies_between_one_and_the_number_of_images() -> None:
    rng = np.random.default_rng(0)
    for scale in (0.01, 0.3, 1.0):
        assert 1 <= vendi_score(1 + scale * rng.normal(size=(30, 100))) <= 30
    values = [vendi_score(1 + scale * rng.normal(size=(30, 100))) for scale in (0.01, 0.3, 3.0)]
    assert values == sorted(values)


def test_the_mean_distance_of_pairs() -> None:
    assert mean_pairwise_distance(np.array([[0.0, 0], [3, 4], [0, 0]])) == pytest.approx((5 + 5 + 0) / 3 / np.sqrt(2))


def test_nearest_distances_leave_the_image_itself_out() -> None:
    values = np.random.default_rng(0).normal(size=(40, 3))
    table = np.linalg.norm(values[:, None] - values, axis=2) + np.diag(np.full(40, np.inf))
    assert nearest_distances(values) == pytest.approx(table.min(axis=1))


def test_features_without_a_scale_are_left_out() -> None:
    reference = np.column_stack([np.arange(10.0), np.full(10, 7.0)])
    assert standardised(reference, reference).shape == (10, 1)


def looked(folder: Path, pixels: np.ndarray, features: np.ndarray, prompts: list[str]) -> FeatureSet:
    folder.mkdir()
    paths = tuple(folder / f"{number:03d}.png" for number in range(len(pixels)))
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    names = tuple(f"{folder.name}{number}" for number in range(len(pixels)))
    labels = tuple(PromptLabels((), 50 + number % 2, "M", "PA") for number in range(len(pixels)))
    return FeatureSet(ImageSet(folder, paths, names, labels, tuple(prompts), names, {}), features)


def test_one_image_repeated_with_noise_is_told_and_blur_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diversity, "MAX_PAIRS", 40)
    rng = np.random.default_rng(0)
    films = rng.integers(0, 256, (80, 64, 64), np.uint8)
    features = rng.normal(size=(80, 12))
    prompts = [f"prompt {k // 4}" for k in range(80)]
    real = looked(tmp_path / "real", films, features, [""] * 80)
    repeated = features[:1] + 0.01 * rng.normal(size=(80, 12))
    one = looked(tmp_path / "one", films, repeated, prompts)
    fresh = looked(tmp_path / "fresh", blur(films, 2), rng.normal(size=(80, 12)), prompts)
    figures: dict[Any, Any] = {}
    for name, made in (("one", one), ("fresh", fresh)):
        part = measure_diversity(made, made, real)
        assert [row["name"] for row in part["rows"]] == [row["name"] for row in part["wholes"]] == ["generated", POSING]
        for row in (*part["rows"], *part["wholes"]):
            figures |= {(name, row["name"], metric.name): metric for metric in row["metrics"]}
    assert figures["one", "generated", "near-duplicates"].value == 1
    assert figures["fresh", "generated", "near-duplicates"].value < 0.1
    assert figures["fresh", POSING, "near-duplicates"].value < 0.1
    assert figures["one", "generated", "Vendi score"].value < 2 < figures["fresh", "generated", "Vendi score"].low
    near, far = (figures[name, "generated", "feature distance"] for name in ("one", "fresh"))
    assert near.high < far.low
    assert (far.num_generated, far.settings["num_groups"]) == (80, 20)
    # Blur alone does that; the real films are one group, which has no interval.
    assert figures["fresh", "generated", "SSIM"].low > 0.2 > 0.1 > figures["fresh", POSING, "SSIM"].value


def test_films_that_were_saved_again_are_all_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diversity, "MAX_PAIRS", 2)
    monkeypatch.setattr(diversity, "MAX_IMAGES", 2)
    rng = np.random.default_rng(0)
    films, features = rng.integers(0, 256, (80, 8, 8), np.uint8), rng.normal(size=(80, 12))
    real = looked(tmp_path / "real", films, features, [""] * 80)
    again = looked(tmp_path / "again", films, features + 0.001 * rng.normal(size=(80, 12)), [""] * 80)
    found = {row["name"]: row["metrics"][-1].value for row in measure_diversity(again, again, real)["wholes"]}
    assert found == {"generated": 1, POSING: found[POSING]}
    assert found[POSING] < 0.1
