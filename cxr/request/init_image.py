"""A picture that images begin from: its grey levels, and the hash by which recipes call it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxr.request.errors import RequestError

MAX_SIDE = 1_024  # pixels that are kept of a side: as many as the largest model makes
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class InitImage:
    """A picture that images begin from. It has no name: a visitor's file name stays with its sender.

    Args:
        width: in pixels.
        height: in pixels.
        levels: [height, width] uint8, row by row, 0 = black.
        sha256: of the 8-bit levels of the whole picture, row by row, in hex; ``levels`` may be a smaller copy.

    Raises:
        RequestError: the values do not fit together.
    """

    width: int
    height: int
    levels: bytes = field(repr=False)
    sha256: str

    def __post_init__(self) -> None:
        is_whole = 0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE
        if not is_whole or len(self.levels) != self.width * self.height or not SHA256.fullmatch(self.sha256):
            raise RequestError(f"is not a picture of at most {MAX_SIDE:,} × {MAX_SIDE:,} pixels", field="init_image")

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """[height, width] uint8, 0 = black."""
        return np.frombuffer(self.levels, np.uint8).reshape(self.height, self.width)


def hash_of(pixels: NDArray[np.uint8]) -> str:
    """The hash by which recipes call a picture [H, W] uint8: of its levels, row by row."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
