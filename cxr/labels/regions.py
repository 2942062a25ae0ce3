"""Where on a film a finding is expected, as radiologists have marked it: cells of a coarse grid.

The grid covers the whole film, upper left first. It says where findings lie in people, and nothing of one film.

Source: boxes of ChestX-Det (Lian et al., "A structure-aware relation network for thoracic diseases detection and
segmentation", IEEE TMI 2021, Apache-2.0) on films of NIH ChestX-ray14, counted for ``regions.json``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from cxr.request.errors import RequestError
from cxr.request.mask_cells import CELLS, write_cells

# No boxes of their own; they cloud the lungs as this one does.
LIKE_CONSOLIDATION = ("Edema", "Infiltration", "Pneumonia")


@functools.cache
def _regions() -> dict[str, NDArray[np.bool_]]:
    table = json.loads(files("cxr.labels").joinpath("regions.json").read_text(encoding="utf-8"))
    found = {name: np.array([[cell == "#" for cell in row] for row in rows]) for name, rows in table["regions"].items()}
    return found | dict.fromkeys(LIKE_CONSOLIDATION, found["Consolidation"])


def expected_region(findings: Iterable[str], height: int, width: int) -> NDArray[np.bool_] | None:
    """Where any of these findings is expected.

    Args:
        findings: names of NIH ChestX-ray14.
        height: of the film in pixels.
        width: of the film in pixels.
    Returns:
        [H, W] bool; None if there are no findings, or one of them (Hernia) has no known place.
    """
    names = list(findings)
    if not names or any(name not in _regions() for name in names):
        return None
    cells = np.logical_or.reduce([_regions()[name] for name in names])
    rows, columns = (np.arange(size) * len(cells) // size for size in (height, width))
    region: NDArray[np.bool_] = cells[np.ix_(rows, columns)]
    return region


def changed_cells(before: Iterable[str], after: Iterable[str]) -> str:
    """Where the findings show that only one of two images has, as the setting `mask_cells` writes cells.

    Args:
        before: findings of one, names of NIH ChestX-ray14.
        after: findings of the other.
    Raises:
        RequestError: both have the same ones, or one of them has no known place.
    """
    changed = sorted({*before} ^ {*after})
    if not changed:
        raise RequestError("both show the same findings, so there is no region in which they differ")
    if unknown := [name for name in changed if name not in _regions()]:
        raise RequestError(f"it is not known where {unknown[0]} shows")
    region = expected_region(changed, CELLS, CELLS)
    assert region is not None
    return write_cells([(int(row), int(column)) for row, column in np.argwhere(region)])
