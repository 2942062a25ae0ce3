"""The region of a picture that is made anew, as cells of a grid that lies over every picture, whatever its size.

The grid is that of the embedded model's latents: a mask finer than those would promise what no model keeps.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from cxr.request.errors import RequestError
from cxr.request.messages import shown

CELLS = 16  # of a side; the embedded model has one latent for each
NAME = "mask_cells"
ALLOWED = (
    f"rows of cells with their columns, 0 to {CELLS - 1} from the top left, as in “4:10-13 5:9,11-14”, or a list "
    "of [row, column]"
)
MAX_CHARACTERS = 2_000  # the longest mask of all takes 340
_RUN = r"\d{1,2}(?:-\d{1,2})?"
_ROW = re.compile(rf"\d{{1,2}}:{_RUN}(?:,{_RUN})*")

Cell = tuple[int, int]  # row and column


def check_cells(value: object) -> str:
    """The one way to write a region: rows from the top, each with its columns; an empty text is no region.

    Args:
        value: such a text, in any order, or a list of [row, column].
    Raises:
        RequestError: it is neither, or a cell lies outside the grid.
    """
    return write_cells(read_mask_cells(value))


def read_mask_cells(value: object) -> frozenset[Cell]:
    """The cells that a text or a list names, as `check_cells` takes them.

    Raises:
        RequestError: as `check_cells`.
    """
    if isinstance(value, str):
        cells = [*_parse(value)]
    elif isinstance(value, Sequence) and len(value) <= CELLS**2:
        cells = [_pair(item) for item in value]
    else:
        raise _refusal(value)
    for cell in cells:
        if not all(0 <= place < CELLS for place in cell):
            raise RequestError(f"has the cell {cell[0]}:{cell[1]}; use {ALLOWED}", field=NAME)
    return frozenset(cells)


def write_cells(cells: Collection[Cell]) -> str:
    """Cells as text; equal regions give equal text."""
    rows = groupby(sorted(cells), key=lambda cell: cell[0])
    return " ".join(f"{row}:{','.join(_runs([column for _, column in group]))}" for row, group in rows)


def _runs(columns: Sequence[int]) -> Iterator[str]:
    """Neighbouring columns as "first-last"."""
    for _, group in groupby(enumerate(columns), key=lambda pair: pair[1] - pair[0]):
        run = [column for _, column in group]
        yield str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"


def _parse(text: str) -> Iterator[Cell]:
    if len(text) > MAX_CHARACTERS:
        raise RequestError(f"has {len(text):,} characters; use {ALLOWED}", field=NAME)
    for word in text.split():
        if not _ROW.fullmatch(word):
            raise _refusal(word)
        row, _, runs = word.partition(":")
        for run in runs.split(","):
            first, _, last = run.partition("-")
            if int(last or first) < int(first):
                raise _refusal(word)
            yield from ((int(row), column) for column in range(int(first), int(last or first) + 1))


def _pair(item: object) -> Cell:
    is_pair = isinstance(item, Sequence) and not isinstance(item, str) and len(item) == len(("row", "column"))
    if not is_pair or not all(isinstance(place, int) and not isinstance(place, bool) for place in item):  # type: ignore[attr-defined]
        raise _refusal(item)
    return item[0], item[1]  # type: ignore[index]


def _refusal(value: object) -> RequestError:
    return RequestError(f"has {shown(value, 40)}; use {ALLOWED}", field=NAME)
