"""Requests to the Hub: given up when nothing arrives for `STALL_S`, with errors in this program's own words.

huggingface_hub has a time limit for a piece of a file, and then tries five times more; so the waiting is done here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

import httpx2
from huggingface_hub import constants
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils.tqdm import tqdm

from cxr.request.errors import HubError, HubUnreachableError


def _seconds(variable: str, read: int, own: float) -> float:
    """How long to wait: as the user has set it for huggingface_hub, which has read it, else this program's own time."""
    return float(read) if os.environ.get(variable) else own


CONNECT_S = _seconds("HF_HUB_ETAG_TIMEOUT", constants.HF_HUB_ETAG_TIMEOUT, 5.0)
STALL_S = _seconds("HF_HUB_DOWNLOAD_TIMEOUT", constants.HF_HUB_DOWNLOAD_TIMEOUT, 10.0)  # without a piece of a file
PIECE_BYTES = 2**18  # progress is counted in pieces; the library's own 10 MB take a slow line longer than STALL_S
POLL_S = 0.02
LOG_IN = "log in with “hf auth login”"
UNREACHABLE = (hub_errors.HfHubHTTPError, hub_errors.OfflineModeIsEnabled, hub_errors.LocalEntryNotFoundError)

T = TypeVar("T")


class _Watch:
    """When the last piece arrived, and whether the next one is still awaited."""

    def __init__(self) -> None:
        self.last_s, self.is_given_up = time.monotonic(), False

    def progress_class(self) -> type[tqdm]:
        """A progress bar of the library that tells this watch of every piece."""
        watch = self

        class Bar(tqdm):
            def update(self, n: float | None = 1) -> bool | None:
                if watch.is_given_up:
                    raise HubUnreachableError("nobody waits for this file any more")
                if n:
                    watch.last_s = time.monotonic()
                shown: bool | None = super().update(n)
                return shown

        return Bar


def watched(work: Callable[[type[tqdm]], T], what: str) -> T:
    """Run something that fetches, and give up when nothing has come for STALL_S.

    The library itself tries again for minutes; it then does so alone, and stops at its next piece.

    Args:
        work: gets a progress bar class, and calls its ``update`` for each piece.
        what: is fetched, for messages.
    Raises:
        HubError: the Hub refused.
        HubUnreachableError: it does not answer, or stalled.
    """
    constants.DOWNLOAD_CHUNK_SIZE = PIECE_BYTES
    watch, outcome = _Watch(), Future[T]()

    def run() -> None:
        try:
            outcome.set_result(work(watch.progress_class()))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True, name="hub").start()
    while not wait([outcome], POLL_S).done:
        if time.monotonic() - watch.last_s > STALL_S:
            watch.is_given_up = True
            raise HubUnreachableError(f"{what} stalled: no data for {STALL_S:g} s; try again later")
    if error := outcome.exception():
        raise in_our_words(error, what) from error
    return outcome.result()


def is_offline() -> bool:
    """Whether the Hub may not be asked."""
    return bool(constants.is_offline_mode())


def offline_variable() -> str:
    """What forbids to ask the Hub, for messages."""
    is_other = os.environ.get("TRANSFORMERS_OFFLINE") and not os.environ.get("HF_HUB_OFFLINE")
    return "TRANSFORMERS_OFFLINE" if is_other else "HF_HUB_OFFLINE"


def in_our_words(error: BaseException, what: str) -> BaseException:
    """A library's error as a sentence for users; anything that is not about the Hub stays what it is.

    Args:
        error: raised by huggingface_hub or by its HTTP client.
        what: "owner/name" or "owner/name/file", for the message.
    """
    repo_id = "/".join(what.split("/")[:2]).partition("@")[0]
    page = f"{constants.ENDPOINT}/{repo_id}"
    status = error.response.status_code if isinstance(error, hub_errors.HfHubHTTPError) else 0
    if isinstance(error, hub_errors.GatedRepoError):
        return HubError(f"{repo_id} is gated: accept its terms on {page}, then {LOG_IN}")
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return HubError(f"{what} has no such revision on the Hub; see {page} for those that there are")
    if isinstance(error, hub_errors.EntryNotFoundError) and status == 404:
        return HubError(f"{what} is not on the Hub; see {page} for the files that there are")
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        return HubError(f"{repo_id} is not on the Hub, or private; check the name, or {LOG_IN}")
    if status in {401, 403}:
        return HubError(f"the Hub does not let you read {repo_id}; {LOG_IN}, see {page}")
    if isinstance(error, (*UNREACHABLE, httpx2.TransportError)):
        reason = f"it answered {status}" if status else type(error).__name__
        return HubUnreachableError(f"the Hub cannot be reached for {repo_id} ({reason})")
    return error
