"""Images that are searched for copies, and copies that are planted to try the search."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cxr.evaluate.alignment import warped
from cxr.metrics.features import Features
from cxr.request.errors import DataError

NUM_PLANTED = 100
PLANTED_SHIFT, PLANTED_ANGLE = 0.02, 2.0  # share of the side; degrees
PLANTED_CONTRAST, PLANTED_NOISE = 0.1, 2.0  # share; grey levels

Embed = Callable[[NDArray[np.uint8]], Features]


@dataclass(frozen=True)
class CopySet:
    """Images of one kind.

    Args:
        pixels: [N, 128, 128] uint8.
        features: [N, D] by the name of the extractor; may be empty.
        names: of the N files, all different.
        hashes: SHA-256 of the N files.
    Raises:
        DataError: the parts do not belong together.
    """

    pixels: NDArray[np.uint8]
    features: Mapping[str, Features]
    names: tuple[str, ...]
    hashes: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[1] != shape[2]:
            raise DataError(f"pixels are {list(shape)} {self.pixels.dtype}; use squares, [N, 128, 128] uint8")
        counts = {len(part) for part in (self.names, self.hashes, *self.features.values())}
        if counts != {len(self.pixels)}:
            raise DataError(f"{len(self.pixels)} images have {sorted(counts)} names, hashes or features; use one each")
        if len(set(self.names)) < len(self.names):
            raise DataError("two images have the same name; put the names of their folders in front")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pixels)

    def take(self, indices: NDArray[np.generic]) -> CopySet:
        """Some of the images, by indices [n] or flags [N]."""
        chosen = np.arange(len(self))[indices]
        features = {name: rows[chosen] for name, rows in self.features.items()}
        names, hashes = (tuple(part[index] for index in chosen) for part in (self.names, self.hashes))
        return CopySet(self.pixels[chosen], features, names, hashes)


def plant_copies(training: CopySet, seed: int = 0, embed: Mapping[str, Embed] | None = None) -> CopySet:
    """Plant copies: up to `NUM_PLANTED` training images as a model that knows them by heart might draw them.

    Each is shifted by 2 % in some direction, turned by 2 degrees, blurred, given 10 % more or less contrast and noise,
    all at once.

    Args:
        training: what they are chosen from.
        seed: of the choice, the directions and the noise.
        embed: the extractors; without one the result lacks its features.
    """
    rng = np.random.default_rng(seed)
    count = min(NUM_PLANTED, len(training))
    chosen = training.take(np.sort(rng.choice(len(training), count, replace=False)))
    direction, sign = rng.uniform(0, 2 * np.pi, count), rng.choice([-1.0, 1.0], (2, count))
    shift = PLANTED_SHIFT * np.cos(direction), PLANTED_SHIFT * np.sin(direction)
    transform = np.stack([*shift, PLANTED_ANGLE * sign[0], np.zeros(count)], axis=1)
    shifted, _ = warped(torch.from_numpy(chosen.pixels).float(), torch.from_numpy(transform).float())
    moved = functional.avg_pool2d(shifted, 3, stride=1, padding=1, count_include_pad=False).double().numpy()
    means = moved.mean(axis=(1, 2), keepdims=True)
    changed = means + (moved - means) * (1 + PLANTED_CONTRAST * sign[1])[:, None, None]
    changed += rng.normal(0, PLANTED_NOISE, changed.shape)
    pixels = changed.round().clip(0, 255).astype(np.uint8)
    features = {name: make(pixels) for name, make in (embed or {}).items() if name in training.features}
    hashes = tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in pixels)
    return CopySet(pixels, features, chosen.names, hashes)
