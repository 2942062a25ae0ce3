"""Files -> one ZIP: the folder's files byte for byte, and a manifest with the SHA-256 of each."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cxr import __version__
from cxr.folders.image_folder import ImageFolder
from cxr.folders.metadata import MANIFEST_NAME, METADATA_NAME, file_sha256, metadata_lines
from cxr.folders.unchanged import size_bytes, unchanged_chunks
from cxr.images.atomic import atomic_file
from cxr.request.errors import OutputError
from cxr.request.events import ExportedFile
from cxr.request.notices import COMPOSITE_SOURCE_TYPE, DERIVED_NOTICE, DIGITAL_SOURCE_TYPE, SYNTHETIC_NOTICE

NOTHING: Mapping[str, bytes] = {}
FIRST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that the format knows; a real one would change the bytes


def write_zip(
    path: str | Path, files: ImageFolder | Iterable[ExportedFile], beside: Mapping[str, bytes] = NOTHING
) -> ExportedFile:
    """Pack images into a ZIP; the same images give the same bytes.

    Args:
        path: the ZIP to write; it appears only once it is complete.
        files: the images, in the order of their indices, or the folder that holds them.
        beside: content of further files, by name.
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
    with _new_zip(path) as archive:
        rows = [_add_file(archive, image.path.name, image) for image in images]
        rows += [_add_content(archive, name, content) for name, content in {METADATA_NAME: metadata, **beside}.items()]
        manifest = {"software": f"CXR Studio {__version__}", **_origin(images), "files": rows}
        _add_content(archive, MANIFEST_NAME, json.dumps(manifest, indent=2).encode() + b"\n")
    return ExportedFile(path, file_sha256(path), manifest)


def _origin(images: Iterable[ExportedFile]) -> dict[str, str]:
    """What the manifest says about all images together: derived, if any one of them began from a picture."""
    if any(image.metadata.get("init_image_sha256") for image in images):
        return {"notice": DERIVED_NOTICE, "digital_source_type": COMPOSITE_SOURCE_TYPE}
    return {"notice": SYNTHETIC_NOTICE, "digital_source_type": DIGITAL_SOURCE_TYPE}


def write_folder_zip(
    path: Path, directory: Path, files: Iterable[ExportedFile], manifest: bytes, beside: Mapping[str, bytes] = NOTHING
) -> None:
    """Pack a folder that has a manifest already into a ZIP; the same folder gives the same bytes.

    Args:
        path: the ZIP to write; it appears only once it is complete.
        directory: the folder; names in the ZIP are relative to it.
        files: those that the manifest lists.
        manifest: content of the manifest, the last entry of the ZIP.
        beside: content of further files, by name; they are added to the manifest.
    Raises:
        OutputError: a file has changed since it was written, or the disk refused the ZIP.
    """
    with _new_zip(path) as archive:
        for file in files:
            _add_file(archive, file.path.relative_to(directory).as_posix(), file)
        if rows := [_add_content(archive, name, content) for name, content in beside.items()]:
            facts = json.loads(manifest)
            manifest = (
                json.dumps(facts | {"files": facts["files"] + rows}, indent=1, ensure_ascii=False).encode() + b"\n"
            )
        _add_content(archive, MANIFEST_NAME, manifest)


@contextmanager
def _new_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    # Stored, not deflated: PNGs are compressed already, and zlib's bytes depend on its version.
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        yield archive


def _add_file(archive: zipfile.ZipFile, name: str, file: ExportedFile) -> dict[str, object]:
    size = size_bytes(file)
    _add(archive, name, unchanged_chunks(file), size)
    return {"file_name": name, "sha256": file.sha256, "size_bytes": size}


def _add_content(archive: zipfile.ZipFile, name: str, content: bytes) -> dict[str, object]:
    _add(archive, name, [content], len(content))
    return {"file_name": name, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def _add(archive: zipfile.ZipFile, name: str, chunks: Iterable[bytes], size: int) -> None:
    """Add one entry piece by piece, so that it is never in memory as a whole."""
    entry = zipfile.ZipInfo(name, FIRST_ZIP_DATE)
    entry.create_system = 3  # Unix, on every system
    entry.external_attr = 0o100644 << 16  # an ordinary file that everyone may read
    entry.file_size = size  # set in advance: zipfile then knows whether the entry needs Zip64
    with archive.open(entry, "w") as target:
        for chunk in chunks:
            target.write(chunk)
