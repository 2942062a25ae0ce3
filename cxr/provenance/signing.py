"""A file or a folder is signed: images one by one, then the list of all files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from cxr.folders.dataset_manifest import WORK_NAME
from cxr.folders.lock import locked
from cxr.folders.metadata import CHECKSUMS_NAME, file_sha256
from cxr.images.png import read_recipe
from cxr.provenance.checksums import write_list
from cxr.provenance.keys import SigningKey
from cxr.provenance.log import open_log
from cxr.provenance.manifest import Signer
from cxr.request.errors import DataError, OutputError


def sign_path(path: Path, key: SigningKey, say: Callable[[str], None]) -> int:
    """Sign one PNG; or of a folder every PNG of this program, and then the list of all its files.

    Args:
        path: of a PNG or a folder; what is signed already is signed anew.
        say: called with what has been done.
    Returns:
        How many images carry a manifest now.
    Raises:
        DataError: a file is not an image of this program, or cannot be read.
        OutputError: another run is writing into the folder, it is a data set that is not finished, or the disk refused
            a file.
    """
    if (path / WORK_NAME).is_dir():
        raise OutputError(f"{path} is a data set that is not finished; repeat the command that began it, then sign it")
    signer = Signer(key)
    if path.is_dir():
        with locked(path) as is_free:
            if not is_free:
                raise OutputError(f"another run is writing into {path}; sign it when that has ended")
            images = list(_images(path))
            _sign_each(images, signer)
            num_files = write_list(path, key)
        say(f"{path}: {len(images)} images signed, {num_files} files in {CHECKSUMS_NAME}")
        return len(images)
    _sign_each([path], signer)
    say(f"{path}: signed")
    return 1


def _images(folder: Path) -> Iterator[Path]:
    """PNGs that carry a recipe; plots and other pictures are in the list alone."""
    for path in sorted(folder.rglob("*.png")):
        try:
            read_recipe(path)
        except DataError:
            continue
        yield path


def _sign_each(paths: list[Path], signer: Signer) -> None:
    with open_log() as note:  # one line after each image: what is signed is known even if the next one fails
        for path in paths:
            recipe = signer.sign(path)
            note(file_sha256(path), recipe.sha256)
