"""Networks that turn images into features, by name; a missing one is said, never replaced by another.

`small` is this project's own and always there. The others are published by others and read from files that the user
has put in place: no metric reaches for the network, and nothing is unpickled. Features that were computed once are
looked up by the hash of the image file and the extractor that made them.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from cxr.images.squares import read_squares
from cxr.metrics.features import Features
from cxr.metrics.result import write_file
from cxr.models.decisions import cache_folder
from cxr.request.errors import CxrError, DataError

BATCH = 32
CHUNK = 512  # images read at once
HASH_BYTES = 32


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


class FeatureCache:
    """The features that one extractor has computed so far, on disk in one folder.

    Each run adds one file that is never changed, so that runs at the same time cannot spoil each other's. A damaged
    file is passed over: what it held is computed again.

    Args:
        folder: where all extractors' features are; None keeps nothing.
        extractor_id: name, version and weights of the extractor; others' features are not seen.
    """

    def __init__(self, folder: Path | None, extractor_id: str) -> None:
        # Only a hash of the identity goes into the name: it may hold characters that no file name can.
        self.folder = folder / hashlib.sha256(extractor_id.encode()).hexdigest()[:16] if folder else None
        self.rows: dict[str, NDArray[np.float32]] = {}
        for path in sorted(self.folder.glob("*.safetensors")) if self.folder else ():
            with contextlib.suppress(OSError, SafetensorError, KeyError, ValueError):
                part = load_file(path)
                names = part["sha256"].reshape(-1, HASH_BYTES)
                self.rows |= {
                    row.tobytes().hex(): features for row, features in zip(names, part["features"], strict=True)
                }

    def add(self, hashes: Sequence[str], features: NDArray[np.float32]) -> None:
        """Keep the features [N, D] of files; a full or read-only disk only makes the next run slower."""
        self.rows |= dict(zip(hashes, features, strict=True))
        if self.folder is None or not len(hashes):
            return
        names = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, HASH_BYTES)
        data = save({"sha256": names.copy(), "features": np.ascontiguousarray(features, np.float32)})
        with contextlib.suppress(CxrError):
            write_file(self.folder / f"{hashlib.sha256(data).hexdigest()[:24]}.safetensors", data)


def default_cache() -> Path:
    """Where features are kept unless the user says otherwise."""
    return cache_folder() / "features"


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
    missing = {sha256: path for sha256, path in zip(hashes, paths, strict=True) if sha256 not in cache.rows}
    new = list(missing)
    for start in range(0, len(new), CHUNK):
        chunk = new[start : start + CHUNK]
        cache.add(chunk, embed(read_squares([missing[sha256] for sha256 in chunk], extractor.size), extractor))
    return np.stack([cache.rows[sha256] for sha256 in hashes])


def embed(pixels: NDArray[np.uint8], extractor: Extractor) -> NDArray[np.float32]:
    """Features of pixels that are already squares of the extractor's size: [N, S, S] uint8 -> [N, D]."""
    with torch.inference_mode():
        rows = [extractor.embed(pixels[k : k + BATCH]).float().cpu() for k in range(0, len(pixels), BATCH)]
    features = torch.cat(rows).numpy()
    if not np.isfinite(features).all():
        raise DataError(f"extractor {extractor.name} returned a value that is not finite; its weights may be damaged")
    return features
