"""Findings that stand in a table of studies, beside the one of the images: the two of MIMIC-CXR."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cxr.folders.table_columns import columns_of
from cxr.folders.tables import Row, is_table, read_header, read_rows
from cxr.request.errors import DataError


def read_studies(table: Path) -> Mapping[str, Row]:
    """MIMIC-CXR lists findings by study, in a table of its own beside the one of the images.

    Returns:
        Study, as `study_of` writes it -> row.
    """
    header = read_header(table)
    if not _study_column(header) or "findings" in columns_of(header):
        return {}
    for other in filter(is_table, sorted(table.parent.glob("*"))):
        columns = columns_of(names := read_header(other))
        if _study_column(names) and "findings" in columns and "file_name" not in columns:
            return _by_study(other)
    return {}


def _by_study(table: Path) -> Mapping[str, Row]:
    found: dict[str, Row] = {}
    for number, row in read_rows(table):
        if isinstance(row, Mapping) and found.setdefault(study_of(row), row) != row:
            raise DataError(f"{table} line {number} says other things of study {study_of(row)} than a line above")
    return found


def study_of(row: Row) -> str:
    """Its study, however programs write the number."""
    return re.sub(r"^s(?=\d)|\.0$", "", str(row.get(_study_column(tuple(row))) or "").strip().casefold())


def _study_column(names: Iterable[str]) -> str:
    return next((name for name in names if name.casefold() == "study_id"), "")
