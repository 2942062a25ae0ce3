"""Small changes of films, so that one that comes back often is not learnt by heart as soon."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

AUGMENTED_SHARE = 0.5  # of the images: the others show how films are framed
LARGEST_ANGLE = 5.0  # degrees
LARGEST_ZOOM = 0.08  # of the side
LARGEST_GAMMA = 1.25


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn half of the images a little, cut the corners off that this would bare, and change their contrast.

    Never mirrored: the heart has a side. At most 5 degrees, 8 % of zoom and what shift it leaves, gamma 0.8 to 1.25.

    Args:
        images: [B, 1, H, W] in [-1, 1].
        generator: source of all draws.
    """
    count = len(images)
    moved = (torch.rand(count, generator=generator) < AUGMENTED_SHARE).float()
    draw = (torch.rand(count, 5, generator=generator) * 2 - 1) * moved[:, None]
    angle = draw[:, 0] * math.radians(LARGEST_ANGLE)
    shown = 1 / (angle.cos() + angle.sin().abs())  # of the side: larger windows would reach beyond the film
    zoom = shown - draw[:, 1].abs() * (shown - (1 - LARGEST_ZOOM)).clamp(min=0)
    room = 1 - zoom / shown
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    matrix = torch.stack([cos, -sin, draw[:, 2] * room, sin, cos, draw[:, 3] * room], dim=1).view(count, 2, 3)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    turned = functional.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)
    gamma = LARGEST_GAMMA ** draw[:, 4, None, None, None]
    return (turned.clamp(-1, 1) * 0.5 + 0.5).pow(gamma) * 2 - 1
