"""Random changes of films for networks that read them, so that one that comes back often is not learnt by heart.

The base learns films as they are: of turned and zoomed ones it learns a softer detail and less of how films are framed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MAX_BLUR = 1.2  # pixels of 128, standard deviation


def jitter(images: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """Turn by up to 6 degrees, shift and scale by up to 6 %, change contrast; never mirrored: the heart has a side.

    Args:
        images: [B, 1, H, W] in [-1, 1].
        generator: source of all draws.
        strength: factor on how far images are turned, shifted and scaled.
    """
    count = len(images)
    draw = torch.rand(count, 6, generator=generator) * 2 - 1
    place = draw[:, :4] * strength
    angle, zoom, shift = place[:, 0] * 0.105, 1 + place[:, 1] * 0.06, place[:, 2:] * 0.06
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    matrix = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1).view(count, 2, 3)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    gain, offset = 1 + draw[:, 4, None, None, None] * 0.2, draw[:, 5, None, None, None] * 0.1
    return (moved * gain + offset).clamp(-1, 1)


def soften_and_cover(images: Tensor, generator: torch.Generator) -> Tensor:
    """Soften, roughen and cover parts of images, so that fine texture alone decides nothing.

    Generated images are softer than real ones; a judge that read texture would misread them.
    """
    count, side = len(images), images.shape[-1]
    draw = torch.rand(count, 5, generator=generator)
    place = torch.arange(-3, 4).float()
    kernel = torch.exp(-0.5 * (place / (draw[:, :1] * MAX_BLUR).clamp(min=0.1)).square())
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    padded = functional.pad(images.transpose(0, 1), (3, 3, 3, 3), mode="replicate")
    soft = functional.conv2d(padded, kernel[:, None, :, None], groups=count)
    soft = functional.conv2d(soft, kernel[:, None, None, :], groups=count).transpose(0, 1)
    noise = torch.randn(images.shape, generator=generator) * draw[:, 1, None, None, None] * 0.06
    size = side * (0.1 + 0.2 * draw[:, 2, None])
    rows = (torch.arange(side) - draw[:, 3, None] * side).abs() < size / 2
    columns = (torch.arange(side) - draw[:, 4, None] * side).abs() < size / 2
    covered = rows[:, None, :, None] & columns[:, None, None, :]
    return (soft + noise).masked_fill(covered, 0.0).clamp(-1, 1)
