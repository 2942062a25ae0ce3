"""Which files a repository has at one commit: asked of the Hub, or read from what this machine has of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.file_download import repo_folder_name

from cxr.models.hub.connection import CONNECT_S, watched
from cxr.models.hub.names import ALLOWED_SUFFIXES, COMMIT
from cxr.request.errors import HubError

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
    """The files of a repository at one commit that this program may read.

    Args:
        repo_id: "owner/name".
        revision: what was asked for: commit, branch or tag; None for the newest.
        commit: that it stands for.
        files: by their path.
    """

    repo_id: str
    revision: str | None
    commit: str
    files: dict[str, HubFile]

    @property
    def folder(self) -> Path:
        """Where the cache keeps the files of this commit."""
        return _repo_cache(self.repo_id) / "snapshots" / self.commit

    def file(self, path: str) -> HubFile:
        """One of the files.

        Raises:
            HubError: it is not among them.
        """
        if path not in self.files:
            raise HubError(f"{self.repo_id}/{path} is not among the files of commit {self.commit[:8]} on the Hub")
        return self.files[path]


def ask_hub(repo_id: str, revision: str | None) -> Listing:
    """The listing of a revision, as the Hub has it.

    Args:
        repo_id: "owner/name".
        revision: commit, branch or tag; None for the newest.
    Raises:
        HubError: the repository or revision is unknown, or not open to this user.
        HubUnreachableError: no answer.
    """
    what = f"{repo_id}@{revision}" if revision else repo_id
    api = HfApi(endpoint=constants.ENDPOINT, library_name="cxr-studio")  # it finds tokens by itself
    info = watched(lambda _: api.model_info(repo_id, revision=revision, files_metadata=True, timeout=CONNECT_S), what)
    if not COMMIT.fullmatch(info.sha or "") or (COMMIT.fullmatch(revision or "") and info.sha != revision):
        raise HubError(f"the Hub answered for {what} with another commit; try again later")
    files = {}
    for sibling in info.siblings or []:
        if is_allowed(sibling.rfilename):
            digest = sibling.lfs.sha256 if sibling.lfs is not None else sibling.blob_id
            files[sibling.rfilename] = HubFile(sibling.rfilename, sibling.size, digest or "")
    return Listing(repo_id, revision, str(info.sha), files)


def ask_cache(repo_id: str, revision: str | None) -> Listing | None:
    """The listing of what is in the cache, or None where nothing is.

    Args:
        repo_id: "owner/name".
        revision: commit, branch or tag; None for the newest.
    """
    root = _repo_cache(repo_id)
    commit = revision or constants.DEFAULT_REVISION
    if not COMMIT.fullmatch(commit):
        reference = root / "refs" / commit
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else ""
    listing = Listing(repo_id, revision, commit, {})
    if not COMMIT.fullmatch(commit) or not listing.folder.is_dir():
        return None
    for path in listing.folder.rglob("*"):
        name = path.relative_to(listing.folder).as_posix()
        if path.is_file() and is_allowed(name):
            blob = path.resolve().name  # the cache names its files by their hash
            digest = blob if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob) else ""
            listing.files[name] = HubFile(name, path.stat().st_size, digest)
    return listing


def is_allowed(path: str) -> bool:
    """Whether a file is of a kind that cannot carry code, under a plain name."""
    return path.endswith(ALLOWED_SUFFIXES) and ".." not in path and PLAIN_PATH.fullmatch(path) is not None


def _repo_cache(repo_id: str) -> Path:
    """Folder of a repository in the Hub's cache, whether it exists or not."""
    return Path(constants.HF_HUB_CACHE).expanduser().resolve() / repo_folder_name(repo_id=repo_id, repo_type="model")
