"""Radiographs with their captions: the data's own where there are some, else written from the labels."""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr.compiler import compile_prompt
from cxr.folders.metadata import hash_files
from cxr.folders.radiographs import read_folders
from cxr.labels.captions import caption
from cxr.labels.radiograph import Radiograph
from cxr.labels.split import split_by_patient
from cxr.request.errors import DataError
from cxr.train.adapter_file import summary_of

CAPTION_COLUMNS = ("caption", "text", "prompt")  # the first that a table has
KEY_COLUMNS = ("file_name", "patient_id")
OWN_FORMS = ("caption", "plain")  # in which this program's captions are written anyway

CaptionWriter = Callable[[Radiograph, random.Random], str]


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


def label_caption(record: Radiograph, chance: random.Random) -> str:
    """A caption from the labels; never empty: captions are dropped while training."""
    return caption(record, chance, findings=True, empty_share=0.0)


def in_form(text: str, form: str) -> str:
    """A caption in the form that a model's prompts have; those without a form of their own get it as it is.

    Args:
        text: in the words of this program's captions.
        form: a name of ``cxr.compiler.FORMS``.
    """
    return text if form in OWN_FORMS else compile_prompt(text, form).text or text


def caption_writer(form: str) -> CaptionWriter:
    """What writes captions from labels in a form, as ``in_form`` does."""
    return lambda record, chance: in_form(label_caption(record, chance), form)


def read_training_data(
    folders: Sequence[Path],
    *,
    validation_share: float,
    judging_share: float,
    captions_per_image: int,
    seed: int,
    write_caption: CaptionWriter = label_caption,
) -> TrainingData:
    """Read folders of images and a ``metadata.csv``, and split them by patient.

    A table with a column ``caption``, ``text`` or ``prompt`` needs ``file_name`` and ``patient_id`` beside it and no
    labels; without one it needs all columns of `cxr.folders.radiographs`.

    Args:
        folders: one or more.
        validation_share: of the patients, held out.
        judging_share: of the patients, left to judges.
        captions_per_image: wordings of the labels of one image.
        seed: of the wordings.
        write_caption: makes a caption from labels, in the form that the model's prompts have.
    Raises:
        DataError: a folder is not of that shape, captions are missing, or no patient is left to learn from.
    """
    records: list[Radiograph] = []
    own: dict[int, str] = {}
    for folder in folders:
        column = _caption_column(Path(folder))
        if column is None:
            records += read_folders([folder])
            continue
        for record, text in _read_captioned(Path(folder) / "metadata.csv", column):
            own[id(record)] = text
            records.append(record)
    if own and len(own) < len(records):
        raise DataError("some data folders have captions and some have none; give all of them captions, or none")

    def captioned(record: Radiograph) -> CaptionedImage:
        chances = (random.Random(f"{seed} {record.path.name} {number}") for number in range(captions_per_image))
        texts = (own[id(record)],) if own else tuple(write_caption(record, chance) for chance in chances)
        return CaptionedImage(record.path, record.patient_id, texts)

    split = split_by_patient(records, validation_share, judging_share)
    if not split.training:
        raise DataError("no patient is left to train on; give more images, or lower the shares held out")
    training, validation = (tuple(map(captioned, side)) for side in (split.training, split.held_out))
    return TrainingData(training, validation, bool(own), _fingerprint(training, validation))


def _caption_column(folder: Path) -> str | None:
    table = folder / "metadata.csv"
    if not table.is_file():
        raise DataError(f"{table} is missing; a data folder holds images and a metadata.csv")
    with table.open(newline="", encoding="utf-8-sig") as lines:
        names = csv.DictReader(lines).fieldnames or ()
    return next((name for name in CAPTION_COLUMNS if name in names), None)


def _read_captioned(table: Path, column: str) -> list[tuple[Radiograph, str]]:
    with table.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        missing = [name for name in KEY_COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise DataError(f"{table} has no column {', '.join(missing)}; patients are kept apart by patient_id")
        found = []
        for number, row in enumerate(rows, start=2):
            path, text = table.parent / (row["file_name"] or ""), (row[column] or "").strip()
            if not path.is_file():
                raise DataError(f"{table} line {number} lists {row['file_name']}, which is not in the folder")
            if not text:
                raise DataError(f"{table} line {number} has no {column}; every image needs one")
            found.append((Radiograph(path, None, None, None, None, row["patient_id"]), text))
    if not found:
        raise DataError(f"{table} lists no image")
    return found


def _fingerprint(training: Sequence[CaptionedImage], validation: Sequence[CaptionedImage]) -> str:
    digest = hashlib.sha256()
    for side in (training, validation):
        for image, content in zip(side, hash_files([image.path for image in side]), strict=True):
            digest.update("\0".join((content, image.patient_id, *image.captions, "\n")).encode())
        digest.update(b"\0\0")
    return digest.hexdigest()
