import numpy as np
import pytest
import torch

from cxr.images.pixels import from_uint8, is_flat, resize, to_uint8


def test_every_grey_level_survives_the_way_there_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert np.array_equal(to_uint8(from_uint8(levels)), levels)


def test_range_ends_are_black_and_white_and_values_outside_are_clamped() -> None:
    images = torch.tensor([-1.0, 1.0, -9.0, 9.0]).view(1, 1, 2, 2)
    assert to_uint8(images).tolist() == [[[0, 255], [0, 255]]]


def test_channels_are_averaged() -> None:
    images = torch.stack([torch.full((2, 2), value) for value in (-1.0, 0.0, 1.0)])[None]
    assert to_uint8(images).shape == (1, 2, 2)
    assert to_uint8(images).max() == 128


def test_from_uint8_has_one_channel_in_minus_one_to_one() -> None:
    images = from_uint8(np.array([[[0, 255]]], dtype=np.uint8))
    assert images.shape == (1, 1, 1, 2)
    assert images.dtype == torch.float32
    assert images.flatten().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_has_no_grey_level(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        to_uint8(torch.full((1, 1, 2, 2), value))


def test_shrinking_keeps_the_mean_and_enlarging_the_size_asked_for() -> None:
    images = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(resize(images, (1, 1)).flatten(), images.mean())
    assert resize(images, (32, 16)).shape == (1, 1, 32, 16)


@pytest.mark.parametrize(
    ("pixels", "flat"), [([0, 0], True), ([255, 255], True), ([99, 100], True), ([90, 110], False)]
)
def test_flat_pictures_are_told_from_real_ones(pixels: list[int], flat: bool) -> None:
    assert is_flat(np.array([pixels], dtype=np.uint8)) is flat
