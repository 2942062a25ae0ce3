"""An invisible mark in the pixels: noise in a middle band of frequencies, found again by correlation.

Spread spectrum (Cox et al. 1997, doi 10.1109/83.650120): the sum of 48 patterns, each a bit of its own, and of one that
tells where and how large they lie after a crop or a change of size. It is stronger where the picture is lively, where
eyes see it least. It is not secret: anybody can remove it, or put it on a real film.
"""

from __future__ import annotations

import functools
import hashlib
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NUM_BITS = 48
FEWEST_BITS = 42  # by chance 1 picture of 20 million has so many: the tail of 48 tosses of a coin
SIDE = 256  # pixels of the patterns along the longer side of a picture
BAND = (10, 54)  # cycles along that side: below, pictures are strongest; above, JPEG and halving take it away
PLACING_SHARE = 0.3  # of the mark's energy
STRENGTHS = (36.0, 60.0)  # dB that may be asked for
LARGEST = 512  # pixels along the longer side of a picture that is searched; larger ones are made smaller first
FIELD = 320  # pixels of the field in which a picture is searched for the patterns, at each of the sizes
SMALLEST = 60  # pixels along the longer side, once brought to the patterns' size
CROPPED_TO = np.arange(0.74, 1.0001, 0.01)  # shares of the side that may be left

Spectra = NDArray[np.complex128]


class FoundMark(NamedTuple):
    """What a search for the mark gave.

    Args:
        num_bits: of `NUM_BITS` that are there; half of them in a picture without the mark.
        peak: of the correlation with the placing pattern, in its standard deviations.
    """

    num_bits: int
    peak: float

    @property
    def is_there(self) -> bool:
        """Whether so many bits are no accident."""
        return self.num_bits >= FEWEST_BITS


def mark_for(unit: NDArray[np.floating], psnr: float) -> NDArray[np.float64]:
    """The mark to add to a picture.

    Args:
        unit: [H, W] float, 0 = black, 1 = white.
        psnr: of the marked picture against this one in dB, one of `STRENGTHS` or between.
    Returns:
        [H, W] float64, of mean square 10 ** (-psnr / 10).
    """
    side = max(unit.shape)
    mark = _whole_pattern(side)[: unit.shape[0], : unit.shape[1]] * _liveliness(
        unit.astype(np.float64) * 255, side / SIDE
    )
    scaled: NDArray[np.float64] = mark * (10 ** (-psnr / 20) / math.sqrt(float((mark**2).mean())))
    return scaled


