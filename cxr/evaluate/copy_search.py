"""Which training image is an image a copy of, however it was changed: moved, cropped, mirrored, inverted, half of it?

Pixel by pixel all radiographs are alike, and a copy that is turned differs more from its original than two strangers
from each other. So grey levels are first put on a local scale, on which strangers have little in common and brightness,
contrast and equalisation do not count. Then each query is laid over all training images by a grid of transforms, as a
whole and by halves (a few dimensions suffice), and over the likeliest of them in ever smaller steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxr.evaluate.copy_grid import ALIGNED, FAMILIES, HALVES, UNMOVED, Family, Window
from cxr.evaluate.copy_transforms import FINE, correlation, local_scale, reduced, warped

SIDE, SCREEN_SIDE = 64, 32  # pixels, by stage
DIMENSIONS = 96  # of the images that are screened
MIN_FITTED, FITTED = 500, 3_000  # images from which those are found
LOWEST = (-0.17, -0.17, -17.0, -0.24)  # shift right and down (shares of the side), turn from quarters (degrees), growth
HIGHEST = (0.17, 0.17, 17.0, 0.27)
STEPS = (0.025, 0.025, 2.0, 0.03)  # half of the grid's
HALVINGS = 3
FINALISTS = 2  # of each space
ROWS = 128  # queries at a time


class Nearest(NamedTuple):
    """Distance of each query to its nearest training image [N], and which that is [N]."""

    distances: NDArray[np.float64]
    indices: NDArray[np.intp]


def search_copies(
    queries: NDArray[np.uint8], references: NDArray[np.uint8], own: NDArray[np.intp] | None = None
) -> dict[str, Nearest]:
    """The training image that each query is most alike to, in both spaces.

    Args:
        queries: [N, S, S] uint8, S at least 64.
        references: [M, S, S] uint8, M at least 1, or 2 with ``own``.
        own: [N], for each query the reference that is the query itself and does not count.
    Returns:
        By space; distances are sqrt(2 - 2 |r|): 0 for equal images up to the changes that are searched for, 1.41 for
        unrelated ones, r being the correlation on the local scale where the aligned images overlap.
    """
    screens = [_Screen(family, references) for family in FAMILIES]
    parts = []
    for rows in _chunks(len(queries)):
        found = {space: _Finalists() for space in (ALIGNED, HALVES)}
        for screen in screens:
            found[screen.family.space].add(
                *screen.candidates(queries[rows], None if own is None else own[rows]), screen
            )
        parts.append({space: one.refined(queries[rows], references) for space, one in found.items()})
    return {
        space: Nearest(*(np.concatenate([part[space][k] for part in parts]) for k in (0, 1)))
        for space in (ALIGNED, HALVES)
    }


class _Screen:
    """All training images in a few dimensions, to be compared with many transforms of a query at once."""

    def __init__(self, family: Family, references: NDArray[np.uint8]) -> None:
        self.family = family
        seen = torch.cat(
            [self._cut(local_scale(reduced(references[k], SCREEN_SIDE))) for k in _chunks(len(references))]
        )
        self.mean = seen.mean(dim=0)
        some = (seen - self.mean)[:: max(1, len(seen) // FITTED)]
        few = len(some) < MIN_FITTED  # of so few images the main axes would miss what a moved one looks like
        self.axes = torch.eye(some.shape[1]) if few else torch.linalg.svd(some, full_matrices=False)[2][:DIMENSIONS].T
        described = (seen - self.mean) @ self.axes
        self.described = described / described.norm(dim=1, keepdim=True).clamp(min=1e-6)

    def _cut(self, images: Tensor) -> Tensor:
        """The window's pixels of images [B, S, S] as rows."""
        rows, columns = _pixels(self.family.window, SCREEN_SIDE)
        return images[:, rows, columns].flatten(1)

    def candidates(self, queries: NDArray[np.uint8], own: NDArray[np.intp] | None) -> tuple[Tensor, Tensor, Tensor]:
        """The likeliest training images [N, k], the transforms that made them so [N, k, 4], whether mirrored [N, k]."""
        upright = reduced(queries, SCREEN_SIDE)
        best = torch.full((len(queries), len(self.described)), -1.0)
        which = torch.zeros(best.shape, dtype=torch.int16)
        middle = self.mean @ self.axes
        for number, (mirrored, transform) in enumerate(product((False, True), self.family.transforms)):
            moved = upright.flip(2) if mirrored else upright
            if transform != UNMOVED:
                moved, _ = warped(moved, torch.tensor([transform]).repeat(len(moved), 1))
            seen = self._cut(local_scale(moved)) @ self.axes
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
        transforms = torch.tensor(self.family.transforms)
        return indices, transforms[choices % len(transforms)], choices >= len(transforms)


