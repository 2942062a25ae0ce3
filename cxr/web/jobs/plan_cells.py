"""The table of the page: what is wrong in which cell, and the same plan written as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import yaml

from cxr.dataset.cohort import read_entry
from cxr.dataset.plan_file import read_cells
from cxr.labels.radiograph import NO_FINDING
from cxr.request.errors import RequestError

Table: TypeAlias = Sequence[Mapping[str, object]]  # its rows, the cells by their column
LINE_CHARACTERS = 10_000  # of the YAML, so that an entry of a cohort stays on one line


@dataclass(frozen=True)
class WrongCell:
    """A cell of the table that is not allowed.

    Args:
        row: its number, from 0, empty rows included.
        column: name of its column, in small letters.
        problem: a sentence that names the row as people count, the column, and what is allowed.
    """

    row: int
    column: str
    problem: str


def find_wrong_cells(rows: Table) -> Iterator[WrongCell]:
    """Every cell that is not allowed, each looked at alone; empty rows are right."""
    for number, row in enumerate(_texts(rows)):
        for column, cell in row.items():
            try:
                _check_cell(column, cell, f"row {number + 1}")
            except RequestError as error:
                yield WrongCell(number, column, str(error))


def read_cohort_rows(rows: Table) -> list[dict[str, object]]:
    """The entries of a cohort that a table holds; empty rows are passed over.

    Raises:
        RequestError: a cell is not allowed; the first one is named by its row and column.
    """
    if (wrong := next(find_wrong_cells(rows), None)) is not None:
        raise RequestError(wrong.problem)
    return [read_cells(row) for row in _texts(rows) if row]


def write_rows(rows: Table) -> list[dict[str, object]]:
    """The same for the text of a plan, where a wrong cell stays what was typed and is refused, too."""
    return [{column: _value_of(column, cell) for column, cell in row.items() if cell} for row in _texts(rows) if row]


def plan_as_yaml(parts: Mapping[str, object]) -> str:
    """The parts of a plan as YAML."""
    return yaml.safe_dump(
        dict(parts), sort_keys=False, allow_unicode=True, default_flow_style=None, width=LINE_CHARACTERS
    )


def _texts(rows: Table) -> Iterator[dict[str, str]]:
    """Rows as a table sends them, with texts as cells and names of columns in small letters; {} for an empty row.

    Without findings a row is wrong, so every row that is not empty has that cell.
    """
    for row in rows:
        cells = {str(key).strip().lower(): "" if cell is None else str(cell).strip() for key, cell in row.items()}
        yield {"findings": "", **cells} if any(cells.values()) else {}


def _check_cell(column: str, cell: str, where: str) -> None:
    """Refuse a cell by its own; one may be empty but for the findings."""
    others = {} if column == "findings" else {"findings": NO_FINDING}
    if cell or column == "findings":
        read_entry(others | read_cells({column: cell}, f"{where}: {column}"), where)


def _value_of(column: str, cell: str) -> object:
    try:
        return read_cells({column: cell})[column]
    except RequestError:
        return cell
