"""DenseNet-121 for one grey channel, as TorchXRayVision publishes it (Cohen et al., MIDL 2022).

Layers are named as in torchvision and in those weights; only the features are built, the classifier is not.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE = 224
GREY_RANGE = 1024.0  # grey levels go from -1024 (black) to 1024 (white)
GROWTH = 32
BOTTLENECK = 4 * GROWTH
LAYERS = (6, 12, 24, 16)


class DenseNetFeatures(nn.Module):
    """[B, 1, 224, 224] in [-1024, 1024] -> [B, 1024]."""

    def __init__(self) -> None:
        super().__init__()
        width = 64
        start = {"conv0": nn.Conv2d(1, width, 7, 2, 3, bias=False), "norm0": nn.BatchNorm2d(width)}
        start |= {"relu0": nn.ReLU(inplace=True), "pool0": nn.MaxPool2d(3, 2, 1)}
        self.features = nn.Sequential(OrderedDict(start))
        for number, count in enumerate(LAYERS, start=1):
            layers = {f"denselayer{k + 1}": _DenseLayer(width + k * GROWTH) for k in range(count)}
            self.features.add_module(f"denseblock{number}", nn.Sequential(OrderedDict(layers)))
            width += count * GROWTH
            if number < len(LAYERS):
                self.features.add_module(f"transition{number}", _transition(width))
                width //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(width))

    def forward(self, images: Tensor) -> Tensor:
        return functional.relu(self.features(images)).mean(dim=(2, 3))


class _DenseLayer(nn.Module):
    """Adds `GROWTH` channels to what it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, BOTTLENECK, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK)
        self.conv2 = nn.Conv2d(BOTTLENECK, GROWTH, 3, 1, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.conv1(functional.relu(self.norm1(maps)))
        return torch.cat([maps, self.conv2(functional.relu(self.norm2(inner)))], dim=1)


def _transition(width: int) -> nn.Sequential:
    layers = {"norm": nn.BatchNorm2d(width), "relu": nn.ReLU(inplace=True)}
    layers |= {"conv": nn.Conv2d(width, width // 2, 1, bias=False), "pool": nn.AvgPool2d(2, 2)}
    return nn.Sequential(OrderedDict(layers))
