"""Sheets of a report to look at: generated beside real images, and the pairs that are nearest to being copies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.sets import ImageSet
from cxr.folders.sheet import SheetRow, draw_sheet
from cxr.images.squares import read_squares
from cxr.judges.networks import SIZE

SHOWN, PER_ROW = 24, 8  # images of each kind on the sheet of examples
PAIRS_PER_ROW = 4

Picture = NDArray[np.uint8]  # [H, W]


def draw_examples(generated: ImageSet, reference: ImageSet, seed: int) -> Picture:
    """Some images of both sets, drawn at random."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, images in (("generated", generated), ("real", reference)):
        chosen = np.sort(rng.choice(len(images), min(len(images), SHOWN), replace=False))
        pixels = read_squares([images.paths[index] for index in chosen], SIZE)
        rows += [SheetRow(name, tuple(pixels[start : start + PER_ROW])) for start in range(0, len(pixels), PER_ROW)]
    return draw_sheet(rows, notice="Drawn at random. The rows marked generated are synthetic. Not for diagnosis.")


def draw_closest_pairs(
    pairs: Sequence[tuple[float, str, str]], generated: ImageSet, training: ImageSet, source: str = "NIH ChestX-ray14"
) -> Picture:
    """Pairs, each generated image left of its nearest training image.

    Args:
        pairs: (distance, name of the generated image, name of the training image), as `name_of` writes them.
        generated: the images that were checked.
        training: all training images.
        source: of the training images; it is named in the picture.
    """
    left, right = ({name_of(path): path for path in images.paths} for images in (generated, training))
    rows = []
    for start in range(0, len(pairs), PAIRS_PER_ROW):
        some = pairs[start : start + PAIRS_PER_ROW]
        label = "generated | nearest training image; distances " + ", ".join(f"{pair[0]:.3f}" for pair in some)
        pixels = read_squares([path for pair in some for path in (left[pair[1]], right[pair[2]])], SIZE)
        rows.append(SheetRow(label, tuple(pixels)))
    return draw_sheet(rows, notice=f"Left of each pair: synthetic. Right: real ({source}).")


def name_of(path: Path) -> str:
    """An image's name in a report: its folder's and its own, since two folders may use the same names."""
    return f"{path.parent.name}/{path.name}"
