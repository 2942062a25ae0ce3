"""Images -> one ZIP: the folder's files byte for byte, and a manifest with the SHA-256 of each."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cxr import __version__
from cxr.errors import OutputError
from cxr.export.atomic import atomic_file
from cxr.export.folder import ImageFolder
from cxr.export.metadata import METADATA_NAME, file_sha256, metadata_lines
from cxr.schema import DIGITAL_SOURCE_TYPE, SYNTHETIC_NOTICE, ExportedFile

MANIFEST_NAME = "manifest.json"
FIRST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that the format knows; a real one would change the bytes


def write_zip(path: str | Path, files: ImageFolder | Iterable[ExportedFile]) -> ExportedFile:
    """Pack images into a ZIP; the same images give the same bytes.

    Args:
        path: the ZIP to write; it appears only once it is complete.
        files: the images, in the order of their indices, or the folder that holds them.
    Returns:
        The ZIP, with the manifest as its metadata.
    Raises:
        OutputError: there are no images, one has changed since it was written, or the disk refused the ZIP.
    """
    path = Path(path)
    images = files.files if isinstance(files, ImageFolder) else tuple(files)
    if not images:
        raise OutputError("there are no images to put into a ZIP; make at least one first")
    assert len({image.path.name for image in images}) == len(images), "every image has a name of its own"
    metadata = metadata_lines(images)
    rows = []
    # Stored, not deflated: PNGs are compressed already, and zlib's bytes depend on its version.
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for image in images:
            rows.append(_add(archive, image.path.name, _unchanged_content(image)))
        rows.append(_add(archive, METADATA_NAME, metadata))
        manifest = {
            "software": f"CXR Studio {__version__}",
            "notice": SYNTHETIC_NOTICE,
            "digital_source_type": DIGITAL_SOURCE_TYPE,
            "files": rows,
        }
        _add(archive, MANIFEST_NAME, json.dumps(manifest, indent=2).encode() + b"\n")
    return ExportedFile(path, file_sha256(path), manifest)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> dict[str, Any]:
    """Add one entry and return its manifest row."""
    entry = zipfile.ZipInfo(name, FIRST_ZIP_DATE)
    entry.create_system = 3  # Unix, on every system
    entry.external_attr = 0o100644 << 16  # an ordinary file that everyone may read
    archive.writestr(entry, content)
    return {"file_name": name, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def _unchanged_content(image: ExportedFile) -> bytes:
    try:
        content = image.path.read_bytes()
    except OSError as error:
        raise OutputError(f"cannot read {image.path}: {(error.strerror or str(error)).lower()}") from error
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise OutputError(f"{image.path} has changed since it was written; make it again")
    return content
