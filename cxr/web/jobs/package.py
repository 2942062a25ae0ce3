"""What the page's ZIPs hold besides images and tables: receipts, a contact sheet, and for single images a README."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from cxr import __version__
from cxr.folders.archive import write_folder_zip, write_zip
from cxr.folders.dataset_manifest import read_manifest
from cxr.folders.dataset_reader import read_dataset
from cxr.folders.tables import csv_text
from cxr.images.reading import read_grey
from cxr.request.events import ExportedFile
from cxr.request.notices import SYNTHETIC_NOTICE

if TYPE_CHECKING:
    from cxr.judges.receipt import Receipt, ReceiptRow

RECEIPTS_NAME, SHEET_NAME, README_NAME = "receipts.csv", "contact_sheet.html", "README.md"
COLUMNS = ("file_name", "label", "asked", "seen", "score", "right_on_real", "judgeable", "as_asked")
README = """\
# Synthetic chest radiographs

{about}, made by CXR Studio {version}. {notice}

- `*.png`: the images, each with its whole recipe inside; `metadata.jsonl`: the same as a table
- `contact_sheet.html`: all of them on one page, for a browser
- `receipts.csv`: what was asked of each image and what a small network sees in it. `right_on_real`: per cent of real
  radiographs on which the network is right; `score`: how clearly it sees this, 0.5 undecided to 1. Left out where the
  program has no such network, and for a data set that was stopped
- `manifest.json`: SHA-256 of every file

`python -m cxr verify FILE.png` makes an image again from its recipe and compares the two.
"""
SHEET = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Contact sheet</title>
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif; }}
ul {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 16px; padding: 0; }}
li {{ list-style: none; }}
figure {{ margin: 0; }}
img {{ width: 100%; background: #000; image-rendering: pixelated; }}
</style>
</head>
<body>
<main>
<h1>{about}</h1>
<p>{notice}</p>
<ul>
{items}
</ul>
</main>
</body>
</html>
"""
ITEM = (
    '<li><figure><img src="{src}" alt="{prompt}" loading="lazy"><figcaption><b>Seed {seed}</b>{verdict}<br>{prompt}'
    "</figcaption></figure></li>"
)


def read_receipts(directory: Path) -> Iterator[Receipt]:
    """What was asked of each image of a finished data set and what is seen in it, by index; nothing without a judge."""
    from cxr.judges.receipt import embedded_judge, read_receipt  # torch takes seconds to import

    if (judge := embedded_judge()) is None:
        return
    for image in read_dataset(directory):
        yield read_receipt(read_grey(image.path)[None], image.prompt, *judge, sent_prompt=image.recipe.sent_prompt)[0]


def measure_receipt(prompt: str) -> float:
    """Seconds that reading an image takes here; 0 without a judge."""
    import numpy as np

    from cxr.judges.networks import SIZE
    from cxr.judges.receipt import embedded_judge, read_receipt  # torch takes seconds to import

    if (judge := embedded_judge()) is None:
        return 0.0
    began_s = 0.0
    for _ in range(2):  # the first is slower
        began_s = time.perf_counter()
        read_receipt(np.zeros((1, SIZE, SIZE), np.uint8), prompt, *judge)
    return time.perf_counter() - began_s


def zip_images(path: Path, files: Sequence[ExportedFile], receipts: Sequence[Receipt], about: str) -> Path:
    """Pack single images.

    Args:
        path: the ZIP to write.
        receipts: one for each image, or none.
        about: what the images are, in a few words.
    Raises:
        OutputError: an image has changed, or the disk refused the ZIP.
    """
    readme = README.format(about=about, version=__version__, notice=SYNTHETIC_NOTICE).encode()
    beside = {README_NAME: readme, **_beside(about, {file.path.name: file for file in files}, receipts)}
    return write_zip(path, files, beside).path


def zip_dataset(path: Path, directory: Path, receipts: Sequence[Receipt]) -> Path:
    """Pack a finished data set, which has a README of its own.

    Args:
        path: the ZIP to write.
        receipts: one for each image, in the order of their indices, or none.
    Raises:
        CxrError: an image has changed, or the disk refused the ZIP.
    """
    images = {image.path.relative_to(directory).as_posix(): image.file for image in read_dataset(directory)}
    manifest = read_manifest(directory)
    beside = _beside(f"{len(images):,} synthetic chest radiographs", images, receipts)
    write_folder_zip(path, directory, manifest.files, manifest.content, beside)
    return path


def _beside(about: str, images: Mapping[str, ExportedFile], receipts: Sequence[Receipt]) -> dict[str, bytes]:
    """The contact sheet and the table of receipts, by their names; the images by theirs in the ZIP."""
    files = {SHEET_NAME: _sheet(about, images, receipts).encode()}
    return files | ({RECEIPTS_NAME: receipts_table(list(images), receipts).encode()} if receipts else {})


def receipts_table(names: Sequence[str], receipts: Sequence[Receipt]) -> str:
    """One line for each line of a receipt; no cell holds a user's text."""
    pairs = zip(names, receipts, strict=True)
    return csv_text([COLUMNS, *(_cells(name, row) for name, receipt in pairs for row in receipt.rows)])


def _cells(name: str, row: ReceiptRow) -> tuple[object, ...]:
    score, ceiling = (f"{value:.3g}" if math.isfinite(value) else "" for value in (row.score, row.ceiling))
    verdict = "" if row.as_asked is None else int(row.as_asked)
    return name, row.label, row.asked, row.seen, score, ceiling, int(row.judgeable), verdict


def _sheet(about: str, images: Mapping[str, ExportedFile], receipts: Sequence[Receipt]) -> str:
    words = {True: " · as asked", False: " · not as asked", None: ""}
    verdicts = [words[receipt.as_asked] for receipt in receipts] or [""] * len(images)
    items = (
        ITEM.format(
            src=escape(name), prompt=escape(str(file.metadata["prompt"])), seed=file.metadata["seed"], verdict=verdict
        )
        for (name, file), verdict in zip(images.items(), verdicts, strict=True)
    )
    return SHEET.format(about=escape(about), notice=escape(SYNTHETIC_NOTICE), items="\n".join(items))
