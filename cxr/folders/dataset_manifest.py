"""The manifest of a data set, which lists all its files, and how its folder is distinguished from one of ``generate``.

What is read was written by this program or is refused, and no name leads out of the folder.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from cxr.folders.metadata import MANIFEST_NAME, METADATA_NAME
from cxr.folders.tables import Row
from cxr.images.guarded import read_regular, reason_of
from cxr.request.errors import DataError
from cxr.request.events import ExportedFile
from cxr.request.init_image import SHA256
from cxr.request.strict_json import unique_names

FORMAT = 1  # of data sets
WORK_NAME = ".cxr-dataset"  # what is known of a data set while it is made
PAIRS_NAME = "pairs"  # folder of what differs between the two images of a pair
MAX_MANIFEST_BYTES = 1_000_000_000

_PART = r"(?!\.{1,2}(/|$))[^/\\:\x00-\x1f]+"  # never a parent, a drive or a root
_MEMBER = re.compile(rf"{_PART}(/{_PART})*")


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``: its bytes, the files that it lists, and all that it says."""

    content: bytes
    files: tuple[ExportedFile, ...]
    facts: Row


def patient_id_of(index: int) -> str:
    """The synthetic patient whose first image has this index."""
    return f"SYN{index:07d}"


def pair_pictures(patient_id: str) -> tuple[str, str]:
    """Names in a data set of the signed difference and of the mask of a pair."""
    return f"{PAIRS_NAME}/{patient_id}_difference.png", f"{PAIRS_NAME}/{patient_id}_mask.png"


def is_listed_image(file: ExportedFile) -> bool:
    """Whether a file of a manifest is an image of the set, rather than a picture of the card or of a pair."""
    return file.path.suffix == ".png" and file.path.parent.name not in ("plots", PAIRS_NAME)


def is_without_splits(directory: Path) -> bool:
    """Whether a folder is one that ``python -m cxr generate`` wrote, without splits.

    Raises:
        DataError: it is not a folder.
    """
    if not directory.is_dir():
        raise DataError(f"{directory} is not a folder; name one that python -m cxr dataset wrote")
    return (directory / METADATA_NAME).is_file() and not is_dataset(directory)


def is_dataset(directory: Path) -> bool:
    """Whether a folder is one that ``python -m cxr dataset`` has finished or begun."""
    if (directory / WORK_NAME).is_dir():
        return True
    if not (directory / MANIFEST_NAME).is_file():
        return False
    try:  # the manifest in a ZIP of generate's folder is another
        return any(directory.glob(f"*/{METADATA_NAME}")) or "format" in read_manifest(directory).facts
    except DataError:
        return False


def read_manifest(directory: Path) -> Manifest:
    """Read the list of all files of a data set.

    Raises:
        DataError: there is none, or it is not of this program.
    """
    path = directory / MANIFEST_NAME
    try:
        content = read_regular(path, MAX_MANIFEST_BYTES)
        manifest = json.loads(content, object_pairs_hook=unique_names)
        version, files = manifest["format"], tuple(_listed(directory, row) for row in manifest["files"])
    except FileNotFoundError as error:
        raise DataError(
            f"{directory} is not a finished data set; name a folder that python -m cxr dataset wrote, "
            "or repeat that command to finish it"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason_of(error)}") from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged or of another program; make the data set again") from error
    if version != FORMAT:
        raise DataError(f"{path} has format {version}; this version of the program reads {FORMAT}")
    if len({file.path for file in files}) != len(files):
        raise DataError(f"{path} lists a file twice; make the data set again")
    return Manifest(content, files, manifest)


def _listed(directory: Path, row: Row) -> ExportedFile:
    name, sha256 = row["file_name"], row["sha256"]
    if not _MEMBER.fullmatch(name) or not SHA256.fullmatch(sha256) or name == MANIFEST_NAME:
        raise ValueError("no file of a data set")
    return ExportedFile(directory / name, sha256, dict(row))
