"""A file or a folder is signed, and the log of this machine tells what it has signed and when."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from cxr.folders.lock import locked
from cxr.folders.metadata import CHECKSUMS_NAME, file_sha256
from cxr.images.atomic import cannot_write, make_folder
from cxr.images.guarded import open_regular, reason_of
from cxr.images.png import read_recipe
from cxr.provenance.checksums import write_list
from cxr.provenance.keys import SigningKey, signing_folder
from cxr.provenance.manifest import Signer
from cxr.request.errors import DataError, OutputError

LOG_NAME = "log.jsonl"


def sign_path(path: Path, key: SigningKey, say: Callable[[str], None]) -> int:
    """Sign one PNG; or of a folder every PNG of this program, and then the list of all its files.

    Args:
        path: of a PNG or a folder; what is signed already is signed anew.
        key: whose signature it is.
        say: called with what has been done.
    Returns:
        How many images carry a manifest now.
    Raises:
        DataError: there is nothing to sign, a file cannot be read, or the C2PA library is not installed.
        OutputError: another run is writing into the folder, or the disk refused a file.
    """
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


def signed_here(sha256: str) -> str | None:
    """When this machine signed a file of that content, as its log has it; None if it did not.

    Args:
        sha256: of the file without its manifest, in hex.
    """
    log = signing_folder() / LOG_NAME
    try:
        with open_regular(log) as lines:
            rows = [json.loads(line) for line in lines if sha256.encode() in line]
    except (OSError, ValueError):
        return None
    times = [str(row.get("signed_at")) for row in rows if isinstance(row, dict) and row.get("sha256") == sha256]
    return times[-1] if times else None


def _images(folder: Path) -> Iterator[Path]:
    """PNGs that carry a recipe; plots and other pictures are in the list alone."""
    for path in sorted(folder.rglob("*.png")):
        try:
            read_recipe(path)
        except DataError:
            continue
        yield path


def _sign_each(paths: list[Path], signer: Signer) -> None:
    rows = []
    for path in paths:
        recipe = signer.sign(path)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        try:
            row = {"sha256": file_sha256(path), "recipe_sha256": recipe.sha256, "signed_at": now}
        except OSError as error:
            raise DataError(f"{path} cannot be read: {reason_of(error)}") from error
        rows.append(json.dumps(row) + "\n")
    folder = signing_folder()
    make_folder(folder)
    try:
        with (folder / LOG_NAME).open("a", encoding="ascii") as log:
            log.writelines(rows)
    except OSError as error:
        raise cannot_write(folder / LOG_NAME, error) from error
