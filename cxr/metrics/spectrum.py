"""How much detail of which size images hold: power by spatial frequency."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

EDGES = (2, 8, 16, 24, 32, 48, 64, 96)  # cycles per image; with 256 pixels the finest that there is are 128
BANDS = tuple(f"{low}-{high}" for low, high in pairwise(EDGES))
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)  # of the finest frequency that images can hold


def edges_of(side: int) -> tuple[float, ...]:
    """Edges of bands for images of this side: `SHARES` of its finest frequency, in cycles per image."""
    return tuple(share * side / 2 for share in SHARES)


def band_powers(pixels: NDArray[np.uint8], edges: Sequence[float] = EDGES) -> NDArray[np.float64]:
    """Power of square images in bands of frequency, under a Hann window, so that borders count little.

    Args:
        pixels: [N, S, S] uint8; S at least twice the last edge.
        edges: of the bands, in cycles per image, rising.
    Returns:
        [N, len(edges) - 1] in squared grey levels of [-1, 1], summed over each band.
    """
    side = pixels.shape[1]
    window = np.hanning(side + 1)[:side]
    frequencies = np.fft.fftfreq(side, 1 / side)
    radius = np.hypot(frequencies[:, None], np.fft.rfftfreq(side, 1 / side))
    inside = np.array([(radius >= low) & (radius < high) for low, high in pairwise(edges)]).reshape(len(edges) - 1, -1)
    rows = []
    for image in pixels:
        grey = image / 127.5 - 1
        spectrum = np.fft.rfft2((grey - grey.mean()) * window[:, None] * window) / side**2
        rows.append(inside @ np.square(np.abs(spectrum)).ravel())
    return np.array(rows).reshape(len(pixels), len(edges) - 1)
