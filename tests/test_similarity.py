"""Similarity among images of one prompt."""

import numpy as np
import pytest

from cxr.metrics.similarity import measure_similarity
from cxr.request.errors import DataError


def noisy_copies(strength: float, count: int = 3, side: int = 176) -> np.ndarray:
    chance = np.random.default_rng(0)
    picture = np.add.outer(np.linspace(0, 120, side), np.linspace(0, 100, side))
    images = picture + strength * chance.normal(size=(count, side, side))
    return images.clip(0, 255).astype(np.uint8)


def test_equal_images_are_entirely_similar() -> None:
    results = measure_similarity([noisy_copies(0)])
    assert [result.name for result in results] == ["SSIM", "MS-SSIM"]
    assert [result.value for result in results] == pytest.approx([1, 1])
    assert all(
        result.settings == {"num_groups": 1, "num_pairs": 3, "data_range": 255, "size": 176} for result in results
    )


def test_a_step_of_one_grey_level_is_a_small_step() -> None:
    """Differences of uint8 that wrap around would make it 255."""
    image = noisy_copies(0, count=1)[0]
    assert measure_similarity([np.stack([image, image - (image > 0)])])[0].value > 0.99


def test_more_noise_is_more_diversity() -> None:
    values = [measure_similarity([noisy_copies(strength)]) for strength in (2, 8, 32)]
    for column in zip(*values, strict=True):
        ordered = [result.value for result in column]
        assert ordered == sorted(ordered, reverse=True)


def test_groups_count_the_same_however_large() -> None:
    small, large = noisy_copies(0, count=2), noisy_copies(32, count=5)
    both, _ = measure_similarity([small, large, small[:1]])
    apart = [measure_similarity([group])[0].value for group in (small, large)]
    assert both.value == pytest.approx(np.mean(apart), rel=1e-6)
    assert (both.settings["num_groups"], both.settings["num_pairs"]) == (2, 11)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(DataError, match="no prompt has two images"):
        measure_similarity([noisy_copies(1, count=1)])
    with pytest.raises(DataError, match="128x128 pixels; MS-SSIM needs 161"):
        measure_similarity([noisy_copies(1, side=128)])
