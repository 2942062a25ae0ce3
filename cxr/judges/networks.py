"""The networks that read labels off radiographs: two architectures, so that a fault of one is not a fault of all.

Each turns an image into features and the features into `LABELS` and an age. All learn from real radiographs only.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from cxr.labels.targets import LABELS

SIZE = 128  # pixels
DROPOUT = 0.3


class LabelNetwork(nn.Module):
    """[B, 1, 128, 128] in [-1, 1] -> [B, 18]: one logit for each of `LABELS`, then the scaled age.

    Args:
        trunk: [B, 1, 128, 128] -> feature maps [B, width, h, w].
        width: channels of those maps.
    """

    def __init__(self, trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.width = 2 * width
        self.head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(self.width, len(LABELS) + 1))

    def embed(self, images: Tensor) -> Tensor:
        """Features [B, width]: the mean of the maps tells diffuse findings, the maximum focal ones."""
        maps = self.trunk(images)
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embed(images))
        return logits


def residual_network() -> LabelNetwork:
    """Residual blocks, halving the maps in between (He et al., ECCV 2016)."""
    widths = (24, 48, 96, 160, 224)
    stages: list[nn.Module] = [nn.Conv2d(1, widths[0], 5, 2, 2)]
    for before, after in pairwise(widths):
        stages += [_Residual(before), *_norm(before), nn.Conv2d(before, after, 3, 2, 1)]
    stages += [_Residual(widths[-1]), *_norm(widths[-1])]
    return LabelNetwork(nn.Sequential(*stages), widths[-1])


def dense_network() -> LabelNetwork:
    """Every layer sees all earlier ones of its block (Huang et al., CVPR 2017)."""
    growth, width = 16, 32
    stages: list[nn.Module] = [nn.Conv2d(1, width, 7, 2, 3), *_norm(width), nn.MaxPool2d(3, 2, 1)]
    for count in (4, 8, 12):
        stages += [_DenseLayer(width + k * growth, growth) for k in range(count)]
        width += count * growth
        narrow = width // 32 * 16  # about half, in whole groups
        stages += [*_norm(width), nn.Conv2d(width, narrow, 1), nn.AvgPool2d(2)]
        width = narrow
    stages += [*(_DenseLayer(width + k * growth, growth) for k in range(8)), *_norm(width + 8 * growth)]
    return LabelNetwork(nn.Sequential(*stages), width + 8 * growth)


NETWORKS = {"residual": residual_network, "dense": dense_network}


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_norm(width), nn.Conv2d(width, width, 3, 1, 1), *_norm(width), nn.Conv2d(width, width, 3, 1, 1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = maps + self.layers(maps)
        return result


class _DenseLayer(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        inner = 4 * growth
        self.layers = nn.Sequential(
            *_norm(width), nn.Conv2d(width, inner, 1), *_norm(inner), nn.Conv2d(inner, growth, 3, 1, 1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps, self.layers(maps)], dim=1)


def _norm(width: int) -> tuple[nn.Module, nn.Module]:
    # By groups, not by batch: running statistics would not belong to the averaged weights that are kept.
    return nn.GroupNorm(8, width), nn.SiLU()
