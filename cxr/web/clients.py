"""How many jobs one visitor has at the model, counted in gradio's own queue, so that no count can go wrong.

Whatever ends a job - its result, an error, a stop, a visitor who has left - takes it out of the queue, and so its place
is free again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
from collections.abc import Callable, Iterator
from typing import Any

import anyio.from_thread
import gradio as gr
from gradio.context import LocalContext
from gradio.server_messages import ProcessCompletedMessage

from cxr.request.errors import RequestError
from cxr.web.events import MODEL_QUEUE


def limit_jobs(page: gr.Blocks, most: int, in_turns: Callable[..., Any] | None = None) -> None:
    """Let the queue of a page take at most so many jobs of one visitor; 0 for no limit.

    Args:
        page: after its last call of ``queue``, which makes a new one.
        most: jobs that need the model, waiting and running together.
        in_turns: a function whose next turn is asked for before the present one has ended; they are one job.
    """
    queue: Any = page._queue
    push, one_at_a_time = queue.push, asyncio.Lock()

    async def push_if_allowed(body: Any, request: Any, username: Any) -> tuple[bool, Any, str]:
        function = page.fns.get(body.fn_index)
        if function is None or function.concurrency_id != MODEL_QUEUE:
            return await push(body=body, request=request, username=username)
        async with one_at_a_time:
            succeeded = (
                in_turns is not None and function.fn == in_turns and _is_running(queue, body.session_hash, in_turns)
            )
            if count_jobs(queue, body.session_hash, address_of(request)) - succeeded < most:
                return await push(body=body, request=request, username=username)
        if function.api_visibility != "public":
            return False, too_many(most), "queue_full"  # the page tells it in its own words
        # Of the refusals of a queue, this is the one whose sentence gradio's client passes on.
        refusal = {"__type__": "validate", "is_valid": False, "parameter_name": "request", "message": too_many(most)}
        return False, [refusal], "validator_error"

    if most:
        queue.push = push_if_allowed


def refuse_if_busy(most: int) -> None:
    """Refuse the current event if its visitor has as many jobs as allowed; 0 for no limit.

    Raises:
        RequestError: so many of them wait or run already.
    """
    request, queue = LocalContext.request.get(None), _current_queue()
    if not most or request is None or queue is None:
        return
    if count_jobs(queue, getattr(request, "session_hash", None), address_of(request)) >= most:
        raise RequestError(too_many(most))


def leave_queue(function: Callable[..., Any]) -> None:
    """Take the waiting events of the current session that would call this function out of the queue."""
    request, queue = LocalContext.request.get(None), _current_queue()
    session_hash = getattr(request, "session_hash", None)
    if queue is None or not session_hash:
        return

    def leave() -> None:
        for event in [*_waiting(queue)]:
            if event.session_hash == session_hash and event.fn.fn == function:
                queue.event_queue_per_concurrency_id[MODEL_QUEUE].queue.remove(event)
                queue.event_ids_to_events.pop(event._id, None)
                queue.send_message(event, ProcessCompletedMessage(output={"data": []}, success=True))

    with contextlib.suppress(RuntimeError):  # no event loop: nobody waits
        anyio.from_thread.run_sync(leave)  # the queue belongs to the event loop's thread


def count_jobs(queue: Any, session_hash: str | None, address: str) -> int:
    """Jobs in gradio's queue, waiting and running, of this session or from this network address."""
    jobs = [*_waiting(queue), *_running(queue)]
    return sum(1 for event in jobs if event.session_hash == session_hash or address_of(event.request) == address)


def address_of(request: Any) -> str:
    """The network address of a visitor.

    A Space is reached through a proxy, which writes the visitor's address at the end of X-Forwarded-For, perhaps
    followed by private addresses of further proxies. What stands before it was sent by the visitor, and anywhere else
    all of it may have been.
    """
    peer = request.client.host if request.client else ""
    if not os.environ.get("SPACE_ID"):
        return str(peer)
    for part in reversed(request.headers.get("x-forwarded-for", "").split(",")):
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(part.strip())
            if address.is_global:
                return str(address)
    return str(peer)


def too_many(most: int) -> str:
    """What a visitor reads who has as many jobs as allowed."""
    jobs = "a request" if most == 1 else f"{most} requests"
    return f"you have {jobs} at the model already, as many as this server allows; wait for one to end, or stop it"


def _current_queue() -> Any:
    return getattr(LocalContext.blocks.get(None), "_queue", None)


def _is_running(queue: Any, session_hash: str | None, function: Callable[..., Any]) -> bool:
    return any(event.session_hash == session_hash and event.fn.fn == function for event in _running(queue))


def _waiting(queue: Any) -> Iterator[Any]:
    yield from getattr(queue.event_queue_per_concurrency_id.get(MODEL_QUEUE), "queue", ())


def _running(queue: Any) -> Iterator[Any]:
    for batch in queue.active_jobs:
        yield from (event for event in batch or () if event.concurrency_id == MODEL_QUEUE)
