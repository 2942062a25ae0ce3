"""Inception v3 up to its last pooling: the features of FID and KID.

The variant with which TensorFlow's 2015 weights were trained, which Heusel et al. (NeurIPS 2017) measured with. It
differs from the usual one in its poolings only. Layers are named as in the published PyTorch weights.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE = 299
WIDTH = 2048

Kernel = tuple[int, int]


class InceptionFeatures(nn.Module):
    """[B, 3, 299, 299] in [-1, 1] -> [B, 2048]."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, (3, 3), stride=2)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, (3, 3))
        self.Conv2d_2b_3x3 = _Convolution(32, 64, (3, 3), padding=(1, 1))
        self.Conv2d_3b_1x1 = _Convolution(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = _Convolution(80, 192, (3, 3))
        self.Mixed_5b = _BlockA(192, 32)
        self.Mixed_5c = _BlockA(256, 64)
        self.Mixed_5d = _BlockA(288, 64)
        self.Mixed_6a = _BlockB(288)
        self.Mixed_6b = _BlockC(128)
        self.Mixed_6c = _BlockC(160)
        self.Mixed_6d = _BlockC(160)
        self.Mixed_6e = _BlockC(192)
        self.Mixed_7a = _BlockD()
        self.Mixed_7b = _BlockE(1280, last=False)
        self.Mixed_7c = _BlockE(2048, last=True)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        maps = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(maps, 3, 2)))
        maps = functional.max_pool2d(maps, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                maps = block(maps)
        return maps.mean(dim=(2, 3))


class _Convolution(nn.Module):
    def __init__(self, channels: int, out: int, kernel: Kernel, stride: int = 1, padding: Kernel | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding or (0, 0), bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(maps)))


def _same(channels: int, out: int, kernel: Kernel) -> _Convolution:
    """A convolution that keeps height and width."""
    return _Convolution(channels, out, kernel, padding=(kernel[0] // 2, kernel[1] // 2))


def _chain(prefix: str, channels: int, *steps: tuple[int, Kernel]) -> OrderedDict[str, nn.Module]:
    """Convolutions one after the other, called prefix_1, prefix_2 and so on."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (out, kernel) in enumerate(steps, start=1):
        layers[f"{prefix}_{number}"] = _same(channels, out, kernel)
        channels = out
    return layers


class _Block(nn.Module):
    """Branches side by side; their maps are joined in the order of the published network."""

    def add(self, layers: OrderedDict[str, nn.Module]) -> None:
        for name, layer in layers.items():
            self.add_module(name, layer)

    def run(self, prefix: str, maps: Tensor) -> Tensor:
        number = 1
        while hasattr(self, f"{prefix}_{number}"):
            maps = getattr(self, f"{prefix}_{number}")(maps)
            number += 1
        return maps


class _BlockA(_Block):
    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _same(channels, 64, (1, 1))
        self.add(_chain("branch5x5", channels, (48, (1, 1)), (64, (5, 5))))
        self.add(_chain("branch3x3dbl", channels, (64, (1, 1)), (96, (3, 3)), (96, (3, 3))))
        self.branch_pool = _same(channels, pooled, (1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        pooled = self.branch_pool(_mean_pool(maps))
        return torch.cat([self.branch1x1(maps), self.run("branch5x5", maps), self.run("branch3x3dbl", maps), pooled], 1)


class _BlockB(_Block):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3 = _Convolution(channels, 384, (3, 3), stride=2)
        self.add(_chain("branch3x3dbl", channels, (64, (1, 1)), (96, (3, 3))))
        self.branch3x3dbl_3 = _Convolution(96, 96, (3, 3), stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        pooled = functional.max_pool2d(maps, 3, 2)
        return torch.cat([self.branch3x3(maps), self.run("branch3x3dbl", maps), pooled], 1)


class _BlockC(_Block):
    def __init__(self, inner: int) -> None:
        super().__init__()
        row, column, point = (1, 7), (7, 1), (1, 1)
        self.branch1x1 = _same(768, 192, point)
        self.add(_chain("branch7x7", 768, (inner, point), (inner, row), (192, column)))
        steps = ((inner, point), (inner, column), (inner, row), (inner, column), (192, row))
        self.add(_chain("branch7x7dbl", 768, *steps))
        self.branch_pool = _same(768, 192, point)

    def forward(self, maps: Tensor) -> Tensor:
        pooled = self.branch_pool(_mean_pool(maps))
        return torch.cat([self.branch1x1(maps), self.run("branch7x7", maps), self.run("branch7x7dbl", maps), pooled], 1)


class _BlockD(_Block):
    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = _same(768, 192, (1, 1))
        self.branch3x3_2 = _Convolution(192, 320, (3, 3), stride=2)
        self.add(_chain("branch7x7x3", 768, (192, (1, 1)), (192, (1, 7)), (192, (7, 1))))
        self.branch7x7x3_4 = _Convolution(192, 192, (3, 3), stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        pooled = functional.max_pool2d(maps, 3, 2)
        return torch.cat([self.run("branch3x3", maps), self.run("branch7x7x3", maps), pooled], 1)


class _BlockE(_Block):
    def __init__(self, channels: int, *, last: bool) -> None:
        super().__init__()
        self.last = last
        row, column = (1, 3), (3, 1)
        self.branch1x1 = _same(channels, 320, (1, 1))
        self.branch3x3_1 = _same(channels, 384, (1, 1))
        self.branch3x3_2a, self.branch3x3_2b = _same(384, 384, row), _same(384, 384, column)
        self.add(_chain("branch3x3dbl", channels, (448, (1, 1)), (384, (3, 3))))
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = _same(384, 384, row), _same(384, 384, column)
        self.branch_pool = _same(channels, 192, (1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        # The last block of those weights takes the maximum where all others take the mean.
        pooled = self.branch_pool(functional.max_pool2d(maps, 3, 1, 1) if self.last else _mean_pool(maps))
        single, double = self.branch3x3_1(maps), self.run("branch3x3dbl", maps)
        branches = [self.branch1x1(maps), self.branch3x3_2a(single), self.branch3x3_2b(single)]
        return torch.cat([*branches, self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), pooled], 1)


def _mean_pool(maps: Tensor) -> Tensor:
    return functional.avg_pool2d(maps, 3, 1, 1, count_include_pad=False)
