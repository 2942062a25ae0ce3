"""Which transforms the search for copies tries, on which parts of the training images."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from cxr.evaluate.copy_transforms import LOCAL, MEDIUM

ALIGNED, HALVES, QUARTERS = "aligned pixels", "aligned halves", "aligned quarters"
# Of each space of the search the scale on which likely originals are found: a quarter has too little that is coarse.
SPACES = {ALIGNED: LOCAL, HALVES: LOCAL, QUARTERS: MEDIUM}
NATIVE = "aligned at native size"  # what the search finds by aligned pixels, compared once more

Window = tuple[float, float, float, float]  # top, bottom, left, right as shares of the side


class Family(NamedTuple):
    """Transforms that are tried with one window of the training images.

    Args:
        space: what a find counts as.
        window: the part that is compared.
        transforms: shift right, shift down, turn, growth; each also for the mirrored query.
        candidates: training images that are looked at more closely.
    """

    space: str
    window: Window
    transforms: tuple[tuple[float, float, float, float], ...]
    candidates: int


UNMOVED = (0.0, 0.0, 0.0, 0.0)
# Share of the side, growth: of whole images and of cropped corners; of what was cropped by an eighth and more.
_SHIFTS = ((0.06, 0.0), (0.11, 0.0), (0.05, -0.1), (0.1, -0.2))
_CROPS = ((0.1, -0.22), (0.07, -0.31), (0.07, -0.4))
_SMALL = (-0.03, 0.0, 0.03)
_QUARTERS = ((0.0, 0.0, 90.0, 0.0), (0.0, 0.0, 180.0, 0.0), (0.0, 0.0, 270.0, 0.0))  # with mirrored ones, upside down
_AROUND = [(x, y) for x, y in product((-1, 0, 1), repeat=2) if (x, y) != (0, 0)]
_CORNERS = (0.06, 0.3, 0.54)  # of quarters, wherever they are
FAMILIES = (
    Family(
        ALIGNED,
        (0.125, 0.875, 0.125, 0.875),
        tuple(product((0.0,), (0.0,), (-12.0, -6.0, 0.0, 6.0, 12.0), (-0.17, -0.09, 0.0, 0.1, 0.2))),
        4,
    ),
    Family(
        ALIGNED,
        (0.125, 0.875, 0.125, 0.875),
        tuple((x * far, y * far, 0.0, growth) for (far, growth), (x, y) in product(_SHIFTS, _AROUND)),
        4,
    ),
    Family(
        ALIGNED,
        (0.2, 0.8, 0.2, 0.8),
        (
            *((x * far, y * far, 0.0, growth) for far, growth in _CROPS for x, y in _AROUND),
            *product((0.0,), (0.0,), (-6.0, 0.0, 6.0), (growth for _, growth in _CROPS)),
        ),
        4,
    ),
    Family(ALIGNED, (0.125, 0.875, 0.125, 0.875), tuple(product(_SMALL, _SMALL, (-3.0, 0.0, 3.0), (0.0,))), 4),
    Family(ALIGNED, (0.125, 0.875, 0.125, 0.875), _QUARTERS, 2),
    Family(ALIGNED, (0.2, 0.8, 0.2, 0.8), (UNMOVED,), 2),  # under a frame
    Family(HALVES, (0.06, 0.94, 0.06, 0.44), (UNMOVED,), 2),
    Family(HALVES, (0.06, 0.94, 0.56, 0.94), (UNMOVED,), 2),
    Family(HALVES, (0.06, 0.44, 0.06, 0.94), (UNMOVED,), 2),
    Family(HALVES, (0.56, 0.94, 0.06, 0.94), (UNMOVED,), 2),
    *(Family(QUARTERS, (top, top + 0.4, left, left + 0.4), (UNMOVED,), 1) for top, left in product(_CORNERS, repeat=2)),
)  # fmt: skip
