"""One image of a folder, from its row of a table, or from its file where no table lists it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cxr.folders.dicom_reader import read_dicom_facts
from cxr.folders.table_columns import cells_of, columns_of, synonyms_of
from cxr.folders.tables import Row
from cxr.images.dicom_pixels import is_dicom
from cxr.labels.cells import is_lateral, read_foreign_cells
from cxr.labels.finding_cells import read_cell
from cxr.labels.radiograph import COLUMNS
from cxr.labels.vocabulary import UNKNOWN, PromptLabels
from cxr.prompts import asked_labels
from cxr.request.errors import DataError

PATIENT_FOLDER = re.compile(r"(?:^|[/\\])(patient\d+)[/\\]", re.IGNORECASE)  # of CheXpert, whose table has no column


@dataclass(frozen=True)
class ImageRecord:
    """One image and what its folder's table says about it.

    Args:
        split: "train" or another name; empty in a folder without splits.
        labels: what is known, or asked for by the prompt.
        patient_id: empty where the table names none.
        prompt: empty where the table names none.
        is_real: whether it is listed as a radiograph of a patient.
        is_lateral: whether it is said to be a lateral view.
        row: its line of the table; empty for an image that no table lists.
    """

    path: Path
    split: str = ""
    labels: PromptLabels = UNKNOWN
    patient_id: str = ""
    prompt: str = ""
    is_real: bool = False
    is_lateral: bool = False
    row: Row = field(default_factory=dict)


def record_of_row(
    row: Row, known: Mapping[str, str], split: str, find: Callable[[str], Path | None]
) -> ImageRecord | None:
    """What a row of a table says; None if it lists no radiograph and its file is not here.

    Args:
        known: names of its columns by ours.
        split: that the table is of.
        find: gives the file of a name.
    Raises:
        ValueError: a cell is not of its kind, or a radiograph is missing; the message names it.
    """
    name, is_ours = str(row[known["file_name"]]), {*COLUMNS} <= row.keys()
    path = find(name)
    if path is None and known["file_name"] != "file_name":
        return None
    cells = {**row, **cells_of(row), "file_name": name}
    if path is not None and "prompt" not in known and is_dicom(path):  # its header says what the table does not
        said = read_dicom_facts(path)
        cells |= {column: said[column] for column in ("age", "sex", "view", "patient_id") if column not in known}
    if isinstance(cells.get("prompt"), (list, dict, bool)):
        raise ValueError(f"prompt {cells['prompt']!r} is not text")
    prompt, patient = str(cells["prompt"]) if read_cell(cells, "prompt") else "", read_cell(cells, "patient_id")
    if not patient and (found := PATIENT_FOLDER.search(name)):
        patient = found[1]
    _check_same(row)
    has_labels = any(column in cells for column in ("findings", "age", "sex", "view"))
    labels = read_foreign_cells(cells, is_ours=is_ours) if has_labels else UNKNOWN
    if prompt:  # says what the table has no column for
        asked = asked_labels(prompt)
        others = [name for name in ("findings", "age", "sex", "view", "sides") if name not in known]
        labels = replace(labels, **{name: getattr(asked, name) for name in others})
    is_real = "model_revision" not in row and (bool(patient) or (has_labels and not prompt))
    if path is None and is_real:
        raise ValueError(f"lists {name}, which is not in the folder")
    lateral = any(is_lateral(read_cell(cells, name)) for name in ("view", "projection"))
    return None if path is None else ImageRecord(path, split, labels, patient, prompt, is_real, lateral, row)


def _check_same(row: Row) -> None:
    """Refuse two columns that mean the same and say different things."""
    for ours, theirs in synonyms_of(tuple(row)).items():
        if ours in ("age", "sex", "view") and len(theirs) > 1:
            said = {name: getattr(read_foreign_cells({ours: row[name]}), ours) for name in theirs}
            if len({value for value in said.values() if value is not None}) > 1:
                raise ValueError(f"its columns {', '.join(theirs)} say different things; keep the one that is right")


def record_of_file(path: Path, findings: tuple[str, ...] | None) -> ImageRecord:
    """What is known of an image that no table lists: what a DICOM file says itself, and these findings besides.

    Raises:
        DataError: the file cannot be read, or a value in it is not of its kind.
    """
    if not is_dicom(path):
        return ImageRecord(path, labels=PromptLabels(findings))
    facts = read_dicom_facts(path)
    try:
        labels = read_foreign_cells(facts)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if labels.findings is None:
        labels = replace(labels, findings=findings)
    prompt, lateral = facts["prompt"], is_lateral(facts["view"])
    return ImageRecord(path, "", labels, facts["patient_id"], prompt, not prompt, lateral)


def is_generated(row: Row) -> bool:
    """Whether a row is about an image of this folder that was made from a prompt."""
    cells, name = cells_of(row), str(row[columns_of(tuple(row))["file_name"]])
    is_of_patient = read_cell(cells, "patient_id") or PATIENT_FOLDER.search(name)
    return bool(read_cell(cells, "prompt")) and not is_of_patient and ".." not in re.split(r"[/\\]", name)