def find_mark(pixels: NDArray[np.generic]) -> FoundMark:
    """Look for the mark at every place, in whole pictures of any size and in what a crop has left of one.

    Args:
        pixels: [H, W] grey levels, 0 to 255.
    """
    if (shrink := LARGEST / max(pixels.shape)) < 1:
        pixels = _resized(pixels, _scaled(pixels.shape, shrink))
    best, spectrum, place = -math.inf, None, (0, 0)
    patterns = _conjugate_spectra()
    for shape in _shapes(pixels.shape):
        candidate = _whitened(_resized(pixels, shape))
        correlation = np.fft.irfft2(candidate * patterns[0], s=(FIELD, FIELD))
        if (spread := float(correlation.std())) == 0:
            continue
        top = int(correlation.argmax())
        if (peak := float(correlation.flat[top]) / spread) > best:
            best, spectrum, place = peak, candidate, divmod(top, FIELD)
    if spectrum is None:
        return FoundMark(0, 0.0)
    rows, columns = _frequencies(FIELD)
    moved_back = spectrum * np.exp(2j * math.pi / FIELD * (rows * place[0] + columns * place[1]))
    # Of a real picture half of the frequencies are kept: those that stand for their mirror image, too, count twice.
    twice = np.where((columns == 0) | (columns == FIELD // 2), 1.0, 2.0)
    agreements = np.real((moved_back * patterns[1:] * twice).sum(axis=(1, 2)))
    return FoundMark(int((agreements > 0).sum()), best)


def _liveliness(levels: NDArray[np.float64], pixel: float) -> NDArray[np.float64]:
    """How strong the mark may be where, around 1: by the contrast of fine detail in the neighbourhood."""
    detail = levels - _blurred(levels, 2 * pixel)
    contrast = np.sqrt(_blurred(detail**2, 6 * pixel)) + 1.5
    shares: NDArray[np.float64] = (contrast / math.sqrt(float((contrast**2).mean()))).clip(0.35, 2.5)
    return shares


@functools.lru_cache(maxsize=4)
def _whole_pattern(side: int) -> NDArray[np.float64]:
    """The sum of all patterns, [side, side]."""
    shares = [PLACING_SHARE, *[(1 - PLACING_SHARE) / NUM_BITS] * NUM_BITS]
    total = np.sum([math.sqrt(share) * _pattern(number) for number, share in enumerate(shares)], axis=0)
    return _resized(total, (side, side))


def _pattern(number: int) -> NDArray[np.float64]:
    """Noise in the band, [SIDE, SIDE], of mean square 1; the same with every version of a library."""
    data = hashlib.shake_256(f"CXR Studio, mark in the pixels, pattern {number}".encode()).digest(SIDE * SIDE // 8)
    noise = np.unpackbits(np.frombuffer(data, np.uint8)).reshape(SIDE, SIDE) * 2.0 - 1
    inside = np.fft.irfft2(np.fft.rfft2(noise) * _is_in_band(SIDE), s=(SIDE, SIDE))
    pattern: NDArray[np.float64] = inside / inside.std()
    return pattern


@functools.lru_cache(maxsize=1)
def _conjugate_spectra() -> Spectra:
    """Of the placing pattern and of each bit's, in the field: [1 + NUM_BITS, FIELD, FIELD // 2 + 1]."""
    shape = (FIELD, FIELD)
    return np.array([np.conj(np.fft.rfft2(_pattern(number), s=shape)) for number in range(1 + NUM_BITS)])


def _frequencies(side: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Of the rows, [side, 1], and of the columns, [1, side // 2 + 1], in cycles along the side."""
    return np.fft.fftfreq(side)[:, None] * side, np.fft.rfftfreq(side)[None] * side


def _is_in_band(side: int) -> NDArray[np.bool_]:
    radius = np.hypot(*_frequencies(side)) * (SIDE / side)
    inside: NDArray[np.bool_] = (radius >= BAND[0]) & (radius <= BAND[1])
    return inside


def _shapes(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Sizes at which the patterns may fit: that of a whole picture, of parts of one, and unchanged, halved, doubled."""
    side = max(shape)
    factors = {round(float(factor), 4) for factor in (*(SIDE / side * CROPPED_TO), 0.5, 1.0, 2.0)}
    fitting = sorted(factor for factor in factors if SMALLEST <= side * factor <= FIELD)
    return [_scaled(shape, factor) for factor in fitting]


def _scaled(shape: tuple[int, ...], factor: float) -> tuple[int, int]:
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _whitened(values: NDArray[np.float64]) -> Spectra:
    """A picture's spectrum in the band, all of whose frequencies and places count alike, as they do in noise."""
    detail = values - _blurred(values, 3)
    detail /= np.sqrt(_blurred(detail**2, 6)) + 1
    spectrum = np.fft.rfft2(detail, s=(FIELD, FIELD))
    rings = np.rint(np.hypot(*_frequencies(FIELD))).astype(int)
    power = np.bincount(rings.ravel(), weights=(np.abs(spectrum) ** 2).ravel()) / np.bincount(rings.ravel())
    white: Spectra = spectrum / np.sqrt(power[rings] + 1e-9) * _is_in_band(FIELD)
    return white


def _blurred(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter  # takes its time, and pages start without it

    blurred: NDArray[np.float64] = gaussian_filter(values, sigma)
    return blurred


def _resized(values: NDArray[np.generic], shape: tuple[int, int]) -> NDArray[np.float64]:
    """[H, W] of another size, or as it is."""
    if values.shape == shape:
        return values.astype(np.float64)
    picture = Image.fromarray(values.astype(np.float32)).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(picture, np.float64)
