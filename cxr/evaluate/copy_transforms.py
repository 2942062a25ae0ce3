"""Images moved, turned and resized, and how alike two are where they overlap, whatever their brightness."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

# Of the side: deviation of the surroundings that a grey level is compared with, to find a transform, to refine and to
# judge it, and to judge it once more at the images' own size.
LOCAL, MEDIUM, FINE, FINEST = 3 / 32, 1 / 32, 3 / 128, 1 / 128
SMOOTHEST = 4.0  # grey levels; ground that is more even than that is noise
STRONGEST = 2.5  # local deviations
MIN_SHARE_COVERED = 0.2  # of a window that the moved query has to cover


def warped(images: Tensor, transform: Tensor) -> tuple[Tensor, Tensor]:
    """Shift, turn and resize; beyond the edge its pixels are repeated.

    Args:
        images: [B, S, S] float32.
        transform: [B, 4]: shift right and shift down (shares of the side), turn (degrees, clockwise), growth (0.05 is
            five per cent larger).
    Returns:
        The images [B, S, S], and where they have pixels of their own: [B, S, S] float32, 1 or 0.
    """
    side = images.shape[1]
    angle = torch.deg2rad(transform[:, 2])
    cos, sin = (wave(angle)[:, None] / (1 + transform[:, 3:]) for wave in (torch.cos, torch.sin))
    places = (2 * torch.arange(side) + 1) / side - 1  # grid_sample counts from -1 to 1, from edge to edge
    right, down = (places - 2 * transform[:, axis, None] for axis in (0, 1))  # [B, S], before the shift
    x = (cos * right)[:, None, :] + (sin * down)[:, :, None]
    y = (-sin * right)[:, None, :] + (cos * down)[:, :, None]
    inside = ((x.abs() <= 1) & (y.abs() <= 1)).float()
    grid = torch.stack([x, y], dim=3)
    return functional.grid_sample(images[:, None], grid, padding_mode="border", align_corners=False)[:, 0], inside


def local_scale(images: Tensor, local: float = LOCAL) -> Tensor:
    """Grey levels [B, S, S] as deviations from their surroundings, in units of how much these vary."""
    kernel = _surroundings(images.shape[1], local)
    deviation = images - kernel @ images @ kernel.T
    spread = (kernel @ deviation.square() @ kernel.T).clamp(min=0).sqrt()
    return (deviation / (spread + SMOOTHEST)).clamp(-STRONGEST, STRONGEST)


@cache
def _surroundings(side: int, local: float) -> Tensor:
    """Weights [S, S] of the rows around each row."""
    places = torch.arange(side).float()
    kernel = torch.exp(-((places[:, None] - places) ** 2) / (2 * (local * side) ** 2))
    return kernel / kernel.sum(dim=1, keepdim=True)


def correlation(query: Tensor, scaled: Tensor, window: Tensor, transform: Tensor, local: float = LOCAL) -> Tensor:
    """Size of Pearson's correlation [B] in the window, where the moved query has pixels; 0 where it has too few.

    Args:
        query: [B, S, S] grey levels.
        scaled: [B, S, S], what it is compared with, as `local_scale` gives it.
        window: [B, S, S], 1 in the part that is compared.
        transform: [B, 4], as for `warped`.
        local: the scale of both.
    """
    image, inside = warped(query, transform)
    inside = inside * window
    count = inside.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    x, y = (
        (part - (part * inside).sum(dim=(1, 2), keepdim=True) / count) * inside
        for part in (local_scale(image, local), scaled)
    )
    lengths = [part.square().sum(dim=(1, 2)).clamp(min=1.0).sqrt() for part in (x, y)]
    enough = count[:, 0, 0] >= MIN_SHARE_COVERED * window.sum(dim=(1, 2))
    return torch.where(enough, ((x * y).sum(dim=(1, 2)) / (lengths[0] * lengths[1])).abs(), 0.0)


def reduced(pixels: NDArray[np.uint8], side: int) -> Tensor:
    """Images [N, S, S] uint8 as [N, side, side] float32: the mean of an area for each pixel."""
    return functional.interpolate(torch.from_numpy(pixels).float()[:, None], size=(side, side), mode="area")[:, 0]
