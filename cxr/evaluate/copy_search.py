"""Which training image is an image a copy of, however it was changed: moved, cropped, mirrored, inverted, a part of it?

Pixel by pixel all radiographs are alike, and a copy that is turned differs more from its original than two strangers
from each other. So grey levels are first put on a local scale, on which strangers have little in common and brightness,
contrast and equalisation do not count. Then each query is laid over all training images by a grid of transforms, as a
whole, by halves and by quarters (a few dimensions suffice), and over the likeliest of them in ever smaller steps.
What is found as a whole is compared once more at the images' own size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxr.evaluate.copy_finalists import SIDE, Candidates, native_distances, verdict
from cxr.evaluate.copy_grid import ALIGNED, FAMILIES, NATIVE, SPACES, UNMOVED, Family, Window
from cxr.evaluate.copy_native import Native
from cxr.evaluate.copy_transforms import local_scale, reduced, warped

SCREEN_SIDE = 32  # pixels
DIMENSIONS = 96  # of the images that are screened
MIN_FITTED, FITTED = 500, 3_000  # images from which those are found
ROWS = 128  # queries at a time


class Nearest(NamedTuple):
    """Distance of each query to its nearest training image [N], NaN where it is not known, and which that is [N]."""

    distances: NDArray[np.float64]
    indices: NDArray[np.intp]


def search_copies(
    queries: NDArray[np.uint8],
    references: NDArray[np.uint8],
    own: NDArray[np.intp] | None = None,
    native: tuple[Native, Native] | None = None,
    spaces: Collection[str] = SPACES.keys(),
) -> dict[str, Nearest]:
    """The training image that each query is most alike to, in each space.

    Args:
        queries: [N, S, S] uint8, S at least 64.
        references: [M, S, S] uint8, M at least 1, or 2 with ``own``.
        own: [N], for each query the reference that is the query itself and does not count.
        native: queries and references at their own sizes, to compare each query with what `ALIGNED` has found there
            once more.
        spaces: those of the search that are wanted; ``native`` needs `ALIGNED`.
    Returns:
        By space of the search, and with ``native`` by `NATIVE`; distances are sqrt(2 - 2 |r|): 0 for equal images up to
        the changes that are searched for, 1.41 for unrelated ones, r being the correlation on the local scale where
        the aligned images overlap.
    """
    screens = [_Screen(family, references) for family in FAMILIES if family.space in spaces]
    parts: list[dict[str, Nearest]] = []
    for rows in _chunks(len(queries)):
        found: dict[str, list[Candidates]] = {space: [] for space in SPACES if space in spaces}
        for screen in screens:
            found[screen.family.space] += screen.candidates(queries[rows], None if own is None else own[rows])
        judged = {space: verdict(some, queries[rows], references, SPACES[space]) for space, some in found.items()}
        parts.append({space: Nearest(far, best.indices.numpy()) for space, (far, best) in judged.items()})
        if native is not None:
            best, own_size = judged[ALIGNED][1], native[0].take(np.arange(len(queries))[rows])
            distances = native_distances(best, queries[rows], references, (own_size, native[1]))
            parts[-1][NATIVE] = Nearest(distances, best.indices.numpy())
    return {space: Nearest(*(np.concatenate([part[space][k] for part in parts]) for k in (0, 1))) for space in parts[0]}


class _Screen:
    """All training images in a few dimensions, to be compared with many transforms of a query at once."""

    def __init__(self, family: Family, references: NDArray[np.uint8]) -> None:
        self.family = family
        seen = torch.cat([self._cut(reduced(references[k], SCREEN_SIDE)) for k in _chunks(len(references))])
        self.mean = seen.mean(dim=0)
        some = (seen - self.mean)[:: max(1, len(seen) // FITTED)]
        few = len(some) < MIN_FITTED  # of so few images the main axes would miss what a moved one looks like
        self.axes = torch.eye(some.shape[1]) if few else torch.linalg.svd(some, full_matrices=False)[2][:DIMENSIONS].T
        described = (seen - self.mean) @ self.axes
        self.described = described / described.norm(dim=1, keepdim=True).clamp(min=1e-6)

    def _cut(self, images: Tensor) -> Tensor:
        """The window's pixels of images [B, S, S] as rows, on the local scale."""
        rows, columns = _pixels(self.family.window, SCREEN_SIDE)
        return local_scale(images, SPACES[self.family.space])[:, rows, columns].flatten(1)

    def candidates(self, queries: NDArray[np.uint8], own: NDArray[np.intp] | None) -> list[Candidates]:
        """The likeliest training images, with the transforms that made them so."""
        upright = reduced(queries, SCREEN_SIDE)
        best = torch.full((len(queries), len(self.described)), -1.0)
        which = torch.zeros(best.shape, dtype=torch.int16)
        middle = self.mean @ self.axes
        for number, (mirrored, transform) in enumerate(product((False, True), self.family.transforms)):
            moved = upright.flip(2) if mirrored else upright
            if transform != UNMOVED:
                moved, _ = warped(moved, torch.tensor([transform]).repeat(len(moved), 1))
            seen = self._cut(moved) @ self.axes
            for image in (seen, -seen):  # inverted
                vectors = image - middle
                score = (vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-6)) @ self.described.T
                torch.where(score > best, torch.tensor(number, dtype=torch.int16), which, out=which)
                torch.maximum(best, score, out=best)
        if own is not None:
            best[torch.arange(len(best)), torch.from_numpy(own)] = -torch.inf
        # Without the last place of a short list the query itself would come back.
        indices = best.topk(min(self.family.candidates, best.shape[1] - (own is not None)), dim=1).indices
        choices = which.gather(1, indices).long()
        transforms = torch.tensor(self.family.transforms)[choices % len(self.family.transforms)]
        flipped = choices >= len(self.family.transforms)
        window = torch.zeros(SIDE, SIDE)
        window[_pixels(self.family.window, SIDE)] = 1
        windows = window.expand(len(queries), SIDE, SIDE)
        return [Candidates(indices[:, k], transforms[:, k], flipped[:, k], windows) for k in range(indices.shape[1])]


def _pixels(window: Window, side: int) -> tuple[slice, slice]:
    top, bottom, left, right = (round(edge * side) for edge in window)
    return slice(top, bottom), slice(left, right)


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + ROWS, count)) for start in range(0, count, ROWS))
