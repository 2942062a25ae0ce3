"""Bring single files of a repository into the Hub's cache, and believe none of them before its hash agrees."""

from __future__ import annotations

import hashlib
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import constants, hf_hub_download

from cxr.models.hub.connection import CONNECT_S, is_offline, watched
from cxr.models.hub.listing import HubFile, Listing, check_sizes, repo_cache
from cxr.request.errors import HubError, HubUnreachableError

SPARE_BYTES = 2**28  # left free on the disk


class _DamagedError(Exception):
    """What arrived is not what was announced."""


def fetch(listing: Listing, paths: Iterable[str], revision: str | None) -> Path:
    """Files of one commit, downloaded where they are not in the cache yet, and checked in either case.

    Args:
        listing: which files there are.
        paths: those that are wanted.
        revision: as the user gave it; the cache remembers which commit it stood for.
    Returns:
        The folder of the commit's files in the cache.
    Raises:
        HubError: a file is unknown, too large, or damaged twice; the disk is too full.
        HubUnreachableError: the Hub does not answer.
    """
    wanted = [_known(listing, path) for path in paths]
    check_sizes(wanted, listing.repo_id)
    snapshot = repo_cache(listing.repo_id) / "snapshots" / listing.commit
    missing = [file for file in wanted if not (snapshot / file.path).exists()]
    _check_space(sum(file.size or 0 for file in missing), listing.repo_id)
    for file in wanted:
        try:
            _fetch_one(listing, file, revision)
        except _DamagedError:
            _forget(snapshot / file.path)
            try:
                _fetch_one(listing, file, revision)
            except _DamagedError as error:
                _forget(snapshot / file.path)
                raise HubError(
                    f"{listing.repo_id}/{file.path} {error}, twice; it was removed again; try again later"
                ) from error
    return snapshot


def _known(listing: Listing, path: str) -> HubFile:
    if path not in listing.files:
        raise HubError(f"{listing.repo_id}/{path} is not among the files of commit {listing.commit[:8]} on the Hub")
    return listing.files[path]


def _fetch_one(listing: Listing, file: HubFile, revision: str | None) -> None:
    snapshot = repo_cache(listing.repo_id) / "snapshots" / listing.commit
    path = snapshot / file.path
    if not path.exists():
        if is_offline():
            raise HubUnreachableError(f"the Hub may not be asked (HF_HUB_OFFLINE), and {file.path} is not on this disk")
        try:
            path = Path(
                watched(
                    lambda bar: hf_hub_download(
                        listing.repo_id,
                        file.path,
                        revision=revision or constants.DEFAULT_REVISION,
                        endpoint=constants.ENDPOINT,
                        etag_timeout=CONNECT_S,
                        tqdm_class=bar,
                    ),
                    f"{listing.repo_id}/{file.path}",
                )
            )
        except OSError as error:
            # Of the many OSErrors of the library, only this one is about what arrived.
            if "Consistency check failed" in str(error):
                raise _DamagedError("arrived incomplete") from error
            raise HubError(f"{listing.repo_id}/{file.path} cannot be stored: {error.strerror or error}") from error
    if path != snapshot / file.path:
        raise HubError(f"{listing.repo_id} was changed while it was downloaded; try again")
    _check_place(path, listing.repo_id, file)
    _check_content(path, file)


def _check_place(path: Path, repo_id: str, file: HubFile) -> None:
    """A link may lead to another place of the cache, and to nowhere else."""
    target = path.resolve(strict=True)
    inside = target.is_relative_to(Path(constants.HF_HUB_CACHE).resolve())
    if not inside or not stat.S_ISREG(target.stat().st_mode):
        raise HubError(f"{repo_id}/{file.path} is refused: it is no regular file inside the cache of the Hub")


def _check_content(path: Path, file: HubFile) -> None:
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise _DamagedError("arrived incomplete")
    with path.open("rb") as content:
        if len(file.digest) == 64:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        elif len(file.digest) == 40:
            blob = f"blob {size}\0".encode() + content.read()
            found = hashlib.sha1(blob, usedforsecurity=False).hexdigest()  # git's own name for it
        else:
            return
    if found != file.digest:
        raise _DamagedError("arrived damaged: its hash differs from the one that the Hub announced")


def _forget(path: Path) -> None:
    """Remove a file of the cache, the link as well as what it leads to."""
    target = path.resolve()
    path.unlink(missing_ok=True)
    if target.is_relative_to(Path(constants.HF_HUB_CACHE).resolve()):
        target.unlink(missing_ok=True)


def _check_space(needed: int, repo_id: str) -> None:
    if not needed:
        return
    place = Path(constants.HF_HUB_CACHE)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed + SPARE_BYTES:
        raise HubError(
            f"{repo_id} needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "make room, or set HF_HOME to a folder on a larger disk"
        )
