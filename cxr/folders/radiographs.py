"""Folders of labelled radiographs -> records and pixels.

A folder holds images and one ``metadata.csv`` with the columns ``file_name, findings, age, sex, view, patient_id``, or
a table of another data set that says the same (`cxr.folders.reader`). ``findings`` are NIH names joined by "|", or
"No Finding"; an empty cell is unknown. A further column ``sides`` may say where some of them are:
"Effusion:left|Mass:right", the sides being left, right and bilateral, as the patient has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.folders.reader import read_listed
from cxr.images.reading import read_grey
from cxr.labels.radiograph import Radiograph, plain_id
from cxr.request.errors import DataError


def read_folders(folders: Iterable[Path]) -> list[Radiograph]:
    """The radiographs of one or more folders whose tables have all of `COLUMNS`, in the order of the tables.

    Raises:
        DataError: a folder, its table, a column, a patient or a listed image is missing, or a cell is not of its kind.
    """
    spelled: dict[str, str] = {}  # in two ways, a patient could be held out and learnt from
    radiographs = [
        Radiograph(
            **vars(record.labels),
            path=record.path,
            patient_id=spelled.setdefault(plain_id(record.patient_id), record.patient_id),
        )
        for folder in map(Path, folders)
        for record in read_listed(folder)
    ]
    if not radiographs:
        raise DataError("the data folders list no image")
    return radiographs


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
