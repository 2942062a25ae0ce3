"""One LoRA file of the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cxr.models.hub.connection import is_offline
from cxr.models.hub.download import fetch
from cxr.models.hub.listing import Listing, ask_cache, ask_hub
from cxr.models.presets import COMMIT, HUB_ID, MOVED, REVISION
from cxr.request.errors import AdapterError, HubError, HubUnreachableError

MAX_ADAPTER_BYTES = 512 * 2**20
SOURCE = re.compile(r"(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?/(?P<file>.+\.safetensors)")


@dataclass(frozen=True)
class HubAdapter:
    """A LoRA file in the Hub's cache, checked against the Hub's hash and against nothing else.

    Args:
        path: of the file.
        revision: "hub:owner/name@commit".
        repo_id: "owner/name".
    """

    path: Path
    revision: str
    repo_id: str


def download_adapter(source: str) -> HubAdapter:
    """Find a LoRA file of the Hub, in its cache or on it.

    Args:
        source: "owner/name/file.safetensors" or "owner/name@revision/folder/file.safetensors".
    Raises:
        AdapterError: the source is not of that form, or the file is too large for a LoRA.
        HubError: the Hub refused, or does not know it.
        HubUnreachableError: the Hub cannot be reached, and the file is not in the cache.
    """
    parts = SOURCE.fullmatch(source)
    repo_id, revision = (parts["repo"], parts["revision"]) if parts else ("", None)
    if not parts or ".." in source or not HUB_ID.fullmatch(repo_id) or (revision and not REVISION.fullmatch(revision)):
        raise AdapterError(f"adapter 'hub:{source}' is unknown; use hub:owner/name[@revision]/file.safetensors")
    repo_id, file = MOVED.get(repo_id, repo_id), parts["file"]
    kept = ask_cache(repo_id, revision)
    has_file = kept is not None and file in kept.files
    if kept is not None and has_file and (is_offline() or COMMIT.fullmatch(revision or "")):
        return _from(kept, file, revision)
    try:
        if is_offline():
            raise HubUnreachableError(f"the Hub may not be asked for {repo_id}: HF_HUB_OFFLINE is set")
        return _from(ask_hub(repo_id, revision), file, revision)
    except HubUnreachableError as error:
        if kept is None or not has_file:
            raise HubUnreachableError(f"{error}, and {file} is not on this machine") from error
        return _from(kept, file, revision)


def _from(listing: Listing, file: str, revision: str | None) -> HubAdapter:
    known = listing.files.get(file)
    if known is None:
        raise HubError(f"{listing.repo_id}/{file} is not among the files of commit {listing.commit[:8]} on the Hub")
    if known.size is None or known.size > MAX_ADAPTER_BYTES:
        raise AdapterError(f"{listing.repo_id}/{file} is no LoRA: it has more than {MAX_ADAPTER_BYTES // 2**20} MB")
    folder = fetch(listing, [file], revision)
    return HubAdapter(folder / file, f"hub:{listing.repo_id}@{listing.commit}", listing.repo_id)
