"""Features that were computed once: looked up by the hash of the image file and the extractor that made them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from cxr.metrics.result import write_file
from cxr.request.errors import CxrError

HASH_BYTES = 32


def default_folder() -> Path:
    """Where features are kept unless the user says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxr-studio" / "features"


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

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self.rows

    def add(self, hashes: Sequence[str], features: NDArray[np.float32]) -> None:
        """Keep the features [N, D] of files; a full or read-only disk only makes the next run slower."""
        self.rows |= dict(zip(hashes, features, strict=True))
        if self.folder is None or not len(hashes):
            return
        names = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, HASH_BYTES)
        data = save({"sha256": names.copy(), "features": np.ascontiguousarray(features, np.float32)})
        with contextlib.suppress(CxrError):
            write_file(self.folder / f"{hashlib.sha256(data).hexdigest()[:24]}.safetensors", data)

    def get(self, hashes: Sequence[str]) -> NDArray[np.float32]:
        """Features [N, D] of files that are all known."""
        return np.stack([self.rows[sha256] for sha256 in hashes])
