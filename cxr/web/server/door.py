"""The one door of the server: ASGI middleware that every request passes before gradio sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cxr.web.api.calls import Calls, event_of, stream_of
from cxr.web.server.places import Places
from cxr.web.server.refusal import Refusal
from cxr.web.server.session_streams import SessionStreams
from cxr.web.server.sessions import CallSessions
from cxr.web.server.uploads import INCOMPLETE, UploadedFiles, check_upload
from cxr.web.server.visitors import Ticket, address_of

MAX_BODY_BYTES = 8_000_000  # of one request, all its files together
SMALL_BODY_BYTES = 100_000  # never has to wait for a place
MAX_BODY_S = 60.0
MAX_SILENCE_S = 10.0  # between two pieces of a body
TOO_LARGE = f"the request is larger than {MAX_BODY_BYTES // 1_000_000} MB, the limit"
UNUSABLE = "these values cannot be used; load the page again"
ONE_RANGE = re.compile(r"bytes=(\d+-\d*|-\d+)")


class Door:
    """Checks the size of what is sent, files and calls; notes who listens to a job.

    Args:
        calls: which endpoints there are, and whose jobs.
    """

    def __init__(self, app: ASGIApp, calls: Calls) -> None:
        self.app, self.calls = app, calls
        self.jobs = calls.jobs
        self.jobs.is_watched = True
        self.places, self.uploaded = Places(), UploadedFiles()
        self.sessions, self.streams = CallSessions(calls.page, calls.jobs), SessionStreams(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400, 404, 408, 413, 415, 422, 503 or 507 and one sentence."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            if request.method in ("POST", "PUT", "PATCH"):
                await self._let_in(request, send)
            elif stream := stream_of(scope["path"], request.query_params.get("session_hash", "")):
                await self._listen(*stream, scope, receive, send)
            else:
                await self.app(_with_one_range(scope), receive, send)
        except Refusal as refusal:
            await refusal.response()(scope, receive, send)

    async def _let_in(self, request: Request, send: Send) -> None:
        """Read and check what is sent before it is passed on."""
        kind, ticket = request.headers.get("content-type", ""), Ticket(address_of(request))
        is_form, length = kind.lower().startswith("multipart/"), request.headers.get("content-length", "")
        is_small = not is_form and length.isdigit() and int(length[:12]) <= SMALL_BODY_BYTES
        async with contextlib.nullcontext() if is_small else self.places.take(ticket.address):
            body = await _read_body(request)
            scope = {**request.scope, "state": {**request.scope.get("state", {}), "ticket": ticket}}
            if is_form:
                await self._take_form(body, kind, ticket, scope, request.receive, send)
                return
            call = await asyncio.to_thread(self.calls.check, scope["path"], kind, body, ticket.address)
            if call.cancels and self.jobs.end_event(call.cancels):
                # Gradio would end all jobs of the same client with it.
                await JSONResponse({"success": True})(scope, request.receive, send)
                return
            self.streams.expect(call.session)
            answer = _Answer(send, ticket, is_direct=call.is_direct)
            await self.app(*_with_body(scope, call.body, request.receive), answer)
            if ticket.event:
                self.sessions.note(ticket.event)

    async def _take_form(
        self, body: bytes, kind: str, ticket: Ticket, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass on a form whose files have names of their own, and note where they were stored."""
        form = await check_upload(body, kind)
        self.uploaded.check_room(sum(form.sizes.values()), ticket.address)
        scope, receive = _with_body(scope, form.body, receive)
        MutableHeaders(scope=scope)["content-type"] = form.content_type
        answer = _Answer(send, ticket)
        await self.app(scope, receive, answer)
        self.uploaded.keep(answer.paths, form.sizes, ticket.address)

    async def _listen(self, name: str, is_event: bool, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a stream; when that of one event breaks off, nobody can take it up again."""
        if not is_event:
            with self.jobs.listening(name):
                await self.streams.listen(name, scope, receive, send)
            return
        is_complete = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_complete
            is_complete |= message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            with self.jobs.listening(name):
                await self.app(scope, receive, send_and_note)
        finally:
            if not is_complete:
                self.jobs.end_event(name)


class _Answer:
    """Passes on the answer to a call, and reads it on its way.

    Args:
        ticket: learns the id of the event that the call has become.
        is_direct: where gradio's only word for a value that an event cannot use is a fault, one sentence is said.
    """

    def __init__(self, send: Send, ticket: Ticket, *, is_direct: bool = False) -> None:
        self.send, self.ticket, self.is_direct = send, ticket, is_direct
        self.content, self.is_fault = bytearray(), False

    async def __call__(self, message: Message) -> None:
        """Take the next piece."""
        if message["type"] == "http.response.start":
            self.is_fault = self.is_direct and message["status"] == HTTPStatus.INTERNAL_SERVER_ERROR
        self.content += message.get("body", b"")
        self.ticket.event = self.ticket.event or event_of(bytes(self.content))
        if not self.is_fault:
            await self.send(message)
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            answer = JSONResponse({"error": UNUSABLE, "detail": UNUSABLE}, HTTPStatus.UNPROCESSABLE_ENTITY)
            await answer({"type": "http"}, _nothing, self.send)

    @property
    def paths(self) -> list[str]:
        with contextlib.suppress(ValueError):
            if isinstance(found := json.loads(self.content), list):
                return [str(path) for path in found]
        return []


async def _read_body(request: Request) -> bytes:
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length[:12]) > MAX_BODY_BYTES:
        raise Refusal(413, TOO_LARGE)
    body, pieces = bytearray(), request.stream()  # they may come without a length
    try:
        async with asyncio.timeout(MAX_BODY_S):
            while (piece := await asyncio.wait_for(anext(pieces, None), MAX_SILENCE_S)) is not None:
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    raise Refusal(413, TOO_LARGE)
    except TimeoutError as error:
        raise Refusal(408, f"the upload took more than {MAX_BODY_S:g} s, or paused for {MAX_SILENCE_S:g} s") from error
    except ClientDisconnect as error:
        raise Refusal(400, INCOMPLETE) from error
    return bytes(body)


def _with_body(scope: Scope, body: bytes, receive: Receive) -> tuple[Scope, Receive]:
    """A request with a body that has been read already; whatever follows it is still received."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    scope = {**scope, "headers": [*scope["headers"]]}
    headers = MutableHeaders(scope=scope)
    headers["content-length"] = str(len(body))
    del headers["transfer-encoding"]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return scope, receive_again


def _with_one_range(scope: Scope) -> Scope:
    """Gradio answers a header of several ranges with a fault; without the header it sends everything."""
    headers = Headers(scope=scope)
    if ONE_RANGE.fullmatch(headers.get("range", "bytes=0-")):
        return scope
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"range"]}


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