class _Finalists:
    """Candidates of one space from all its families, and the search of the best among them."""

    def __init__(self) -> None:
        self.parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def add(self, indices: Tensor, transforms: Tensor, mirrored: Tensor, screen: _Screen) -> None:
        windows = torch.zeros(SIDE, SIDE)
        windows[_pixels(screen.family.window, SIDE)] = 1
        self.parts += [
            (indices[:, k], transforms[:, k], mirrored[:, k], windows.expand(len(indices), SIDE, SIDE))
            for k in range(indices.shape[1])
        ]

    def refined(self, queries: NDArray[np.uint8], references: NDArray[np.uint8]) -> tuple[NDArray[np.float64], Tensor]:
        """Distances [N] and training images [N]."""
        image = reduced(queries, SIDE)

        def sides(part: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            known = reduced(references[part[0].numpy()], SIDE)
            return torch.where(part[2][:, None, None], image.flip(2), image), known

        starts = []
        for candidates in self.parts:
            query, known = sides(candidates)
            starts.append(correlation(query, local_scale(known), candidates[3], candidates[1]))
        first = torch.stack(starts, dim=1)
        order = first.topk(min(FINALISTS, len(self.parts)), dim=1).indices
        best, index = torch.full((len(image),), -1.0), torch.zeros(len(image), dtype=torch.long)
        for column in order.T:
            each = torch.arange(len(image))
            part = tuple(torch.stack(values)[column, each] for values in zip(*self.parts, strict=True))
            query, known = sides(part)  # type: ignore[arg-type]
            refined = _refine(query, local_scale(known), part[3], part[1])
            value = correlation(query, local_scale(known, FINE), part[3], refined, FINE)
            index = torch.where(value > best, part[0], index)
            best = torch.maximum(best, value)
        return np.sqrt(np.clip(2 - 2 * best.double().numpy(), 0, None)), index


def _refine(query: Tensor, scaled: Tensor, window: Tensor, transform: Tensor) -> Tensor:
    """Move one number of the transform [B, 4] at a time while that helps, and halve the steps."""
    best = correlation(query, scaled, window, transform)
    quarters = torch.zeros_like(transform)
    quarters[:, 2] = (transform[:, 2] / 90).round() * 90  # degrees
    lowest, highest = torch.tensor(LOWEST) + quarters, torch.tensor(HIGHEST) + quarters
    for halving in range(HALVINGS):
        for axis, first in enumerate(STEPS):
            step = torch.zeros(4)
            step[axis] = first / 2**halving
            before = transform
            for trial in (before + step, before - step):
                trial = torch.maximum(torch.minimum(trial, highest), lowest)
                value = correlation(query, scaled, window, trial)
                transform = torch.where((value > best)[:, None], trial, transform)
                best = torch.maximum(value, best)
    return transform


def _pixels(window: Window, side: int) -> tuple[slice, slice]:
    top, bottom, left, right = (round(edge * side) for edge in window)
    return slice(top, bottom), slice(left, right)


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + ROWS, count)) for start in range(0, count, ROWS))
