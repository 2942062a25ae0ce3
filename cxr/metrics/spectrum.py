"""How much detail of which size images hold: power by spatial frequency."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

EDGES = (2, 8, 16, 24, 32, 48, 64, 96)  # cycles per image; with 256 pixels the finest that there is are 128
BANDS = tuple(f"{low}-{high}" for low, high in pairwise(EDGES))


def band_powers(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Power of square images in `BANDS`, under a Hann window, so that borders count little.

    Args:
        pixels: [N, S, S] uint8; S at least 192.
    Returns:
        [N, len(BANDS)] in squared grey levels of [-1, 1], summed over each band.
    """
    side = pixels.shape[1]
    window = np.hanning(side + 1)[:side]
    frequencies = np.fft.fftfreq(side, 1 / side)
    radius = np.hypot(frequencies[:, None], np.fft.rfftfreq(side, 1 / side))
    inside = np.array([(radius >= low) & (radius < high) for low, high in pairwise(EDGES)]).reshape(len(BANDS), -1)
    rows = []
    for image in pixels:
        grey = image / 127.5 - 1
        spectrum = np.fft.rfft2((grey - grey.mean()) * window[:, None] * window) / side**2
        rows.append(inside @ np.square(np.abs(spectrum)).ravel())
    return np.array(rows).reshape(len(pixels), len(BANDS))
