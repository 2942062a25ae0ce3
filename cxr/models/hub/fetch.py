"""The files of a repository at one commit: downloaded into the Hub's cache, and used only if their hash agrees.

``snapshot_download`` does not serve: its errors name no file, and its progress no stalled one. Neither does
``verify_repo_checksums``: it asks the Hub each time, also about what is on this disk, and hashes unneeded files.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.utils.sha import git_hash

from cxr.images.guarded import reason_of
from cxr.models.hub.connection import CONNECT_S, is_offline, offline_variable, watched
from cxr.models.hub.listing import HubFile, Listing, ask_cache, ask_hub
from cxr.models.hub.names import COMMIT
from cxr.request.errors import HubError, HubUnreachableError

# Weights that can hold code (.bin, .pt, .ckpt) and code itself (.py) have no place here.
MAX_BYTES = {".safetensors": 12 * 10**9, ".json": 64 * 2**20, ".txt": 16 * 2**20, ".model": 16 * 2**20}
MAX_TOTAL_BYTES = 40 * 10**9
SPARE_BYTES = 2**28  # left free on the disk

T = TypeVar("T")


class _DamagedError(Exception):
    """What arrived is not what was announced."""


def from_hub_or_cache(repo_id: str, revision: str | None, take: Callable[[Listing], T], lacking: str) -> tuple[T, str]:
    """Take files of a repository from where they can be had.

    What is pinned to a commit and complete in the cache is taken from there without asking the Hub; anything else is
    asked for, and taken from the cache when the Hub cannot be reached.

    Args:
        repo_id: "owner/name".
        revision: commit, branch or tag; None for the newest.
        take: fetches what it needs of a listing.
        lacking: what the message says is not on this machine.
    Returns:
        What ``take`` returned, and why an older copy was used, or "".
    Raises:
        HubError: the Hub refused, or ``take`` did.
        HubUnreachableError: the Hub cannot be reached, and the cache holds no complete copy.
    """
    kept, is_pinned = ask_cache(repo_id, revision), COMMIT.fullmatch(revision or "") is not None
    if kept is not None and (is_pinned or is_offline()):
        try:
            return take(kept), "" if is_pinned else f"The Hub may not be asked ({offline_variable()})"
        except HubError:
            pass  # files are missing or damaged
    try:
        if is_offline():
            raise HubUnreachableError(f"the Hub may not be asked for {repo_id}: {offline_variable()} is set")
        return take(ask_hub(repo_id, revision)), ""
    except HubUnreachableError as error:
        try:
            if kept is not None and not is_offline():
                return take(kept), "The Hub cannot be reached"
        except HubError:
            pass
        raise HubUnreachableError(f"{error}, and {lacking}") from error


def fetch(listing: Listing, paths: Iterable[str]) -> Path:
    """Files of one commit, downloaded where they are not in the cache yet, and checked in either case.

    Returns:
        The folder of the commit's files in the cache.
    Raises:
        HubError: a file is unknown, too large, or damaged twice; the disk is too full.
        HubUnreachableError: the Hub does not answer.
    """
    wanted = [listing.file(path) for path in paths]
    _check_sizes(wanted, listing)
    for file in wanted:
        try:
            _fetch_one(listing, file)
        except _DamagedError:
            _forget(listing.folder / file.path)
            try:
                _fetch_one(listing, file)
            except _DamagedError as error:
                _forget(listing.folder / file.path)
                raise HubError(
                    f"{listing.repo_id}/{file.path} {error}, twice; it was removed again; try again later"
                ) from error
    return listing.folder


def _check_sizes(files: list[HubFile], listing: Listing) -> None:
    """Refuse what is larger than any model's files, or than the room on the disk."""
    repo_id, total, missing = listing.repo_id, 0, 0
    for file in files:
        limit = MAX_BYTES[Path(file.path).suffix]
        if file.size is None or file.size > limit:
            size = "of unknown size" if file.size is None else f"{file.size:,} bytes"
            raise HubError(f"{repo_id}/{file.path} is refused: it is {size}, at most {limit:,} bytes are read")
        total += file.size
        missing += 0 if (listing.folder / file.path).exists() else file.size
    if total > MAX_TOTAL_BYTES:
        raise HubError(f"{repo_id} is refused: it has {total:,} bytes, at most {MAX_TOTAL_BYTES:,} are read")
    place = Path(constants.HF_HUB_CACHE)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if missing and free < missing + SPARE_BYTES:
        raise HubError(
            f"{repo_id} needs {missing / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "make room, or set HF_HOME to a folder on a larger disk"
        )


def _fetch_one(listing: Listing, file: HubFile) -> None:
    path, label = listing.folder / file.path, f"{listing.repo_id}/{file.path}"
    if not path.exists():
        if is_offline():
            problem = f"the Hub may not be asked ({offline_variable()})"
            raise HubUnreachableError(f"{problem}, and {file.path} is not on this disk")
        download = partial(
            hf_hub_download,
            listing.repo_id,
            file.path,
            revision=listing.revision or constants.DEFAULT_REVISION,  # the cache notes which commit it stands for
            endpoint=constants.ENDPOINT,
            etag_timeout=CONNECT_S,
        )
        try:
            arrived = watched(lambda bar: download(tqdm_class=bar), label)
        except OSError as error:
            # Of the many OSErrors of the library, only this one is about what arrived.
            if "Consistency check failed" in str(error):
                raise _DamagedError("arrived incomplete") from error
            raise HubError(f"{label} cannot be stored: {reason_of(error)}") from error
        if Path(arrived) != path:
            raise HubError(f"{listing.repo_id} was changed while it was downloaded; try again")
    # A link may lead to another place of the cache, and to nowhere else.
    target = path.resolve(strict=True)
    inside = target.is_relative_to(Path(constants.HF_HUB_CACHE).resolve())
    if not inside or not stat.S_ISREG(target.stat().st_mode):
        raise HubError(f"{label} is refused: it is not a regular file inside the cache of the Hub")
    _check_content(path, file)


def _check_content(path: Path, file: HubFile) -> None:
    if file.size is not None and path.stat().st_size != file.size:
        raise _DamagedError("arrived incomplete")
    with path.open("rb") as content:
        if len(file.digest) == 64:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        else:
            found = git_hash(content.read()) if file.digest else ""
    if found != file.digest:
        raise _DamagedError("arrived damaged: its hash differs from the one that the Hub announced")


def _forget(path: Path) -> None:
    """Remove a file of the cache, the link as well as what it leads to."""
    target = path.resolve()
    path.unlink(missing_ok=True)
    if target.is_relative_to(Path(constants.HF_HUB_CACHE).resolve()):
        target.unlink(missing_ok=True)
