"""The one door of the server: ASGI middleware that every request passes before gradio sees it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cxr.web.api.calls import Calls, event_of, stream_of
from cxr.web.server.hosts import check_host
from cxr.web.server.refusal import Refusal
from cxr.web.server.uploads import INCOMPLETE, check_upload
from cxr.web.server.visitors import Ticket, address_of

MAX_BODY_BYTES = 8_000_000  # of one request, all its files together
MAX_BODY_S = 60.0
MAX_UPLOADS_AT_ONCE = 4  # that are held in memory
TOO_LARGE = f"the request is larger than {MAX_BODY_BYTES // 1_000_000} MB, the most that is taken"


class Door:
    """Checks the name that was asked for, the size of what is sent, files and calls; notes who listens to a job.

    Args:
        app: what lies behind it.
        calls: which endpoints there are, and whose jobs.
        hosts: names that the server answers to.
    """

    def __init__(self, app: ASGIApp, calls: Calls, hosts: Iterable[str]) -> None:
        self.app, self.calls, self.hosts = app, calls, tuple(hosts)
        self.jobs = calls.jobs
        self.jobs.is_watched = True
        self.places = asyncio.Semaphore(MAX_UPLOADS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400, 403, 404, 408, 413, 415, 422, 503 or 507 and one sentence."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            check_host(request.headers.get("host", ""), self.hosts)
            if request.method in ("POST", "PUT", "PATCH"):
                await self._let_in(request, scope, send)
            elif stream := stream_of(scope["path"], request.query_params.get("session_hash", "")):
                await self._listen(*stream, scope, receive, send)
            else:
                await self.app(scope, receive, send)
        except Refusal as refusal:
            await refusal.response()(scope, receive, send)

    async def _let_in(self, request: Request, scope: Scope, send: Send) -> None:
        """Read and check what is sent before it is passed on."""
        kind = request.headers.get("content-type", "")
        is_form = kind.lower().startswith("multipart/")
        async with self.places if is_form else contextlib.nullcontext():
            body = await _read_body(request)
            if is_form:
                await check_upload(body, kind)
            elif self.calls.check(scope["path"], body, address_of(request)):
                scope, send = _with_ticket(scope, send)
                body = self.calls.completed(scope["path"], body)
            elif self.calls.cancels(scope["path"], body):
                await JSONResponse({"success": True})(scope, request.receive, send)
                return
            await self.app(scope, _replay(body, request.receive), send)

    async def _listen(self, name: str, is_event: bool, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a stream; when that of one event breaks off, nobody can take it up again."""
        is_complete = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_complete
            is_complete |= message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            with self.jobs.listening(name):
                await self.app(scope, receive, send_and_note)
        finally:
            if is_event and not is_complete:
                self.jobs.end_event(name)


def _with_ticket(scope: Scope, send: Send) -> tuple[Scope, Send]:
    """A call with a ticket, which learns the id of its event when the call is answered."""
    ticket, answer = Ticket(), bytearray()

    async def send_and_note(message: Message) -> None:
        answer.extend(message.get("body", b""))
        ticket.event = ticket.event or event_of(bytes(answer))
        await send(message)

    return {**scope, "state": {**scope.get("state", {}), "ticket": ticket}}, send_and_note


async def _read_body(request: Request) -> bytes:
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length[:12]) > MAX_BODY_BYTES:
        raise Refusal(413, TOO_LARGE)
    body = bytearray()
    try:
        async with asyncio.timeout(MAX_BODY_S):
            async for chunk in request.stream():  # it may come in pieces, without a length
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise Refusal(413, TOO_LARGE)
    except TimeoutError as error:
        raise Refusal(408, f"the upload took more than {MAX_BODY_S:g} s") from error
    except ClientDisconnect as error:
        raise Refusal(400, INCOMPLETE) from error
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Receive a body that has been read already, then whatever follows it."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again
