"""One LoRA file of the Hub."""

from __future__ import annotations

import re
from pathlib import Path

from cxr.lora.strength import SETTINGS_NAME
from cxr.models.hub.fetch import fetch, from_hub_or_cache
from cxr.models.hub.listing import Listing
from cxr.models.hub.names import HUB_ID, MOVED, REVISION
from cxr.request.errors import AdapterError

MAX_ADAPTER_BYTES = 512 * 2**20
SOURCE = re.compile(r"(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?/(?P<file>.+\.safetensors)")


def download_adapter(source: str) -> Path:
    """Find a LoRA file of the Hub, in its cache or on it, and peft's settings beside it.

    They are checked against the Hub's hash and against nothing else.

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
    file = parts["file"]

    def take(listing: Listing) -> Path:
        size = listing.file(file).size
        if size is None or size > MAX_ADAPTER_BYTES:
            limit = f"it has more than {MAX_ADAPTER_BYTES // 2**20} MB"
            raise AdapterError(f"{listing.repo_id}/{file} is not a LoRA: {limit}")
        beside = f"{file.rpartition('/')[0]}/{SETTINGS_NAME}".lstrip("/")
        return fetch(listing, [file, *({beside} & listing.files.keys())]) / file

    return from_hub_or_cache(MOVED.get(repo_id, repo_id), revision, take, f"{file} is not on this machine")[0]
