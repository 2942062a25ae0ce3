"""ZIP: the same files byte for byte, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sample_images import content, failing, fill

from cxr.folders.archive import write_zip
from cxr.folders.image_folder import ImageFolder
from cxr.request.errors import OutputError
from cxr.request.events import ExportedFile
from cxr.request.notices import DIGITAL_SOURCE_TYPE


def test_zip_holds_the_folder_byte_for_byte(tmp_path: Path) -> None:
    fill(tmp_path / "images")
    with ImageFolder(tmp_path / "images") as folder:
        written = write_zip(tmp_path / "all.zip", folder)
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        packed = {name: archive.read(name) for name in archive.namelist()}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    manifest = json.loads(packed.pop("manifest.json"))
    assert packed == content(tmp_path / "images")
    assert written.metadata == manifest
    assert {row["file_name"]: row["sha256"] for row in manifest["files"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in packed.items()
    }
    assert manifest["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert written.sha256 == hashlib.sha256((tmp_path / "all.zip").read_bytes()).hexdigest()


def test_zip_bytes_do_not_depend_on_time_or_place(tmp_path: Path) -> None:
    hashes = set()
    for place in ("here", "there"):
        fill(tmp_path / place)
        os.utime(tmp_path / place / "000000_7.png", (0, 0))
        with ImageFolder(tmp_path / place) as folder:
            hashes.add(write_zip(tmp_path / f"{place}.zip", iter(folder.files)).sha256)
    assert len(hashes) == 1


def _without_images(folder: ImageFolder) -> tuple[ExportedFile, ...]:
    return ()


def _changed(folder: ImageFolder) -> tuple[ExportedFile, ...]:
    folder.files[1].path.write_bytes(b"changed")
    return folder.files


def _deleted(folder: ImageFolder) -> tuple[ExportedFile, ...]:
    folder.files[1].path.unlink()
    return folder.files


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_images, "there are no images"),
        (_changed, r"000001_8\.png has changed since it was written"),
        (_deleted, r"cannot read .*000001_8\.png: no such file"),
    ],
)
def test_zip_that_cannot_be_right_is_not_written(spoil: Any, message: str, tmp_path: Path) -> None:
    fill(tmp_path / "images")
    folder = ImageFolder(tmp_path / "images")
    with pytest.raises(OutputError, match=message):
        write_zip(tmp_path / "all.zip", spoil(folder))
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_full_disk_leaves_no_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "images")
    with (
        ImageFolder(tmp_path / "images") as folder,
        failing("fsync", 1, errno.ENOSPC, monkeypatch),
        pytest.raises(OutputError, match="no space left"),
    ):
        write_zip(tmp_path / "all.zip", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
