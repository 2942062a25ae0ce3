"""Inception v3 up to its last pooling: the features of FID and KID.

The variant with which TensorFlow's 2015 weights were trained, which Heusel et al. (NeurIPS 2017) measured with. It
differs from the usual one in its poolings only. Layers are named as in the published PyTorch weights. Written out here:
torchmetrics has it through torch-fidelity, which downloads pickled weights by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE = 299
WIDTH = 2048

Kernel = tuple[int, int]
Steps = tuple[tuple[int, Kernel], ...]  # convolutions one after the other: channels and kernel
POINT, ROW, COLUMN, SQUARE, LARGE = (1, 1), (1, 7), (7, 1), (3, 3), (5, 5)
DOUBLE: Steps = ((64, POINT), (96, SQUARE), (96, SQUARE))


class InceptionFeatures(nn.Module):
    """[B, 3, 299, 299] in [-1, 1] -> [B, 2048]."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, SQUARE, stride=2, padding=(0, 0))
        self.Conv2d_2a_3x3 = _Convolution(32, 32, SQUARE, padding=(0, 0))
        self.Conv2d_2b_3x3 = _Convolution(32, 64, SQUARE)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, POINT)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, SQUARE, padding=(0, 0))
        for name, channels, pooled in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
            self.add_module(f"Mixed_{name}", _block_a(channels, pooled))
        self.Mixed_6a = _Block(288, {"branch3x3": ((384, SQUARE),), "branch3x3dbl": DOUBLE}, halving=True)
        for name, inner in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            self.add_module(f"Mixed_{name}", _block_c(inner))
        turned: Steps = ((192, POINT), (192, ROW), (192, COLUMN), (192, SQUARE))
        self.Mixed_7a = _Block(768, {"branch3x3": ((192, POINT), (320, SQUARE)), "branch7x7x3": turned}, halving=True)
        self.Mixed_7b = _ForkedBlock(1280, largest=False)
        self.Mixed_7c = _ForkedBlock(2048, largest=True)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        maps = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(maps, 3, 2)))
        maps = functional.max_pool2d(maps, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                maps = block(maps)
        pooled: Tensor = maps.mean(dim=(2, 3))
        return pooled


class _Convolution(nn.Module):
    """Keeps height and width unless ``stride`` or ``padding`` say otherwise."""

    def __init__(self, channels: int, out: int, kernel: Kernel, stride: int = 1, padding: Kernel | None = None) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if padding is None else padding
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(maps)))


class _Block(nn.Module):
    """Branches side by side, and last the pooled maps; their maps are joined in the order of the published network.

    Args:
        channels: of the maps that come in.
        branches: name -> its convolutions; several are called name_1, name_2 and so on.
        pooled: channels of a convolution behind the pooling, 0 for none.
        halving: the last convolution of each branch and the pooling halve height and width.
    """

    def __init__(self, channels: int, branches: dict[str, Steps], pooled: int = 0, *, halving: bool = False) -> None:
        super().__init__()
        self.halving, self.layers = halving, {name: self._names(name, len(steps)) for name, steps in branches.items()}
        for name, steps in branches.items():
            before = channels
            for layer, (out, kernel) in zip(self.layers[name], steps, strict=True):
                last = halving and layer == self.layers[name][-1]
                stride, padding = (2, (0, 0)) if last else (1, None)
                self.add_module(layer, _Convolution(before, out, kernel, stride, padding))
                before = out
        if pooled:
            self.branch_pool = _Convolution(channels, pooled, POINT)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([*(self.run(name, maps) for name in self.layers), self.pool(maps)], 1)

    def run(self, name: str, maps: Tensor) -> Tensor:
        for layer in self.layers[name]:
            maps = self.get_submodule(layer)(maps)
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        if self.halving:
            return functional.max_pool2d(maps, 3, 2)
        pooled: Tensor = self.branch_pool(functional.avg_pool2d(maps, 3, 1, 1, count_include_pad=False))
        return pooled

    @staticmethod
    def _names(name: str, count: int) -> list[str]:
        return [name] if count == 1 else [f"{name}_{number}" for number in range(1, count + 1)]


class _ForkedBlock(_Block):
    """Two of its branches end in a flat and an upright convolution side by side."""

    def __init__(self, channels: int, *, largest: bool) -> None:
        ends: dict[str, Steps] = {"branch3x3_1": ((384, POINT),), "branch3x3dbl": ((448, POINT), (384, SQUARE))}
        super().__init__(channels, {"branch1x1": ((320, POINT),), **ends}, 192)
        self.largest = largest
        for name in ("branch3x3_2a", "branch3x3dbl_3a"):
            self.add_module(name, _Convolution(384, 384, (1, 3)))
            self.add_module(f"{name[:-1]}b", _Convolution(384, 384, (3, 1)))

    def forward(self, maps: Tensor) -> Tensor:
        single, double = self.run("branch3x3_1", maps), self.run("branch3x3dbl", maps)
        forks = [self.get_submodule(f"branch3x3_2{end}")(single) for end in "ab"]
        forks += [self.get_submodule(f"branch3x3dbl_3{end}")(double) for end in "ab"]
        return torch.cat([self.run("branch1x1", maps), *forks, self.pool(maps)], 1)

    def pool(self, maps: Tensor) -> Tensor:
        # The last block of those weights takes the maximum where all others take the mean.
        return self.branch_pool(functional.max_pool2d(maps, 3, 1, 1)) if self.largest else super().pool(maps)


def _block_a(channels: int, pooled: int) -> _Block:
    wide: Steps = ((48, POINT), (64, LARGE))
    branches: dict[str, Steps] = {"branch1x1": ((64, POINT),), "branch5x5": wide, "branch3x3dbl": DOUBLE}
    return _Block(channels, branches, pooled)


def _block_c(inner: int) -> _Block:
    double: Steps = ((inner, POINT), (inner, COLUMN), (inner, ROW), (inner, COLUMN), (192, ROW))
    single: Steps = ((inner, POINT), (inner, ROW), (192, COLUMN))
    return _Block(768, {"branch1x1": ((192, POINT),), "branch7x7": single, "branch7x7dbl": double}, 192)
