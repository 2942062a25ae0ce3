"""Labels of a data set that its prompts, its metadata and its label table do not agree on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from cxr.dataset.label_columns import label_row
from cxr.folders.dataset_manifest import patient_id_of
from cxr.folders.dataset_reader import FinishedImage
from cxr.folders.metadata import LABELS_NAME
from cxr.folders.tables import Row, read_rows
from cxr.generate.planned_image import COUNTERFACTUAL
from cxr.labels.cells import sides_cell
from cxr.labels.vocabulary import PromptLabels, labels_of
from cxr.prompts import asked_labels, denied_findings
from cxr.request.errors import DataError

NO_TABLE = "{table} cannot be read as a table: {error}"


def wrong_labels(directory: Path, images: Sequence[FinishedImage]) -> Iterator[str]:
    """Labels that do not follow from the prompts, and rows of the label table that do not follow from the metadata."""
    rows: dict[str, Row] = {}
    try:
        for _, row in read_rows(directory / LABELS_NAME, NO_TABLE):
            if rows.setdefault(name := row.get("file_name", ""), row) is not row:
                yield f"{LABELS_NAME} has a second row for {name}"
    except DataError as error:
        if not (directory / LABELS_NAME).exists():
            return  # that is said already
        yield str(error)
    for image in images:
        name = image.path.relative_to(directory).as_posix()
        row = rows.pop(name, None)
        complete = [complete for complete in (True, False) if row and _is_row(row, image, complete)]
        if row is None:
            yield f"{LABELS_NAME} has no row for {name}"
        elif not complete:
            yield f"{LABELS_NAME} says something else about {name} than the metadata"
        elif wrong := not_asked(
            image.labels,
            image.recipe.prompt,
            is_silent=complete[0],
            has_sides="sides" in image.row and image.recipe.reword,
        ):
            yield f"the labels of {name} are not those of its prompt: {', '.join(wrong)}"
        patient_id = patient_id_of(image.index - (image.pair_role == COUNTERFACTUAL))
        if image.patient_id != patient_id:
            yield f"the metadata gives {name} another patient_id than {patient_id}"
    yield from (f"{LABELS_NAME} has a row for {name}, which is not in the metadata" for name in rows)


def not_asked(labels: PromptLabels, prompt: str, *, is_silent: bool, has_sides: bool = False) -> list[str]:
    """Labels that the prompt of an image contradicts.

    Args:
        labels: as its row has them.
        is_silent: whether the prompt may leave labels out, as a template of a cohort may; one in free words is all that
            they come from.
        has_sides: whether its row says something of sides: not in tables of older versions, nor of a prompt that is not
            reworded.
    """
    # Both readers of prompts: a cohort's template may be a sentence that the better one takes for a patient's history.
    asked, written = asked_labels(prompt), labels_of(prompt)
    wrong = [
        name
        for name in ("findings", "age", "sex", "view")
        if getattr(labels, name) not in (getattr(asked, name), getattr(written, name))
        and not (is_silent and getattr(asked, name) is None)
    ]
    return [*wrong, "sides"] if has_sides and labels.sides != asked.sides else wrong  # only that reader's are drawn


def _is_row(row: Mapping[str, str], image: FinishedImage, complete: bool) -> bool:
    denied = () if complete else denied_findings(image.recipe.prompt)
    return any(row == _row_of(image, row["file_name"], complete, absent) for absent in (denied, ()))  # older: empty


def _row_of(image: FinishedImage, name: str, complete: bool, denied: Collection[str]) -> dict[str, str]:
    labels = image.labels
    person = {"patient_id": image.patient_id, "split": image.split, "age": labels.age, "sex": labels.sex}
    wanted = person | {"file_name": name, "view": labels.view}
    wanted |= label_row(labels.findings, complete=complete, denied=denied)
    wanted |= {"sides": sides_cell(labels)} if "sides" in image.row else {}
    return {name: "" if value is None else str(value) for name, value in wanted.items()}
