"""The only place that changes value range, bit depth, channels or size of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxr.request.events import GreyLevels

if TYPE_CHECKING:  # whoever only reads images does not wait for torch
    from torch import Tensor

DEPTHS = (8, 10, 12, 14, 16)
FLAT_STD_LEVELS = 1.0  # below one grey level of spread there is no picture


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Turn decoded images [B, C, H, W] in -1 to 1 into 8-bit grey pictures [B, H, W], as `to_grey` does."""
    levels: NDArray[np.uint8] = to_grey(images, 8).astype(np.uint8, copy=False)
    return levels


def to_grey(images: Tensor, bit_depth: int) -> GreyLevels:
    """Turn decoded images into grey pictures.

    Args:
        images: [B, C, H, W], float, -1 = black, 1 = white; values outside are clamped. C channels are averaged.
        bit_depth: 8 or 16.
    Returns:
        [B, H, W] uint8 or uint16, 0 = black.
    Raises:
        ValueError: a value is NaN or infinite: it has no grey level.
    """
    grey = images.detach().float().mean(dim=1)
    if not bool(grey.isfinite().all()):
        raise ValueError("images hold NaN or infinite values")
    # The same two steps as diffusers' VaeImageProcessor, so that both round alike.
    unit = (grey * 0.5 + 0.5).clamp(0, 1)
    levels: NDArray[np.float32] = (unit.cpu().numpy() * (2**bit_depth - 1)).round()
    return levels.astype(np.uint8) if bit_depth == 8 else levels.astype(np.uint16)


def to_8_bits(pixels: GreyLevels) -> NDArray[np.uint8]:
    """The same picture in 8-bit levels, whatever its own."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return (pixels / 257).round().astype(np.uint8)  # 65535 = 257 * 255


def bits_of(pixels: NDArray[np.unsignedinteger]) -> int:
    """Bits that a picture was made with, whatever it is kept in: the fewest of `DEPTHS` that hold its levels.

    Scanners give 10, 12 or 14 bits, and most programs keep them in 16 as they are: taken for 16 they are almost black.
    """
    highest = int(pixels.max(initial=0))
    return next(bits for bits in DEPTHS if highest < 2**bits)


def from_window(values: NDArray[np.floating], centre: float, width: float) -> NDArray[np.uint8]:
    """Stretch a window of values to grey levels, 0 = black (DICOM PS3.3, C.11.2.1.2).

    Args:
        values: [H, W] in any unit.
        centre: of the window, in that unit.
        width: of the window, at least 1.
    """
    unit = (values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5
    levels: NDArray[np.uint8] = (np.clip(unit, 0, 1) * 255).round().astype(np.uint8)
    return levels


def to_bits(pixels: GreyLevels, bits: int) -> GreyLevels:
    """The same picture in another number of bits.

    Args:
        pixels: [H, W] uint8 or uint16, of at least as many bits.
        bits: 8, 12 or 16.
    Returns:
        [H, W] uint8 for 8 bits, else uint16 with values below 2 ** bits.
    """
    if bits == 8:
        return to_8_bits(pixels)
    return (pixels >> (16 - bits)).astype(np.uint16)


def from_uint8(pixels: NDArray[np.uint8]) -> Tensor:
    """Turn 8-bit grey pictures into the range that networks see.

    Args:
        pixels: [B, H, W] uint8, 0 = black.
    Returns:
        [B, 1, H, W] float32 in [-1, 1].
    """
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels)).unsqueeze(1).float() / 127.5 - 1.0


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Change the height and width of images: area means when smaller, smooth interpolation when larger.

    Args:
        images: [B, C, H, W] float, any range.
        size: (height, width) wanted, in pixels.
    Returns:
        [B, C, height, width] float; bicubic interpolation may overshoot the range a little.
    """
    from torch.nn import functional

    if size[0] < images.shape[-2] or size[1] < images.shape[-1]:
        return functional.interpolate(images, size=size, mode="area")
    return functional.interpolate(images, size=size, mode="bicubic", align_corners=False)


def is_flat(pixels: GreyLevels) -> bool:
    """Whether a picture shows nothing: all black, all white or one even grey.

    Args:
        pixels: [H, W] uint8 or uint16.
    """
    level = 1 if pixels.dtype == np.uint8 else 257
    return float(np.std(pixels)) < FLAT_STD_LEVELS * level
