"""The way in for files: how large, how many, of which kinds; all of it decided before anything else reads them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.responses import PlainTextResponse

from cxr.web.headers import Application, Message, Receive, Send
from cxr.web.jobs import temp_root
from cxr.web.temporary import KINDS, folder_bytes

MAX_BODY_BYTES = 8_000_000  # of one request, all its files together
MAX_FILES = 8
MAX_UPLOADS_BYTES = 512_000_000  # of everything that visitors have uploaded and that has not been swept yet
MAX_AT_ONCE = 4  # uploads that are held in memory
MAX_UPLOAD_S = 60.0
TEXT_SUFFIXES = (".yaml", ".yml", ".csv")
MAGIC = {".png": b"\x89PNG\r\n\x1a\n", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff"}
LOOK_AT_BYTES = 1024
KINDS_HINT = f"this page takes {', '.join((*TEXT_SUFFIXES, *MAGIC))} files only"
INCOMPLETE = "the upload is not a complete form"


@dataclass(frozen=True)
class Refusal(Exception):  # noqa: N818  it is an answer, not a fault
    """Why a request is not taken, with the HTTP status that says so."""

    status: int
    reason: str


class UploadGate:
    """ASGI middleware that bounds the body of every request, and lets files of known kinds in, if there is room."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self.places = asyncio.Semaphore(MAX_AT_ONCE)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400, 408, 413, 415 or 507 and one sentence."""
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH"):
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        try:
            _check_length(headers.get(b"content-length"))
            if not headers.get(b"content-type", b"").lower().startswith(b"multipart/"):
                await self.app(scope, _bounded(receive), send)
                return
            async with self.places:
                async with asyncio.timeout(MAX_UPLOAD_S):
                    body = await _read_all(receive)
                check_files(body, headers[b"content-type"])
                await asyncio.to_thread(_check_room, len(body))
                await self.app(scope, _replay(body, receive), send)
        except TimeoutError:
            await PlainTextResponse(f"the upload took more than {MAX_UPLOAD_S:g} s", 408)(scope, receive, send)
        except Refusal as refusal:
            await PlainTextResponse(refusal.reason, refusal.status)(scope, receive, send)


def check_files(body: bytes, content_type: bytes) -> None:
    """Refuse a form whose files are not of the kinds that the page reads.

    Args:
        body: of the request, ``multipart/form-data``.
        content_type: its header, which names the boundary.
    Raises:
        Refusal: the form is broken, or a file's name or first bytes are of another kind.
    """
    try:
        form = _Form(body, content_type)
    except FormParserError as error:
        raise Refusal(400, INCOMPLETE) from error
    if not form.is_complete:
        raise Refusal(400, INCOMPLETE)
    if len(form.files) > MAX_FILES:
        raise Refusal(413, f"{len(form.files)} files in one request; send at most {MAX_FILES}")
    for name, start in form.files:
        suffix = PurePath(name).suffix.lower()
        if suffix in MAGIC and start.startswith(MAGIC[suffix]):
            continue
        if suffix in TEXT_SUFFIXES and b"\0" not in start:
            continue
        raise Refusal(415, KINDS_HINT)


class _Form:
    """Name and first bytes of each file of a form, as the parser that gradio uses sees them."""

    def __init__(self, body: bytes, content_type: bytes) -> None:
        self.files: list[tuple[str, bytearray]] = []
        self.is_complete, self._is_file = False, False
        self._field, self._value = bytearray(), bytearray()
        callbacks: Any = {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda chunk, start, end: self._field.extend(chunk[start:end]),
            "on_header_value": lambda chunk, start, end: self._value.extend(chunk[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": self._look_at,
            "on_end": self._end,
        }
        parser = MultipartParser(parse_options_header(content_type)[1].get(b"boundary", b""), callbacks)
        parser.write(body)
        parser.finalize()

    def _begin_part(self) -> None:
        self._is_file = False

    def _end_header(self) -> None:
        options = parse_options_header(bytes(self._value))[1]
        if self._field.lower() == b"content-disposition" and b"filename" in options:
            self._is_file = True
            self.files.append((options[b"filename"].decode("utf-8", "replace"), bytearray()))
        self._field.clear()
        self._value.clear()

    def _look_at(self, chunk: bytes, start: int, end: int) -> None:
        if self._is_file:
            seen = self.files[-1][1]
            seen += chunk[start : min(end, start + LOOK_AT_BYTES - len(seen))]

    def _end(self) -> None:
        self.is_complete = True


def _check_length(given: bytes | None) -> None:
    if given is not None and (not given.isdigit() or int(given[:12]) > MAX_BODY_BYTES):
        raise Refusal(413, f"the request is larger than {MAX_BODY_BYTES // 1_000_000} MB, the most that is taken")


def _check_room(size: int) -> None:
    root = temp_root()
    if sum(folder_bytes(path) for path in _uploads(root)) + size > MAX_UPLOADS_BYTES:
        raise Refusal(507, "there is no room for more uploads at the moment; try again in an hour")


def _uploads(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.name not in KINDS] if root.is_dir() else []


def _bounded(receive: Receive) -> Receive:
    """Receive a body that may come in pieces without a length, up to the limit."""
    received = 0

    async def receive_some() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        _check_length(str(received).encode())
        return message

    return receive_some


async def _read_all(receive: Receive) -> bytes:
    body, receive, more = bytearray(), _bounded(receive), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, INCOMPLETE)
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Receive a body that has been read already, then whatever follows it."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again
