"""Temporary files: one private folder for everything that the page writes, swept by age and gone at the end."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path

from cxr.folders.lock import locked
from cxr.images.guarded import reason_of
from cxr.request.errors import OutputError

TEMP_PREFIX = "cxr-studio-"
ABANDONED_S = 24 * 3600  # where locks do not work, folders that a killed server left behind are removed after a day
LIFETIME_S = 3600  # of what visitors uploaded and were given
SWEEP_EVERY_S = 600
KINDS = ("runs", "datasets")  # folders of folders: each job has its own

_page_files: set[Path] = set()
_own_folders: list[Path] = []


def make_private_folder() -> Path:
    """Make the folder that this process keeps its temporary files in, and let everything write there.

    It lies in GRADIO_TEMP_DIR, if that is set, and is removed when the process ends.
    """
    parent = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    if parent.name.startswith(TEMP_PREFIX) and parent.is_dir():
        return parent  # that of the process which started this one
    parent.mkdir(parents=True, exist_ok=True)
    sweep_old_folders(parent)
    folder = _new_locked_folder(parent)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    tempfile.tempdir = str(folder)  # what libraries write for a moment lies there too, should the process be killed
    _own_folders.append(folder)
    atexit.register(remove_private_folders)
    return folder


def remove_private_folders() -> None:
    """Remove only what this process has made."""
    for folder in _own_folders:
        shutil.rmtree(folder, ignore_errors=True)


def _new_locked_folder(parent: Path) -> Path:
    """A folder that this process holds until it ends, so that the next one can tell that it has."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=TEMP_PREFIX, dir=parent))  # readable by this user only
        held = contextlib.ExitStack()
        # Another process that starts may just have taken it for one that was left behind.
        with contextlib.suppress(OutputError):
            if held.enter_context(locked(folder)) and folder.is_dir():
                atexit.register(held.close)
                return folder


def temp_root() -> Path:
    """The folder of everything that is kept for a while only."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def new_job_folder(kind: str) -> Path:
    """Make the folder of one job.

    Args:
        kind: one of `KINDS`.
    Raises:
        OutputError: the disk refused it.
    """
    root = temp_root() / kind
    folder = root / secrets.token_hex(16)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"no temporary folder can be made in {root}: {reason_of(error)}") from error
    return folder


def sweep_old_folders(parent: Path) -> None:
    """Remove the temporary folders of servers that were killed and could not clean up."""
    for folder in parent.glob(f"{TEMP_PREFIX}*"):
        # Another user's folder cannot be opened.
        with contextlib.suppress(OutputError):
            if folder.is_dir() and not folder.is_symlink():
                _remove_if_left_behind(folder)


def _remove_if_left_behind(folder: Path) -> None:
    with locked(folder) as is_free:
        if not is_free:
            return
        with locked(folder) as is_free_again:
            if not is_free_again:  # so locks work here, and no other process holds it
                shutil.rmtree(folder, ignore_errors=True)
                return
    # A server at work keeps making folders inside, so a recent one within means that it is in use.
    _remove_if_older(folder, ABANDONED_S)


def keep_what_is_there(folder: Path) -> None:
    """Keep sweeps from removing what is there now: gradio's copies of the pictures that the page itself shows."""
    _page_files.update(path for path in folder.iterdir() if path.name not in KINDS)


def sweep(folder: Path, lifetime_s: float = LIFETIME_S) -> None:
    """Remove what has been idle for a while: uploads, results and empty folders.

    Args:
        folder: the private folder.
        lifetime_s: age in seconds. A job's folder goes as a whole, when its newest file is older.
    """
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            for entry in path.iterdir() if path.name in KINDS and path.is_dir() else (path,):
                if entry not in _page_files:
                    _remove_if_older(entry, lifetime_s)


def keep_sweeping(folder: Path, every_s: float = SWEEP_EVERY_S, lifetime_s: float = LIFETIME_S) -> threading.Event:
    """Sweep now and then, in a thread of its own, until the event that is returned is set."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(every_s):
            sweep(folder, lifetime_s)

    threading.Thread(target=work, daemon=True, name="sweep").start()
    return stop


def _remove_if_older(path: Path, lifetime_s: float) -> None:
    try:
        inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
        if max(entry.lstat().st_mtime for entry in (path, *inside)) > time.time() - lifetime_s:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    except OSError:
        pass  # another user's, or gone in the meantime
