"""Images -> one labelled contact sheet, for looking at many of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxr.folders.reader import ImageRecord, read_images
from cxr.images.reading import read_grey
from cxr.request.errors import DataError, OutputError
from cxr.request.recipe import SYNTHETIC_NOTICE

MARGIN = 8
LABEL_HEIGHT = 26
GREY, WHITE = 24, 235


@dataclass(frozen=True)
class SheetRow:
    """One row: a label above images [H, W] uint8 of one size."""

    label: str
    images: tuple[NDArray[np.uint8], ...]


def rows_of_folders(folders: Sequence[Path], columns: int) -> list[SheetRow]:
    """Read folders of ``generate`` or ``dataset``: a row for each prompt of each folder, equal prompts together.

    Args:
        folders: at least one.
        columns: largest number of images in a row; further ones are left out.
    Raises:
        DataError: a folder holds no images, or images differ in size.
    """
    groups: dict[str, list[SheetRow]] = {}
    for folder in folders:
        found: dict[str, list[ImageRecord]] = {}
        for record in read_images(folder) if folder.is_dir() and any(folder.iterdir()) else ():
            if "adapter_weight" in record.row:
                found.setdefault(record.prompt, []).append(record)
        if not found:
            raise DataError(f"{folder} holds no images that python -m cxr generate wrote")
        for prompt, records in found.items():
            recipe = records[0].row
            label = prompt if len(folders) == 1 else f"{prompt}  [{recipe['adapter']} {recipe['adapter_weight']:g}]"
            pictures = tuple(read_grey(record.path) for record in records[:columns])
            groups.setdefault(prompt, []).append(SheetRow(label, pictures))
    rows = [row for group in groups.values() for row in group]
    if len({image.shape for row in rows for image in row.images}) > 1:
        raise DataError("the folders hold images of different sizes; draw them apart")
    return rows


def contact_sheet(rows: Sequence[SheetRow], path: Path, *, notice: str = SYNTHETIC_NOTICE) -> Path:
    """Draw rows of images with their labels and write them as one PNG.

    Args:
        rows: as `draw_sheet`.
        path: the PNG to write.
        notice: the last line of the sheet.
    Raises:
        OutputError: the file cannot be written.
    """
    sheet = Image.fromarray(draw_sheet(rows, notice=notice))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, optimize=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def draw_sheet(rows: Sequence[SheetRow], *, notice: str = SYNTHETIC_NOTICE) -> NDArray[np.uint8]:
    """Rows of images with their labels as one picture [H, W] uint8.

    Args:
        rows: at least one, each with at least one image; all images have the same size.
        notice: the last line of the sheet.
    """
    height, width = rows[0].images[0].shape
    columns = max(len(row.images) for row in rows)
    row_height = LABEL_HEIGHT + height + MARGIN
    size = (MARGIN + columns * (width + MARGIN), len(rows) * row_height + LABEL_HEIGHT + MARGIN)
    sheet = Image.new("L", size, GREY)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for number, row in enumerate(rows):
        top = number * row_height
        draw.text((MARGIN, top + 6), row.label, fill=WHITE, font=font)
        for column, image in enumerate(row.images):
            sheet.paste(Image.fromarray(image), (MARGIN + column * (width + MARGIN), top + LABEL_HEIGHT))
    draw.text((MARGIN, len(rows) * row_height + 4), notice, fill=WHITE, font=font)
    return np.asarray(sheet)
