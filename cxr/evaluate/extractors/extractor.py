"""Networks that turn images into features, by name; a missing one is said, never replaced by another.

`small` is this project's own and always there. The others are published by others and read from files that the user
has put in place: no metric reaches for the network, and nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxr.evaluate.extractors.feature_cache import FeatureCache
from cxr.images.squares import read_squares
from cxr.metrics.features import Features
from cxr.request.errors import DataError

BATCH = 32
CHUNK = 512  # images read at once


@dataclass(frozen=True)
class Extractor:
    """A network, and how images must be given to it.

    Args:
        name: as the user types it.
        version: of the code around the weights; another version's cached features are not used.
        weights_sha256: of the weights file.
        size: side of the square images that it takes, in pixels.
        embed: [B, size, size] uint8 -> [B, D] float32.
    """

    name: str
    version: int
    weights_sha256: str
    size: int
    embed: Callable[[NDArray[np.uint8]], Tensor] = field(repr=False)

    @property
    def id(self) -> str:
        """What features are told apart by."""
        return f"{self.name} {self.version} {self.weights_sha256}"


def extract(paths: Sequence[Path], hashes: Sequence[str], extractor: Extractor, cache: FeatureCache) -> Features:
    """Features [N, D] float32 of image files; those in the cache are not computed again.

    Args:
        paths: N files.
        hashes: SHA-256 of each.
        extractor: what computes them.
        cache: of this extractor.
    Raises:
        DataError: a file cannot be read.
    """
    missing = {sha256: path for sha256, path in zip(hashes, paths, strict=True) if sha256 not in cache}
    new = list(missing)
    for start in range(0, len(new), CHUNK):
        chunk = new[start : start + CHUNK]
        pixels = read_squares([missing[sha256] for sha256 in chunk], extractor.size)
        cache.add(chunk, embed(pixels, extractor))
    return cache.get(hashes)


def embed(pixels: NDArray[np.uint8], extractor: Extractor) -> NDArray[np.float32]:
    """Features of pixels that are already squares of the extractor's size: [N, S, S] uint8 -> [N, D]."""
    rows = []
    for start in range(0, len(pixels), BATCH):
        with torch.inference_mode():
            rows.append(extractor.embed(pixels[start : start + BATCH]).float().cpu())
    features = torch.cat(rows).numpy()
    if not np.isfinite(features).all():
        raise DataError(f"extractor {extractor.name} returned a value that is not finite; its weights may be damaged")
    return features
