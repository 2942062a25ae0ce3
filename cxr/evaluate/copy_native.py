"""Images at their own sizes, which are opened again only where the search for copies needs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.images.reading import read_size
from cxr.images.squares import fit_square, read_squares

CHECK_SIDE, NATIVE_SIDE = 128, 256  # pixels: of the search, and at most of its last step

Indices = NDArray[np.intp]
Pixels = NDArray[np.uint8]  # [N, S, S]


@dataclass(frozen=True)
class Native:
    """Images of all sizes, of which nothing is held but how to read them: 10,000 of 256 pixels would take 0.7 GB.

    Args:
        sides: the size at which each is looked at, [N], from `CHECK_SIDE` to `NATIVE_SIDE`.
        read: some of them [n] as squares of so many pixels, [n, side, side] uint8.
    """

    sides: Indices
    read: Callable[[Indices, int], Pixels]

    def take(self, chosen: Indices) -> Native:
        """Some of the images."""
        return Native(self.sides[chosen], lambda some, side: self.read(chosen[some], side))


def native_files(paths: Sequence[Path]) -> Native:
    """Of files; now only their headers are read.

    Raises:
        DataError: a file is missing or no image.
    """
    return _native(
        [max(read_size(path)) for path in paths], lambda some, side: read_squares([paths[k] for k in some], side)
    )


def native_arrays(images: Sequence[Pixels] | Pixels, smallest: int = CHECK_SIDE) -> Native:
    """Of images in memory, [H, W] uint8 each; those below ``smallest`` pixels are looked at enlarged."""
    return _native(
        [max(image.shape) for image in images],
        lambda some, side: np.stack([fit_square(images[k], side) for k in some]),
        smallest,
    )


def joined(parts: Sequence[Native]) -> Native:
    """The images of one after those of the other."""
    starts = np.cumsum([0, *(len(part.sides) for part in parts)])

    def read(some: Indices, side: int) -> Pixels:
        whose = np.searchsorted(starts, some, side="right") - 1
        rows = [parts[part].read(np.array([row]), side) for part, row in zip(whose, some - starts[whose], strict=True)]
        return np.concatenate(rows)

    return Native(np.concatenate([part.sides for part in parts]), read)


def _native(longest: list[int], read: Callable[[Indices, int], Pixels], smallest: int = CHECK_SIDE) -> Native:
    return Native(np.clip(np.array(longest, np.intp), smallest, NATIVE_SIDE), read)
