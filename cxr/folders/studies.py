"""Findings that stand in a table of studies, beside the one of the images: the two of MIMIC-CXR."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from cxr.folders.table_columns import columns_of
from cxr.folders.tables import Row, is_table, read_header, read_rows


def read_studies(table: Path) -> Mapping[str, Row]:
    """MIMIC-CXR lists findings by study, in a table of its own beside the one of the images.

    Returns:
        Study, as `study_of` writes it -> row.
    """
    header = read_header(table)
    if "study_id" not in header or "findings" in columns_of(header):
        return {}
    for other in filter(is_table, sorted(table.parent.glob("*"))):
        columns = columns_of(names := read_header(other))
        if "study_id" in names and "findings" in columns and "file_name" not in columns:
            return {study_of(row): dict(row) for _, row in read_rows(other) if isinstance(row, Mapping)}
    return {}


def study_of(row: Row) -> str:
    """Its study, however programs write the number."""
    return re.sub(r"^s(?=\d)|\.0$", "", str(row.get("study_id") or "").strip().casefold())
