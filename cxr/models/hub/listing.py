"""Which files a repository has at one commit: asked of the Hub, or read from what this machine has of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from cxr.models.hub.connection import CONNECT_S, api, watched
from cxr.models.presets import ALLOWED_SUFFIXES, COMMIT
from cxr.request.errors import HubError

# Weights that can hold code (.bin, .pt, .ckpt) and code itself (.py) have no place here.
MAX_BYTES = {".safetensors": 12 * 10**9, ".json": 64 * 2**20, ".txt": 16 * 2**20, ".model": 16 * 2**20}
MAX_TOTAL_BYTES = 40 * 10**9
PLAIN_PATH = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*", re.ASCII)


@dataclass(frozen=True)
class HubFile:
    """One file of a repository.

    Args:
        path: in the repository, with "/" between folders.
        size: in bytes, or None where that is not known.
        digest: 64 hex digits: SHA-256 of a large file; 40: git's own hash of a small one; "" when unknown.
    """

    path: str
    size: int | None
    digest: str


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit that this program may read."""

    repo_id: str
    commit: str
    files: dict[str, HubFile]


def ask_hub(repo_id: str, revision: str | None) -> Listing:
    """The listing of a revision, as the Hub tells it.

    Args:
        repo_id: "owner/name".
        revision: commit, branch or tag; None for the newest.
    Raises:
        HubError: the repository or revision is unknown, or not open to this user.
        HubUnreachableError: no answer.
    """
    what = f"{repo_id}@{revision}" if revision else repo_id
    info = watched(lambda _: api().model_info(repo_id, revision=revision, files_metadata=True, timeout=CONNECT_S), what)
    if not COMMIT.fullmatch(info.sha or "") or (COMMIT.fullmatch(revision or "") and info.sha != revision):
        raise HubError(f"the Hub answered for {what} with another commit; try again later")
    files = {}
    for sibling in info.siblings or []:
        if is_allowed(sibling.rfilename):
            digest = sibling.lfs.sha256 if sibling.lfs is not None else sibling.blob_id
            files[sibling.rfilename] = HubFile(sibling.rfilename, sibling.size, digest or "")
    return Listing(repo_id, str(info.sha), files)


def ask_cache(repo_id: str, revision: str | None) -> Listing | None:
    """The listing of what is in the cache, or None where nothing is; arguments as for ``ask_hub``."""
    root = repo_cache(repo_id)
    commit = revision or constants.DEFAULT_REVISION
    if not COMMIT.fullmatch(commit):
        reference = root / "refs" / commit
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else ""
    snapshot = root / "snapshots" / commit
    if not COMMIT.fullmatch(commit) or not snapshot.is_dir():
        return None
    files = {}
    for path in snapshot.rglob("*"):
        name = path.relative_to(snapshot).as_posix()
        if path.is_file() and is_allowed(name):
            blob = path.resolve().name  # the cache names its files by their hash
            digest = blob if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob) else ""
            files[name] = HubFile(name, path.stat().st_size, digest)
    return Listing(repo_id, commit, files)


def repo_cache(repo_id: str) -> Path:
    """Folder of a repository in the Hub's cache, whether it exists or not."""
    return Path(constants.HF_HUB_CACHE).expanduser().resolve() / repo_folder_name(repo_id=repo_id, repo_type="model")


def is_allowed(path: str) -> bool:
    """Whether a file is of a kind that cannot carry code, under a plain name."""
    return path.endswith(ALLOWED_SUFFIXES) and ".." not in path and PLAIN_PATH.fullmatch(path) is not None


def check_sizes(files: Iterable[HubFile], repo_id: str) -> None:
    """Refuse files that are larger than any model's.

    Raises:
        HubError: one of them, or all together, are.
    """
    total = 0
    for file in files:
        limit = MAX_BYTES[Path(file.path).suffix]
        if file.size is None or file.size > limit:
            size = "of unknown size" if file.size is None else f"{file.size:,} bytes"
            raise HubError(f"{repo_id}/{file.path} is refused: it is {size}, at most {limit:,} bytes are read")
        total += file.size
    if total > MAX_TOTAL_BYTES:
        raise HubError(f"{repo_id} is refused: it has {total:,} bytes, at most {MAX_TOTAL_BYTES:,} are read")
