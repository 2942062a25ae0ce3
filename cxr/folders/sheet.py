"""Images -> one labelled contact sheet, for looking at many of them at once."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxr.folders.image_record import ImageRecord
from cxr.folders.reader import read_images
from cxr.images.atomic import write_whole
from cxr.images.reading import read_grey
from cxr.request.errors import DataError
from cxr.request.notices import SYNTHETIC_NOTICE

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


def contact_sheet(rows: Sequence[SheetRow], path: Path) -> Path:
    """Draw rows of images with their labels and write them as one PNG.

    Args:
        rows: as `draw_sheet`.
        path: the PNG to write.
    Raises:
        OutputError: the file cannot be written.
    """
    return save_sheet(draw_sheet(rows), path)


def save_sheet(sheet: NDArray[np.uint8], path: Path) -> Path:
    """Write a sheet [H, W] as a PNG, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    write_whole(path, encode_sheet(sheet))
    return path


def encode_sheet(sheet: NDArray[np.uint8]) -> bytes:
    """A picture [H, W] uint8 of several images as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def draw_sheet(
    rows: Sequence[SheetRow], *, notice: str = SYNTHETIC_NOTICE, title: str = "", columns: Sequence[str] = ()
) -> NDArray[np.uint8]:
    """Rows of images with their labels as one picture [H, W] uint8.

    Args:
        rows: at least one, each with at least one image; all images have the same size.
        notice: the last line of the sheet.
        title: the first line of the sheet, if it has one.
        columns: the heading of each column, if there are headings.
    """
    height, width = rows[0].images[0].shape
    shape = len(rows), max(len(row.images) for row in rows)
    row_height, head = LABEL_HEIGHT + height + MARGIN, LABEL_HEIGHT * (bool(title) + bool(columns))
    sheet = Image.new("L", _size(shape, (height, width), head), GREY)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)

    def write(text: str, column: int, top: int, room: int) -> None:
        draw.text((MARGIN + column * (width + MARGIN), top), _cut(text, font, room), fill=WHITE, font=font)

    write(title, 0, 6, sheet.width - 2 * MARGIN)
    for column, label in enumerate(columns):
        write(label, column, head - LABEL_HEIGHT + 6, width)
    for number, row in enumerate(rows):
        top = head + number * row_height
        write(row.label, 0, top + 6, sheet.width - 2 * MARGIN if title or columns else 0)
        for column, image in enumerate(row.images):
            sheet.paste(Image.fromarray(image), (MARGIN + column * (width + MARGIN), top + LABEL_HEIGHT))
    write(notice, 0, head + len(rows) * row_height + 4, 0)
    return np.asarray(sheet)


def size_of_sheet(
    shape: tuple[int, int], side: int, *, title: str = "", columns: Sequence[str] = ()
) -> tuple[int, int]:
    """Width and height of a sheet in pixels, as `draw_sheet` draws it.

    Args:
        shape: rows and columns.
        side: of each image, in pixels.
        title: as for `draw_sheet`.
        columns: as for `draw_sheet`.
    """
    return _size(shape, (side, side), LABEL_HEIGHT * (bool(title) + bool(columns)))


def _size(shape: tuple[int, int], image: tuple[int, int], head: int) -> tuple[int, int]:
    rows, columns = shape
    height, width = image
    bottom = rows * (LABEL_HEIGHT + height + MARGIN) + LABEL_HEIGHT + MARGIN
    return MARGIN + columns * (width + MARGIN), head + bottom


def _cut(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, room: int) -> str:
    """As much of a text as fits into a width in pixels; 0 for all of it."""
    if not room or font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text + "…"
