"""The networks that read labels off radiographs: two architectures, so that a fault of one is not a fault of all.

Each turns an image into features and the features into `LABELS` and an age. All learn from real radiographs only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr.labels.targets import LABELS

SIZE = 128  # pixels
DROPOUT = 0.3
DENSE_WIDTH = 32  # channels before the first block


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
        """Features [B, width]: the mean of the maps shows diffuse findings, the maximum focal ones."""
        return _pooled(self.trunk(images))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embed(images))
        return logits


class MeanNetwork(LabelNetwork):
    """Several networks as one whose outputs are the mean of theirs; their features stand side by side.

    Args:
        members: networks of one architecture.
    """

    def __init__(self, members: Sequence[LabelNetwork]) -> None:
        super().__init__(
            nn.ModuleList(member.trunk for member in members), sum(member.width for member in members) // 2
        )
        heads, mean = [_linear(member) for member in members], _linear(self)
        with torch.no_grad():  # a mean of linear layers is one linear layer
            mean.weight.copy_(torch.cat([head.weight for head in heads], dim=1) / len(heads))
            mean.bias.copy_(torch.stack([head.bias for head in heads]).mean(dim=0))

    def embed(self, images: Tensor) -> Tensor:
        return torch.cat([_pooled(trunk(images)) for trunk in self.trunk.children()], dim=1)


def build_network(name: str, num_members: int = 1) -> LabelNetwork:
    """A network with random weights.

    Args:
        name: a key of `NETWORKS`.
        num_members: networks whose mean it is.
    """
    members = [NETWORKS[name]() for _ in range(num_members)]
    return MeanNetwork(members) if num_members > 1 else members[0]


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
    return _dense([nn.Conv2d(1, DENSE_WIDTH, 7, 2, 3)], growth=16, counts=(4, 8, 12, 8), inner_factor=4)


def lean_residual_network() -> LabelNetwork:
    """As `residual_network` with a sixth of its work: on images reduced to 96 pixels, blocks from 24 pixels down."""
    widths, counts = (24, 48, 80, 128), (1, 2, 2, 1)
    stages: list[nn.Module] = [_Reduce(96), nn.Conv2d(1, 16, 5, 2, 2), *_norm(16), nn.Conv2d(16, widths[0], 3, 2, 1)]
    before = widths[0]
    for width, count in zip(widths, counts, strict=True):
        stages += [] if width == before else [*_norm(before), nn.Conv2d(before, width, 3, 2, 1)]
        stages += [_Residual(width) for _ in range(count)]
        before = width
    return LabelNetwork(nn.Sequential(*stages, *_norm(before)), before)


def lean_dense_network() -> LabelNetwork:
    """As `dense_network`, with wider layers and fewer of them, on images reduced to 80 pixels."""
    start = [_Reduce(80), nn.Conv2d(1, DENSE_WIDTH, 5, 2, 2)]
    return _dense(start, growth=24, counts=(2, 4, 6, 4), inner_factor=2)


def _dense(start: Sequence[nn.Module], *, growth: int, counts: Sequence[int], inner_factor: int) -> LabelNetwork:
    width = DENSE_WIDTH
    stages: list[nn.Module] = [*start, *_norm(width), nn.MaxPool2d(3, 2, 1)]
    for number, count in enumerate(counts, start=1):
        stages += [_DenseLayer(width + k * growth, growth, inner_factor) for k in range(count)]
        width += count * growth
        stages += _norm(width)
        if number < len(counts):
            narrow = width // 32 * 16  # about half, in whole groups
            stages += [nn.Conv2d(width, narrow, 1), nn.AvgPool2d(2)]
            width = narrow
    return LabelNetwork(nn.Sequential(*stages), width)


NETWORKS = {
    "residual": residual_network,
    "dense": dense_network,
    "lean-residual": lean_residual_network,
    "lean-dense": lean_dense_network,
}


def _pooled(maps: Tensor) -> Tensor:
    return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


def _linear(network: LabelNetwork) -> nn.Linear:
    layer = network.head[-1]
    assert isinstance(layer, nn.Linear)
    return layer


class _Reduce(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        return functional.interpolate(images, size=self.size, mode="bilinear", antialias=True)


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
    def __init__(self, width: int, growth: int, inner_factor: int) -> None:
        super().__init__()
        inner = inner_factor * growth
        self.layers = nn.Sequential(
            *_norm(width), nn.Conv2d(width, inner, 1), *_norm(inner), nn.Conv2d(inner, growth, 3, 1, 1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps, self.layers(maps)], dim=1)


def _norm(width: int) -> tuple[nn.Module, nn.Module]:
    # By groups, not by batch: running statistics would not belong to the averaged weights that are kept.
    return nn.GroupNorm(8, width), nn.SiLU()
