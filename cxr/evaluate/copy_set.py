"""Images that are searched for copies, and copies of all kinds that are planted to try the search."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps
from torch.nn import functional

from cxr.evaluate.copy_native import Native, Pixels, native_arrays
from cxr.evaluate.copy_transforms import warped
from cxr.metrics.features import Features
from cxr.request.errors import DataError

NUM_PLANTED = 50  # of each kind
REMADE = "re-made: moved, turned, blurred, noisy"
PLANTED_SHIFT, PLANTED_ANGLE = 0.02, 2.0  # share of the side; degrees
PLANTED_CONTRAST, PLANTED_NOISE = 0.1, 2.0  # share; grey levels
BLEND = 0.7  # share of the training image
BORDER = 0.08  # share of the side

Change = Callable[[Pixels, Pixels, np.random.Generator], Pixels]  # of images, beside those of strangers
Embed = Callable[[Pixels], Features]


@dataclass(frozen=True)
class CopySet:
    """Images of one kind.

    Args:
        pixels: [N, 128, 128] uint8.
        features: [N, D] by the name of the extractor; may be empty.
        names: of the N files, all different.
        hashes: SHA-256 of the N files.
        native: the images at their own sizes; None where the pixels are all there is.
    Raises:
        DataError: the parts do not belong together.
    """

    pixels: Pixels
    features: Mapping[str, Features]
    names: tuple[str, ...]
    hashes: tuple[str, ...]
    native: Native | None = None

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[1] != shape[2]:
            raise DataError(f"pixels are {list(shape)} {self.pixels.dtype}; use squares, [N, 128, 128] uint8")
        sides = () if self.native is None else (self.native.sides,)
        counts = {len(part) for part in (self.names, self.hashes, *self.features.values(), *sides)}
        if counts != {len(self.pixels)}:
            raise DataError(
                f"{len(self.pixels)} images have {sorted(counts)} names, hashes, features or sizes; use one each"
            )
        if len(set(self.names)) < len(self.names):
            raise DataError("two images have the same name; put the names of their folders in front")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pixels)

    @property
    def at_own_size(self) -> Native:
        """The images at their own sizes."""
        return self.native or native_arrays(self.pixels, self.pixels.shape[1])

    def take(self, indices: NDArray[np.generic]) -> CopySet:
        """Some of the images, by indices [n] or flags [N]."""
        chosen = np.arange(len(self))[indices]
        features = {name: rows[chosen] for name, rows in self.features.items()}
        names, hashes = (tuple(part[index] for index in chosen) for part in (self.names, self.hashes))
        native = self.native and self.native.take(chosen)
        return CopySet(self.pixels[chosen], features, names, hashes, native)


def plant_copies(
    training: CopySet, others: CopySet, seed: int = 0, embed: Mapping[str, Embed] | None = None
) -> Iterator[tuple[str, CopySet]]:
    """Copies of up to `NUM_PLANTED` training images, once for each kind of change that the search should see through.

    Each is made at its original's own size.

    Args:
        training: what they are chosen from.
        others: images of other patients, for what is half a copy.
        seed: of all choices.
        embed: the extractors; without one the results lack its features.
    """
    rng = np.random.default_rng(seed)
    chosen = training.take(np.sort(rng.choice(len(training), min(NUM_PLANTED, len(training)), replace=False)))
    beside = rng.integers(len(others), size=len(chosen))
    originals, strangers = chosen.at_own_size, others.at_own_size
    sized = [(np.flatnonzero(originals.sides == side), side) for side in np.unique(originals.sides).tolist()]
    groups = [(originals.read(rows, side), strangers.read(beside[rows], side)) for rows, side in sized]
    order = np.argsort(np.concatenate([rows for rows, _ in sized]))
    for kind, change in KINDS.items():
        made = [image for group in groups for image in change(*group, rng)]
        native = native_arrays([made[place] for place in order])
        pixels = native.read(np.arange(len(chosen)), training.pixels.shape[1])
        features = {name: make(pixels) for name, make in (embed or {}).items() if name in training.features}
        hashes = tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in pixels)
        yield kind, CopySet(pixels, features, chosen.names, hashes, native)


def _remade(pixels: Pixels, _: Pixels, rng: np.random.Generator) -> Pixels:
    """As a model that knows them by heart might draw them: several small changes at once."""
    count = len(pixels)
    direction, sign = rng.uniform(0, 2 * np.pi, count), rng.choice([-1.0, 1.0], (2, count))
    shift = PLANTED_SHIFT * np.cos(direction), PLANTED_SHIFT * np.sin(direction)
    transform = np.stack([*shift, PLANTED_ANGLE * sign[0], np.zeros(count)], axis=1)
    shifted, _inside = warped(torch.from_numpy(pixels).float(), torch.from_numpy(transform).float())
    moved = functional.avg_pool2d(shifted, 3, stride=1, padding=1, count_include_pad=False).double().numpy()
    means = moved.mean(axis=(1, 2), keepdims=True)
    changed = means + (moved - means) * (1 + PLANTED_CONTRAST * sign[1])[:, None, None]
    changed += rng.normal(0, PLANTED_NOISE, changed.shape)
    return np.asarray(changed.round().clip(0, 255).astype(np.uint8))


def _each(change: Callable[..., Image.Image], **settings: float) -> Change:
    return lambda pixels, _, __: np.stack([np.asarray(change(Image.fromarray(image), **settings)) for image in pixels])


def _crop(image: Image.Image, share: float, *, at_corner: bool = False) -> Image.Image:
    """Without so much of each edge, or of the left and the upper one alone, enlarged again."""
    cut = share * image.width
    end = image.width if at_corner else image.width - cut
    return image.resize(image.size, Image.Resampling.BICUBIC, (cut, cut, end, end))


def _frame(image: Image.Image, *, over: bool) -> Image.Image:
    """A black border, over the image or around it."""
    width = round(BORDER * image.width)
    size = (image.width - 2 * width,) * 2
    inner = image.crop((width, width, width + size[0], width + size[0])) if over else image.resize(size)
    return ImageOps.expand(inner, width, fill=0)


def _half(pixels: Pixels, others: Pixels, _: np.random.Generator, *, axis: int) -> Pixels:
    middle = pixels.shape[1] // 2
    parts = np.split(pixels, [middle], axis=axis), np.split(others, [middle], axis=axis)
    return np.concatenate([parts[0][0], parts[1][1]], axis=axis)


def _quarter(pixels: Pixels, others: Pixels, rng: np.random.Generator, *, inner: bool) -> Pixels:
    """A quarter in the stranger's place of it: one of the four, or one that lies anywhere."""
    middle = pixels.shape[1] // 2
    mixed = others.copy()
    for image, original in zip(mixed, pixels, strict=True):
        top, left = rng.integers(0, middle + 1, 2) if inner else rng.integers(0, 2, 2) * middle
        part = slice(top, top + middle), slice(left, left + middle)
        image[part] = original[part]
    return mixed


