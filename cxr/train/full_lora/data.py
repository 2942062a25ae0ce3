"""Radiographs with their captions: the data's own where there are some, else written from the labels."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from cxr.folders.metadata import hash_files
from cxr.folders.radiographs import read_folders
from cxr.folders.table_columns import find_tables
from cxr.folders.tables import read_rows
from cxr.labels.captions import caption
from cxr.labels.radiograph import Radiograph
from cxr.labels.split import split_by_patient
from cxr.prompts import compile_prompt
from cxr.request.errors import DataError
from cxr.train.adapter_file import summary_of

CAPTION_COLUMNS = ("caption", "text", "prompt")  # the first that a table has
KEY_COLUMNS = ("file_name", "patient_id")
OWN_FORMS = ("caption", "plain")  # in which this program's captions are written anyway


@dataclass(frozen=True)
class CaptionedImage:
    """One image file, whose patient it shows, and one or more wordings of what it shows."""

    path: Path
    patient_id: str
    captions: tuple[str, ...]


@dataclass(frozen=True)
class TrainingData:
    """Images to learn from and images of other patients to check with.

    Args:
        training: what the LoRA learns from.
        validation: what only the validation loss sees.
        own_captions: whether the data came with captions.
        sha256: fingerprint of the images to learn from, their captions and the split.
    """

    training: tuple[CaptionedImage, ...]
    validation: tuple[CaptionedImage, ...]
    own_captions: bool
    sha256: str

    @property
    def summary(self) -> str:
        """One line for cards: how many images of how many patients."""
        return summary_of(self.training)


def in_form(text: str, form: str) -> str:
    """A caption in the form that a model's prompts have; those without a form of their own get it as it is.

    Args:
        text: in the words of this program's captions.
        form: a name of ``cxr.prompts.FORMS``.
    """
    return text if form in OWN_FORMS else compile_prompt(text, form).text or text


def read_training_data(
    folders: Sequence[Path],
    *,
    validation_share: float,
    judging_share: float,
    captions_per_image: int,
    seed: int,
    form: str = "plain",
) -> TrainingData:
    """Read folders of images with their tables, and split them by patient.

    A table with a column ``caption``, ``text`` or ``prompt`` needs ``file_name`` and ``patient_id`` beside it and no
    labels; without one it needs all columns of `cxr.folders.radiographs`.

    Args:
        folders: one or more.
        validation_share: of the patients, held out.
        judging_share: of the patients, left to judges.
        captions_per_image: wordings of the labels of one image.
        seed: of the wordings.
        form: that the model's prompts have, as for `in_form`; captions of the data stay as they are.
    Raises:
        DataError: a folder is not of that shape, captions are missing, or no patient is left to learn from.
    """
    records: list[Radiograph] = []
    own: dict[int, str] = {}  # by the record, as a table may list an image with several captions
    for folder in map(Path, folders):
        tables = chain(*find_tables(folder).values())
        captioned = [entry for table in tables for entry in _read_captioned(table)]
        own |= {id(record): text for record, text in captioned}
        records += [record for record, _ in captioned] or read_folders([folder])
    if own and len(own) < len(records):
        raise DataError("some data folders have captions and some have none; give all of them captions, or none")

    def with_captions(record: Radiograph) -> CaptionedImage:
        if own:
            return CaptionedImage(record.path, record.patient_id, (own[id(record)],))
        sources = (random.Random(f"{seed} {record.path.name} {number}") for number in range(captions_per_image))
        # Never empty: captions are dropped while training.
        texts = (caption(record, rng, findings=True, empty_share=0.0) for rng in sources)
        return CaptionedImage(record.path, record.patient_id, tuple(in_form(text, form) for text in texts))

    split = split_by_patient(records, validation_share, judging_share)
    if not split.training:
        raise DataError("no patient is left to train on; give more images, or lower the shares held out")
    training, validation = (tuple(map(with_captions, side)) for side in (split.training, split.held_out))
    return TrainingData(training, validation, bool(own), _fingerprint(training, validation))


def _read_captioned(table: Path) -> list[tuple[Radiograph, str]]:
    """Images with the captions that a table has; none if it has no column of them."""
    rows = [(number, row) for number, row in read_rows(table) if isinstance(row, dict)]
    if not rows:
        raise DataError(f"{table} lists no image")
    names = rows[0][1].keys()
    column = next((name for name in CAPTION_COLUMNS if name in names), None)
    if column is None:
        return []
    if missing := [name for name in KEY_COLUMNS if name not in names]:
        raise DataError(f"{table} has no column {', '.join(missing)}; patients are kept apart by patient_id")
    found = []
    for number, row in rows:
        file_name, text = str(row.get("file_name") or ""), str(row.get(column) or "").strip()
        if not (table.parent / file_name).is_file():
            raise DataError(f"{table} line {number} lists {file_name}, which is not in the folder")
        if not text:
            raise DataError(f"{table} line {number} has no {column}; every image needs one")
        patient_id = str(row.get("patient_id", ""))
        found.append((Radiograph(path=table.parent / file_name, patient_id=patient_id), text))
    return found


def _fingerprint(training: Sequence[CaptionedImage], validation: Sequence[CaptionedImage]) -> str:
    digest = hashlib.sha256()
    for side in (training, validation):
        for image, content in zip(side, hash_files([image.path for image in side]), strict=True):
            digest.update("\0".join((content, image.patient_id, *image.captions, "\n")).encode())
        digest.update(b"\0\0")
    return digest.hexdigest()
