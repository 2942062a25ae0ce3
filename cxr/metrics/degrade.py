"""Real images made worse on purpose: a distance that does not notice says nothing about generated images either."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]  # [N, S, S], 0 = black

BLUR_PIXELS = (0.4, 0.8, 1.2, 1.8, 2.6)  # deviation of the Gaussian, of 128 pixels
NOISE_LEVELS = (4.0, 8.0, 16.0, 28.0, 44.0)  # deviation in grey levels of 255
JPEG_QUALITIES = (40.0, 20.0, 10.0, 5.0, 2.0)
BLUR, NOISE = 1.2, 8.0  # of the reference row "degraded real"


def blur(pixels: Pixels, deviation: float) -> Pixels:
    """Gaussian blur; ``deviation`` in pixels of a side of 128."""
    scaled = ImageFilter.GaussianBlur(deviation * pixels.shape[1] / 128)
    return np.stack([np.asarray(Image.fromarray(image).filter(scaled)) for image in pixels])


def add_noise(pixels: Pixels, deviation: float) -> Pixels:
    """Gaussian noise, ``deviation`` in grey levels; the same for the same images."""
    noise = np.random.default_rng(0).standard_normal(pixels.shape, np.float32)
    return np.clip(np.rint(pixels + noise * deviation), 0, 255).astype(np.uint8)


def compress(pixels: Pixels, quality: float) -> Pixels:
    """JPEG and back."""
    result = np.empty_like(pixels)
    for number, image in enumerate(pixels):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=int(quality))
        with Image.open(file) as decoded:
            result[number] = np.asarray(decoded)
    return result


def degrade(pixels: Pixels) -> Pixels:
    """Blurred and then roughened: what the reference row "degraded real" is made of."""
    return add_noise(blur(pixels, BLUR), NOISE)


# From mild to strong.
DEGRADATIONS: dict[str, tuple[Callable[[Pixels, float], Pixels], tuple[float, ...]]] = {
    "blur": (blur, BLUR_PIXELS),
    "noise": (add_noise, NOISE_LEVELS),
    "JPEG": (compress, JPEG_QUALITIES),
}
