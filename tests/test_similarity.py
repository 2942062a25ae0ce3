"""Structural similarity among images of one prompt."""

import numpy as np
import pytest

from cxr.metrics.similarity import similarities
from cxr.request.errors import DataError


def noisy_copies(strength: float, count: int = 3, side: int = 176) -> np.ndarray:
    rng = np.random.default_rng(0)
    picture = np.add.outer(np.linspace(0, 120, side), np.linspace(0, 100, side))
    images = picture + strength * rng.normal(size=(count, side, side))
    return images.clip(0, 255).astype(np.uint8)


def test_equal_images_are_entirely_similar() -> None:
    ssim, ms_ssim, pairs = similarities(noisy_copies(0))
    assert (ssim, ms_ssim) == pytest.approx((1, 1))
    assert pairs == 3


def test_a_step_of_one_grey_level_is_a_small_step() -> None:
    """Differences of uint8 that wrap around would make it 255."""
    image = noisy_copies(0, count=1)[0]
    assert similarities(np.stack([image, image - (image > 0)]))[0] > 0.99


def test_more_noise_is_less_similarity() -> None:
    values = [similarities(noisy_copies(strength)) for strength in (2, 8, 32)]
    for column in list(zip(*values, strict=True))[:2]:
        assert list(column) == sorted(column, reverse=True)


def test_pairs_are_drawn() -> None:
    assert similarities(noisy_copies(8, count=5), max_pairs=4)[2] == 4


@pytest.mark.parametrize("images", [noisy_copies(1, count=1), noisy_copies(1, side=128)])
def test_what_cannot_be_measured_is_refused(images: np.ndarray) -> None:
    with pytest.raises(DataError, match="use two images or more of 161 pixels"):
        similarities(images)
