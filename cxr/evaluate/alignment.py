"""How alike are two radiographs once one is laid over the other as well as shifting, turning and resizing allow?

A copy that is turned by three degrees is still a copy, but pixel by pixel it differs more from its original than two
strangers differ from each other. So the transform is found first, in three stages, each dearer and better: which
training images come into question at all, a grid of transforms on small images, ever smaller steps on larger ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

MAX_SHIFT = 0.08  # of the side, each way
MAX_ANGLE = 6.0  # degrees
MAX_SCALE = 0.05  # smaller or larger
SIDE, COARSE_SIDE, SCREEN_SIDE = 64, 32, 12  # pixels, by stage
SCREEN_SHIFTS = (-0.06, -0.03, 0.0, 0.03, 0.06)
SCREEN_ANGLES = (-4.0, 0.0, 4.0)
CANDIDATES, FINALISTS = 8, 2  # training images that are left after the first and the second stage
COARSE_REACH = 2  # pixels of the small image; the steps do the rest
COARSE_ANGLES = (-6.0, -3.0, 0.0, 3.0, 6.0)
COARSE_SCALES = (-0.05, 0.0, 0.05)
FIRST_STEPS = (0.5 / COARSE_SIDE, 0.5 / COARSE_SIDE, 1.5, 0.025)  # half of the grid's
HALVINGS = 5
PAIRS = 256  # at a time
TABLE_BYTES = 2**25  # of one strip of a table of all training images; about three of them are held at once


class Aligned(NamedTuple):
    """The best transforms found.

    Args:
        correlation: [B], -1 to 1, over the pixels that both images have; 0 if one of the images is flat.
        transform: [B, 4], what was done to the reference: shift right and shift down (shares of the side), turn
            (degrees, clockwise), growth (0.05 is five per cent larger).
    """

    correlation: NDArray[np.float64]
    transform: NDArray[np.float64]


def aligned_nearest(
    queries: NDArray[np.uint8], references: NDArray[np.uint8], own: NDArray[np.intp] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The reference that each query is most alike to once aligned.

    Args:
        queries: [N, S, S] uint8.
        references: [M, S, S] uint8, M at least 1, or 2 with ``own``.
        own: [N], for each query the reference that is the query itself and does not count.
    Returns:
        Distances [N], sqrt(2 - 2 * correlation): 0 for equal images up to brightness and contrast, 1.41 for unrelated
        ones; and indices into ``references`` [N].
    """
    correlation = np.empty(len(queries))
    nearest = np.empty(len(queries), np.intp)
    described = torch.cat([_described(_reduced(part, SCREEN_SIDE)) for part in _parts(references, PAIRS)])
    rows = min(PAIRS, max(1, TABLE_BYTES // (4 * len(references))))
    for start in range(0, len(queries), rows):
        part = slice(start, start + rows)
        found = _screened(queries[part], described, None if own is None else own[part])
        finalists = _finalists(queries[part], references, found)
        results = [align(queries[part], references[column]).correlation for column in finalists.T]
        best = np.argmax(results, axis=0)[None]
        correlation[part] = np.take_along_axis(np.stack(results), best, axis=0)[0]
        nearest[part] = np.take_along_axis(finalists.T, best, axis=0)[0]
    return np.sqrt(np.clip(2 - 2 * correlation, 0, None)), nearest


def align(queries: NDArray[np.uint8], references: NDArray[np.uint8]) -> Aligned:
    """Lay each reference over its query: of the allowed transforms, one with the highest correlation.

    Args:
        queries: [B, S, S] uint8.
        references: [B, S, S] uint8; row b is laid over row b of ``queries``.
    Returns:
        Never worse than without a transform.
    Source:
        The measure is that of Evangelidis and Psarakis, IEEE TPAMI 2008; the search is a plain pattern search.
    """
    parts = []
    for query, reference in zip(_parts(queries, PAIRS), _parts(references, PAIRS), strict=True):
        begin, _ = _coarse(_reduced(query, COARSE_SIDE), _reduced(reference, COARSE_SIDE))
        parts.append(_refined(_reduced(query, SIDE), _reduced(reference, SIDE), begin))
    correlation, transform = (torch.cat(column).double().numpy() for column in zip(*parts, strict=True))
    return Aligned(correlation, transform)


def warped(images: Tensor, transform: Tensor) -> tuple[Tensor, Tensor]:
    """Shift, turn and resize; beyond the edge its pixels are repeated.

    Args:
        images: [B, S, S] float32.
        transform: [B, 4] as in `Aligned`.
    Returns:
        The images [B, S, S], and where they have pixels of their own: [B, S, S] float32, 1 or 0.
    """
    side = images.shape[1]
    angle = torch.deg2rad(transform[:, 2])
    cos, sin = (wave(angle)[:, None] / (1 + transform[:, 3:]) for wave in (torch.cos, torch.sin))
    places = (2 * torch.arange(side) + 1) / side - 1  # grid_sample counts from -1 to 1, from edge to edge
    right, down = (places - 2 * transform[:, axis, None] for axis in (0, 1))  # [B, S], before the shift
    x = (cos * right)[:, None, :] + (sin * down)[:, :, None]
    y = (-sin * right)[:, None, :] + (cos * down)[:, :, None]
    inside = ((x.abs() <= 1) & (y.abs() <= 1)).float()
    grid = torch.stack([x, y], dim=3)
    return functional.grid_sample(images[:, None], grid, padding_mode="border", align_corners=False)[:, 0], inside


def _screened(queries: NDArray[np.uint8], described: Tensor, own: NDArray[np.intp] | None) -> Tensor:
    """The `CANDIDATES` references [N, k] that some shift and turn of a tiny query is most alike to.

    Without the shifts and turns a copy moved by six per cent would be among them only half of the time.
    """
    small = _reduced(queries, COARSE_SIDE)
    best = torch.full((len(queries), len(described)), -1.0)
    for right in SCREEN_SHIFTS:
        for down in SCREEN_SHIFTS:
            for angle in SCREEN_ANGLES:
                moved, _ = warped(small, torch.tensor([[right, down, angle, 0.0]]).repeat(len(small), 1))
                tiny = functional.interpolate(moved[:, None], size=(SCREEN_SIDE, SCREEN_SIDE), mode="area")[:, 0]
                torch.maximum(best, _described(tiny) @ described.T, out=best)
    if own is not None:
        best[torch.arange(len(best)), torch.from_numpy(own)] = -torch.inf
    # Without the last place of a short list the query itself would come back.
    return best.topk(min(CANDIDATES, len(described) - (own is not None)), dim=1).indices


def _finalists(queries: NDArray[np.uint8], references: NDArray[np.uint8], found: Tensor) -> NDArray[np.intp]:
    """Of the candidates [N, k] those that look best on the grid of transforms: [N, at most `FINALISTS`]."""
    small = _reduced(queries, COARSE_SIDE)
    scores = [_coarse(small, _reduced(references[column.numpy()], COARSE_SIDE))[1] for column in found.T]
    order = torch.stack(scores, dim=1).topk(min(FINALISTS, found.shape[1]), dim=1).indices
    indices: NDArray[np.intp] = found.gather(1, order).numpy()
    return indices


def _coarse(query: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Try a grid of transforms on small images.

    Args:
        query: [B, S, S] float32.
        reference: [B, S, S] float32.
    Returns:
        The best transform [B, 4] and its correlation [B].
    """
    # The middle of the turned reference is compared with windows of the query, all of one size: each transform is
    # judged by equally many pixels, and all at once by one product of matrices.
    side, inner = query.shape[1], query.shape[1] - 2 * COARSE_REACH
    turns = torch.tensor([[0, 0, angle, scale] for angle in COARSE_ANGLES for scale in COARSE_SCALES])
    turned, _ = warped(reference.repeat_interleave(len(turns), dim=0), turns.repeat(len(reference), 1))
    middles = turned[:, COARSE_REACH:-COARSE_REACH, COARSE_REACH:-COARSE_REACH].reshape(len(reference), len(turns), -1)
    windows = functional.unfold(query[:, None], inner).transpose(1, 2)  # [B, shifts, pixels]
    scores = (_standardised(windows) @ _standardised(middles).transpose(1, 2)).flatten(1)  # [B, shifts * turns]
    best, index = scores.max(dim=1)
    shift, turn = index // len(turns), index % len(turns)
    transform = turns[turn]
    across = 2 * COARSE_REACH + 1
    transform[:, 0] = (shift % across - COARSE_REACH) / side
    transform[:, 1] = (shift // across - COARSE_REACH) / side
    return transform, best


def _refined(query: Tensor, reference: Tensor, begin: Tensor) -> tuple[Tensor, Tensor]:
    """From the better of ``begin`` and no transform, move one number at a time while that helps; halve the steps.

    Returns:
        Correlation [B] and transform [B, 4].
    """
    limits = torch.tensor([MAX_SHIFT, MAX_SHIFT, MAX_ANGLE, MAX_SCALE])
    transform = torch.zeros_like(begin)
    best = _correlation(query, reference, transform)

    def attempt(trial: Tensor) -> None:
        nonlocal transform, best
        value = _correlation(query, reference, trial)
        transform = torch.where((value > best)[:, None], trial, transform)
        best = torch.maximum(value, best)

    attempt(begin)
    for halving in range(HALVINGS):
        for axis, first in enumerate(FIRST_STEPS):
            step = torch.zeros(4)
            step[axis] = first / 2**halving
            before = transform
            for trial in (before + step, before - step):
                attempt(torch.maximum(torch.minimum(trial, limits), -limits))
    return best, transform


def _correlation(query: Tensor, reference: Tensor, transform: Tensor) -> Tensor:
    """Pearson's correlation [B] over the pixels that the transformed reference covers."""
    image, inside = warped(reference, transform)
    count = inside.sum(dim=(1, 2), keepdim=True)
    x, y = ((part - (part * inside).sum(dim=(1, 2), keepdim=True) / count) * inside for part in (query, image))
    # A sum of squares below one grey level is rounding of a flat image, which is like nothing.
    lengths = [(part * part).sum(dim=(1, 2)).clamp(min=1.0).sqrt() for part in (x, y)]
    return (x * y).sum(dim=(1, 2)) / (lengths[0] * lengths[1])


def _described(tiny: Tensor) -> Tensor:
    """Inner pixels of tiny images [N, S, S] as rows without brightness and contrast."""
    return _standardised(tiny[:, 1:-1, 1:-1].flatten(1))


def _standardised(values: Tensor) -> Tensor:
    """Rows of mean 0 and length 1, so that products of rows are correlations; about 0 where a row is flat."""
    centred = values - values.mean(dim=-1, keepdim=True)
    unit: Tensor = centred / centred.norm(dim=-1, keepdim=True).clamp(min=1.0)
    return unit


def _reduced(pixels: NDArray[np.uint8], side: int) -> Tensor:
    """Images [N, S, S] uint8 as [N, side, side] float32: the mean of an area for each pixel."""
    return functional.interpolate(torch.from_numpy(pixels).float()[:, None], size=(side, side), mode="area")[:, 0]


def _parts(images: NDArray[np.uint8], count: int) -> list[NDArray[np.uint8]]:
    return [images[start : start + count] for start in range(0, len(images), count)]
