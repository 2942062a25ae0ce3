"""Sheets of a report to look at: generated beside real images, and the pairs that are nearest to being copies."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.detail import MAX_SIDE, MIN_SIDE, choose_side, native_side
from cxr.evaluate.image_set import ImageSet
from cxr.folders.sheet import SheetRow, draw_sheet
from cxr.images.squares import read_squares

SHOWN, PER_ROW = 12, 4  # images of each kind on the sheet of examples
PAIRS_PER_ROW = 2

Picture = NDArray[np.uint8]  # [H, W]


def draw_examples(generated: ImageSet, reference: ImageSet) -> Picture:
    """Some images of both sets at the native size, drawn at random, a row of real ones below each generated row."""
    rng, (size, large) = np.random.default_rng(0), choose_side(generated, reference)
    rows: list[list[SheetRow]] = []
    for name, images, among in (("generated", generated, np.arange(len(generated))), ("real", reference, large)):
        chosen = np.sort(rng.choice(among, min(len(among), SHOWN), replace=False))
        pixels = read_squares([images.paths[index] for index in chosen], size)
        rows.append([SheetRow(name, tuple(pixels[k : k + PER_ROW])) for k in range(0, len(pixels), PER_ROW)])
    mixed = [row for pair in itertools.zip_longest(*rows) for row in pair if row is not None]
    return draw_sheet(mixed, notice="Drawn at random. The rows marked generated are synthetic. Not for diagnosis.")


def draw_closest_pairs(pairs: Sequence[tuple[float, str, str]], generated: ImageSet, training: ImageSet) -> Picture:
    """Pairs at the generated images' size, each left of its nearest training image.

    Args:
        pairs: (distance, name of the generated image, name of the training image), names as the sets have them.
        generated: the images that were checked.
        training: all training images.
    """
    left, right = (dict(zip(images.names, images.paths, strict=True)) for images in (generated, training))
    rows, size = [], int(np.clip(np.median(native_side(generated.paths)), MIN_SIDE, MAX_SIDE))
    for start in range(0, len(pairs), PAIRS_PER_ROW):
        some = pairs[start : start + PAIRS_PER_ROW]
        label = "generated | nearest training image; distances " + ", ".join(f"{pair[0]:.3f}" for pair in some)
        pixels = read_squares([path for pair in some for path in (left[pair[1]], right[pair[2]])], size)
        rows.append(SheetRow(label, tuple(pixels)))
    return draw_sheet(rows, notice="Left of each pair: synthetic. Right: a real training image.")
