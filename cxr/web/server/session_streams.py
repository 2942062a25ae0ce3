"""What a page listens to: one stream for each session, which must not end while the page's next event is on its way."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_S = 2.0  # longer than a request takes to follow an answer on a slow line
END = b'"msg":"close_stream"'


class SessionStreams:
    """Passes streams of sessions on, each as one, however often gradio ends it.

    Gradio ends a session's stream as soon as none of its events is left. The browser then breaks the connection off,
    and an event that joins just then may not be heard: the browser opens no other stream while it takes this one for
    open, and gradio drops the messages of a session whose connection breaks. So the end is kept back for a while, and
    an event that comes in that time is heard on the same stream.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    def expect(self, session: str) -> None:
        """An event of this session is about to join gradio's queue."""
        for is_expected in self._waiting.get(session, ()):
            is_expected.set()

    async def listen(self, session: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a stream, to its end."""
        stream = _Stream(send)
        is_expected = asyncio.Event()
        self._waiting[session].add(is_expected)
        try:
            await self.app(scope, receive, stream)
            while stream.ending and await _comes(is_expected, receive):
                is_expected.clear()
                stream.ending.clear()
                await self.app(scope, receive, stream)
        finally:
            self._waiting[session].discard(is_expected)
            if not self._waiting[session]:
                del self._waiting[session]
        await stream.end()


class _Stream:
    """Sends on what gradio sends, once begun not begun again, and keeps the end back.

    Args:
        send: of the request.

    Attributes:
        ending: the messages that end the stream, from the one that says so to the page; empty before.
    """

    def __init__(self, send: Send) -> None:
        self.send = send
        self.has_begun = False
        self.ending: list[Message] = []

    async def __call__(self, message: Message) -> None:
        """Take the next message."""
        if message["type"] == "http.response.start" and self.has_begun:
            return
        self.has_begun = True
        if self.ending or END in message.get("body", b""):
            self.ending.append(message)
        else:
            await self.send(message)

    async def end(self) -> None:
        """Send what was kept back."""
        for message in self.ending:
            await self.send(message)


async def _comes(is_expected: asyncio.Event, receive: Receive) -> bool:
    """Whether an event comes before the page has left, and before the end has been kept back for long enough."""
    event, left = asyncio.ensure_future(is_expected.wait()), asyncio.ensure_future(_leave(receive))
    try:
        await asyncio.wait({event, left}, timeout=LINGER_S, return_when=asyncio.FIRST_COMPLETED)
        return is_expected.is_set() and not left.done()
    finally:
        event.cancel()
        left.cancel()


async def _leave(receive: Receive) -> None:
    """Wait until the page has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
