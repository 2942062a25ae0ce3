"""Images -> WebDataset: tar files that are read from front to back, one image after the other.

Each image is three entries of one name: KEY.png, KEY.json (its metadata row) and KEY.txt (its prompt). Readers want the
same entries of every image, so that what differs in pairs has files of its own: KEY.difference.png, KEY.mask.png and
KEY.json of the second image.
Source: the WebDataset format (Aizman et al., "High Performance I/O For Large Scale Deep Learning", 2019).
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

from cxr.folders.tables import Row
from cxr.folders.unchanged import unchanged_content
from cxr.images.atomic import atomic_file
from cxr.labels.cells import label_cells
from cxr.labels.vocabulary import PromptLabels
from cxr.request.events import ExportedFile

TAR_NAMES, PAIR_TAR_NAMES = "{split}-{number:06d}.tar", "pairs-{split}-{number:06d}.tar"


def write_tar(path: Path, files: Sequence[ExportedFile], *, of_pairs: bool = False) -> None:
    """Write one tar file; the same images give the same bytes.

    Args:
        path: appears only once it is complete.
        files: images with their metadata rows.
        of_pairs: whether it is one of the pictures beside the images, and not of these.
    Raises:
        OutputError: an image has changed since it was written, or the disk refused the file.
    """
    with atomic_file(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for image in files:
            row = json.dumps(image.metadata | _cells(image.metadata), ensure_ascii=False, sort_keys=True)
            key = image.path.stem
            pictures = {f".{name}.png": file for name, file in image.beside.items()} if of_pairs else {".png": image}
            for name, picture in pictures.items():
                _add(archive, f"{key}{name}", unchanged_content(picture))
            _add(archive, f"{key}.json", row.encode())
            if not of_pairs:
                _add(archive, f"{key}.txt", str(image.metadata["prompt"]).encode())


def _cells(row: Row) -> dict[str, str]:
    """The labels as texts, as ``metadata.jsonl`` has them: readers take the first rows' types for those of all."""
    findings = row["findings"]
    return label_cells(PromptLabels(None if findings is None else tuple(findings), row["age"], row["sex"], row["view"]))


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    # A fresh TarInfo has time 0, user 0, no user's name and mode 0644: nothing of this machine.
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
