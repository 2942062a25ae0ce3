"""Labels that would be lost unnoticed: columns under names that are not read, and folders named after findings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path

from cxr.folders.table_columns import columns_of
from cxr.folders.tables import read_header, read_rows
from cxr.labels.cells import read_foreign_cells
from cxr.labels.finding_cells import finding_of, is_normal, read_cell
from cxr.request.errors import DataError
from cxr.request.recipe import Recipe

MAX_WORDS = 3  # "AP portable erect"
_AGE_NAME = re.compile(r"(?<![A-Za-z])[Aa]ge(?![a-z])|Age(?![a-z])|(?<![A-Z])AGE(?![A-Z])")


def check_no_column_is_lost(table: Path) -> None:
    """Refuse a table without a column of findings, ages, sexes or views that has one by another name.

    Raises:
        DataError: a column holds nothing else; the message says how to have it read.
    """
    names = read_header(table)
    known = columns_of(names)
    missing = [name for name in ("findings", "age", "sex", "view") if name not in known and "file_name" in known]
    if "prompt" in known and "patient_id" not in known and "findings" in missing:
        missing.remove("findings")  # beside a prompt they may be anything
    own = {field.name for field in fields(Recipe)}  # of tables that this program wrote: prompts and settings
    others = [name for name in names if name not in known.values() and name not in own]
    suspects = {(ours, theirs) for ours in missing for theirs in others if ours != "age" or _AGE_NAME.search(theirs)}
    found = set()
    for _, row in read_rows(table) if suspects else ():
        for ours, theirs in tuple(suspects) if isinstance(row, Mapping) else ():
            kind = _kind_of(ours, read_cell(row, theirs))
            suspects = suspects - {(ours, theirs)} if kind is None else suspects
            found |= {(ours, theirs)} if kind else set()
    for ours, theirs in sorted(suspects & found):
        column = f"column {theirs}" if theirs else "column without a name"
        unit = ", in years" if ours == "age" else ""
        raise DataError(f"{table} has {ours} in its {column}, which is not read; call that column {ours}{unit}")


def _kind_of(name: str, cell: str) -> bool | None:
    """Whether a cell holds such a label; None if it holds something else, such as a sentence that speaks of it."""
    if name != "findings" and len(cell.split()) > MAX_WORDS:
        return None
    try:
        return getattr(read_foreign_cells({name: cell}), name) not in (None, ())
    except ValueError:
        return None


def findings_of_folders(folder: Path, paths: Iterable[Path]) -> dict[Path, tuple[str, ...]]:
    """What folder names say about images without a table, as NORMAL/1.png and Effusion/2.png; empty if nothing.

    Raises:
        DataError: they say it of some of the images only.
    """
    names = {path: _findings_in(path.relative_to(folder).parts[:-1]) for path in paths}
    known = {path: findings for path, findings in names.items() if findings is not None}
    if known and (unknown := next((path for path in names if path not in known), None)):
        raise DataError(
            f"{unknown} lies in no folder that is named by a finding, as {next(iter(known))} does; rename its folder, "
            "or write metadata.csv: file_name,findings"
        )
    return known


def _findings_in(parts: Iterable[str]) -> tuple[str, ...] | None:
    for part in reversed(tuple(parts)):
        if is_normal(part) or finding_of(part):
            return tuple(filter(None, [finding_of(part)]))
    return None