KINDS: dict[str, Change] = {
    REMADE: _remade,
    "cropped by 5 %": _each(_crop, share=0.05),
    "cropped by 10 %": _each(_crop, share=0.10),
    "cropped by 15 %": _each(_crop, share=0.15),
    "cropped by 20 %": _each(_crop, share=0.20),
    "20 % cut off at a corner": _each(_crop, share=0.20, at_corner=True),
    "zoomed by 20 %": _each(_crop, share=1 / 12),
    "mirrored": _each(ImageOps.mirror),
    "shifted by 10 %": _each(lambda image: ImageChops.offset(image, round(0.1 * image.width), 0)),
    "turned by 10 degrees": _each(lambda image: image.rotate(10, Image.Resampling.BICUBIC)),
    "turned by 15 degrees": _each(lambda image: image.rotate(-15, Image.Resampling.BICUBIC)),
    "turned by 90 degrees": lambda pixels, _, __: np.rot90(pixels, axes=(1, 2)).copy(),
    "upside down": lambda pixels, _, __: pixels[:, ::-1].copy(),
    "black border over it": _each(_frame, over=True),
    "black border around it": _each(_frame, over=False),
    "left half copied": partial(_half, axis=2),
    "upper half copied": partial(_half, axis=1),
    "a quarter copied": partial(_quarter, inner=False),
    "a quarter copied, anywhere": partial(_quarter, inner=True),
    "inverted": lambda pixels, _, __: 255 - pixels,
    "equalised": _each(ImageOps.equalize),
    "blended 70/30": lambda pixels, others, _: np.rint(BLEND * pixels + (1 - BLEND) * others).astype(np.uint8),
    "mirrored, turned, cropped": _each(
        lambda image: _crop(ImageOps.mirror(image).rotate(7, Image.Resampling.BICUBIC), 0.05)
    ),
}
