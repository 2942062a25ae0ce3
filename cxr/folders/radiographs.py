"""Folders of labelled radiographs -> records and pixels.

A folder holds images and one ``metadata.csv`` with the columns ``file_name, findings, age, sex, view, patient_id``.
``findings`` are NIH names joined by "|", or "No Finding"; an empty cell is unknown. A further column ``sides`` may tell
where some of them are: "Effusion:left|Mass:right", the sides being left, right and bilateral, as the patient has them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.images.reading import read_grey
from cxr.labels.radiograph import COLUMNS, NO_FINDING, Radiograph
from cxr.request.errors import DataError
from cxr.vocabulary import FINDINGS, SIDED_FINDINGS, SIDES


def read_folders(folders: Iterable[Path]) -> list[Radiograph]:
    """Read the records of one or more folders, in the order of their tables.

    Raises:
        DataError: a folder, its table, a column or a listed image is missing, or a cell is not of its kind.
    """
    records: list[Radiograph] = []
    for folder in folders:
        table = Path(folder) / "metadata.csv"
        if not table.is_file():
            raise DataError(f"{table} is missing; a data folder holds images and a metadata.csv")
        with table.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise DataError(f"{table} has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
            records += [_record(row, table, number) for number, row in enumerate(rows, start=2)]
    if not records:
        raise DataError("the data folders list no image")
    return records


def load_pixels(records: Sequence[Radiograph]) -> dict[int, tuple[NDArray[np.intp], NDArray[np.uint8]]]:
    """Decode the images, grouped by their side length.

    Returns:
        Side length S -> (indices into ``records`` [N], pixels [N, S, S] uint8, 0 = black).
    Raises:
        DataError: an image cannot be read or is not square.
    """
    groups: dict[int, tuple[list[int], list[NDArray[np.uint8]]]] = {}
    for index, record in enumerate(records):
        pixels = read_grey(record.path)
        if pixels.shape[0] != pixels.shape[1]:
            raise DataError(
                f"{record.path} is {pixels.shape[1]}x{pixels.shape[0]} pixels; training needs square images"
            )
        indices, images = groups.setdefault(pixels.shape[0], ([], []))
        indices.append(index)
        images.append(pixels)
    return {side: (np.asarray(indices), np.stack(images)) for side, (indices, images) in sorted(groups.items())}


def _record(row: dict[str, str], table: Path, number: int) -> Radiograph:
    path = table.parent / row["file_name"]
    findings = _findings(row["findings"], table, number)
    if not path.is_file():
        raise DataError(f"{table} line {number} lists {row['file_name']}, which is not in the folder")
    return Radiograph(
        path=path,
        findings=findings,
        age=_age(row["age"], table, number),
        sex=_choice(row["sex"], ("F", "M"), "sex", table, number),
        view=_choice(row["view"], ("AP", "PA"), "view", table, number),
        patient_id=row["patient_id"],
        sides=_sides(row.get("sides") or "", findings or (), table, number),
    )


def _findings(cell: str, table: Path, number: int) -> tuple[str, ...] | None:
    if not cell:
        return None
    if cell == NO_FINDING:
        return ()
    names = tuple(sorted(cell.split("|")))
    unknown = [name for name in names if name not in FINDINGS]
    if unknown:
        raise DataError(f"{table} line {number}: finding {unknown[0]!r} is not one of {', '.join(FINDINGS)}")
    return names


def _sides(cell: str, findings: Sequence[str], table: Path, number: int) -> tuple[tuple[str, str], ...]:
    parts = [part.partition(":") for part in cell.split("|") if part]
    pairs = tuple(sorted((name, side) for name, _, side in parts))
    for name, side in pairs:
        if name not in findings or name not in SIDED_FINDINGS or side not in SIDES:
            raise DataError(
                f"{table} line {number}: side {name}:{side} is not one of the row's findings, a colon and "
                f"{', '.join(SIDES)}; {', '.join(SIDED_FINDINGS)} can have one"
            )
    return pairs


def _age(cell: str, table: Path, number: int) -> int | None:
    if not cell:
        return None
    if not cell.isdigit() or int(cell) > 120:
        raise DataError(f"{table} line {number}: age {cell!r} is not a whole number from 0 to 120")
    return int(cell)


def _choice(cell: str, allowed: tuple[str, ...], name: str, table: Path, number: int) -> str | None:
    if not cell:
        return None
    if cell not in allowed:
        raise DataError(f"{table} line {number}: {name} {cell!r} is not one of {', '.join(allowed)}")
    return cell
