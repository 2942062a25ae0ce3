"""The likeliest originals of each query, laid over it in ever smaller steps and compared pixel by pixel."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cxr.evaluate.copy_native import CHECK_SIDE, Native
from cxr.evaluate.copy_transforms import FINE, FINEST, MEDIUM, correlation, local_scale, reduced

SIDE = 64  # pixels: of the first steps; the last ones and the verdict have at most `CHECK_SIDE`
LOWEST = (-0.17, -0.17, -17.0, -0.44)  # shift right and down (shares of the side), turn from quarters (degrees), growth
HIGHEST = (0.17, 0.17, 17.0, 0.27)
STEPS = (0.025, 0.025, 2.0, 0.03)  # half of the grid's
HALVINGS, LAST_HALVINGS, NATIVE_HALVINGS = range(3), range(3, 4), range(4, 5)  # of the steps
FINALISTS = 2  # of each space
NATIVE_ROWS = 32  # queries at a time at their own size, which takes 100 MB


class Candidates(NamedTuple):
    """A training image for each query, and how the query comes to lie on it.

    Args:
        indices: [N].
        transforms: [N, 4], as for `warped`.
        mirrored: [N].
        windows: [N, SIDE, SIDE], 1 in the part of the training image that is compared.
    """

    indices: Tensor
    transforms: Tensor
    mirrored: Tensor
    windows: Tensor


def verdict(
    candidates: list[Candidates], queries: NDArray[np.uint8], references: NDArray[np.uint8], local: float
) -> tuple[NDArray[np.float64], Candidates]:
    """Of each query's candidates the one that it is most alike to.

    Strangers agree in what is coarse, copies in detail as well: so the coarse leads to the alignment, and the detail
    decides.

    Args:
        candidates: of one space; the likeliest `FINALISTS` of them are aligned.
        queries: [N, S, S] uint8.
        references: [M, S, S] uint8, all training images.
        local: the scale on which candidates are ranked and first aligned, as for `local_scale`.
    Returns:
        Distances [N], sqrt(2 - 2 |r|), and the candidates, aligned.
    """
    small, large = (_Images(queries, references, side) for side in (SIDE, min(CHECK_SIDE, queries.shape[1])))
    starts = torch.stack([small.likeness(part, local) for part in candidates], dim=1)
    each, best, value = torch.arange(len(queries)), candidates[0], torch.full((len(queries),), -1.0)
    for column in starts.topk(min(FINALISTS, len(candidates)), dim=1).indices.T:
        part = Candidates(*(torch.stack(values)[column, each] for values in zip(*candidates, strict=True)))
        part = small.aligned(part, local, HALVINGS)
        likeness = small.likeness(part, MEDIUM)
        best = Candidates(*(_choose(likeness > value, new, old) for new, old in zip(part, best, strict=True)))
        value = torch.maximum(value, likeness)
    best = large.aligned(best, MEDIUM, LAST_HALVINGS)
    return _distances(large.likeness(best, FINE)), best


def native_distances(
    candidates: Candidates,
    queries: NDArray[np.uint8],
    references: NDArray[np.uint8],
    native: tuple[Native, Native],
) -> NDArray[np.float64]:
    """Compare each query with its candidate once more, at the smaller of their own sizes.

    There the detail of two pixels (of 256) decides, in which strangers have least in common. Steps of a sixteenth do
    at the smaller size: at the larger one they take three times as long and find no more.

    Args:
        candidates: aligned by `verdict`, [N].
        queries: [N, S, S] uint8.
        references: [M, S, S] uint8, all training images.
        native: the queries and the training images at their own sizes.
    Returns:
        Distances [N], sqrt(2 - 2 |r|); NaN where one of the two has no more pixels than `verdict` has seen.
    """
    distances = np.full(len(queries), np.nan)
    sides = np.minimum(native[0].sides, native[1].sides[candidates.indices.numpy()])
    for side in np.unique(sides[sides > CHECK_SIDE]).tolist():
        (places,) = np.nonzero(sides == side)
        for some in np.split(places, range(NATIVE_ROWS, len(places), NATIVE_ROWS)):
            part = Candidates(*(values[some] for values in candidates))
            part = _Images(queries[some], references, queries.shape[1]).aligned(part, MEDIUM, NATIVE_HALVINGS)
            pair = native[0].read(some, side), native[1].read(part.indices.numpy(), side)
            part = part._replace(indices=torch.arange(len(some)))  # only these training images were read
            distances[some] = _distances(_Images(*pair, side).likeness(part, FINEST))
    return distances


def _distances(likeness: Tensor) -> NDArray[np.float64]:
    return np.asarray((2 - 2 * likeness.double()).clamp(min=0).sqrt().numpy())


class _Images:
    """Queries and training images at one size."""

    def __init__(self, queries: NDArray[np.uint8], references: NDArray[np.uint8], side: int) -> None:
        self.side = side
        self.image = reduced(queries, side)
        self.references = references

    def likeness(self, part: Candidates, local: float) -> Tensor:
        """`correlation` of each query with its candidate: [N]."""
        query, scaled, window = self._sides(part, local)
        return correlation(query, scaled, window, part.transforms, local)

    def aligned(self, part: Candidates, local: float, halvings: range) -> Candidates:
        """Move one number of the transform at a time while that helps, and halve the steps."""
        query, scaled, window = self._sides(part, local)
        transform = part.transforms
        best = correlation(query, scaled, window, transform, local)
        quarters = torch.zeros_like(transform)
        quarters[:, 2] = (transform[:, 2] / 90).round() * 90  # degrees
        lowest, highest = torch.tensor(LOWEST) + quarters, torch.tensor(HIGHEST) + quarters
        for halving, (axis, first) in product(halvings, enumerate(STEPS)):
            step = torch.zeros(4)
            step[axis] = first / 2**halving
            before = transform
            for trial in (before + step, before - step):
                trial = torch.maximum(torch.minimum(trial, highest), lowest)
                value = correlation(query, scaled, window, trial, local)
                transform = torch.where((value > best)[:, None], trial, transform)
                best = torch.maximum(value, best)
        return part._replace(transforms=transform)

    def _sides(self, part: Candidates, local: float) -> tuple[Tensor, Tensor, Tensor]:
        """Queries as they are compared, their training images on the local scale, the windows: [N, side, side]."""
        scaled = local_scale(reduced(self.references[part.indices.numpy()], self.side), local)
        window = functional.interpolate(part.windows[:, None], size=(self.side, self.side))[:, 0]
        return _choose(part.mirrored, self.image.flip(2), self.image), scaled, window


def _choose(which: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(which.reshape(-1, *[1] * (new.ndim - 1)), new, old)
