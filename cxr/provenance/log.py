"""What this machine has signed, and when: hashes and times, and no prompt."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from cxr.images.atomic import cannot_write, make_folder
from cxr.images.guarded import open_regular
from cxr.request.errors import OutputError

LOG_NAME = "log.jsonl"
NOWHERE = Path(os.devnull)


def signing_folder() -> Path:
    """Where this machine keeps its own key, the authorities that it trusts, and the log of what it has signed."""
    try:
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "cxr-studio" / "signing"
    except RuntimeError:  # a user without a home, as in some containers
        return NOWHERE


def make_signing_folder() -> Path:
    """The same, made if it is missing.

    Raises:
        OutputError: it cannot be made, or this user has no home.
    """
    folder = signing_folder()
    if folder == NOWHERE:
        raise OutputError("you have no home folder to keep a key and a log in; set XDG_CONFIG_HOME to a folder")
    make_folder(folder)
    return folder


@contextlib.contextmanager
def open_log() -> Iterator[Callable[[str, str], None]]:
    """Add to the log.

    Yields:
        What takes note of a signed file, by its SHA-256 without the manifest and that of its recipe.
    Raises:
        OutputError: the disk refused it.
    """
    path = make_signing_folder() / LOG_NAME
    try:
        log = path.open("a", encoding="ascii", buffering=1)
    except OSError as error:
        raise cannot_write(path, error) from error

    def note(sha256: str, recipe_sha256: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        try:
            log.write(json.dumps({"sha256": sha256, "recipe_sha256": recipe_sha256, "signed_at": now}) + "\n")
        except OSError as error:
            raise cannot_write(path, error) from error

    with log:
        yield note


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
