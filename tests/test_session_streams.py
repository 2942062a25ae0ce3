"""The stream of a page goes on when its next event comes just as gradio ends it, and ends when none comes."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live_page import LivePage, live_page
from starlette.types import Message, Receive, Scope, Send

from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.server import session_streams
from cxr.web.server.session_streams import SessionStreams

CLOSE = b'data: {"msg":"close_stream","event_id":null}\n\n'


class Gradio:
    """An inner application that says a few words on each stream and ends it."""

    def __init__(self, *streams: list[bytes]) -> None:
        self.streams = list(streams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for words in self.streams.pop(0):
            await send({"type": "http.response.body", "body": words, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def listen(
    app: Gradio, expect: Callable[[SessionStreams], Awaitable[None]], leaves: bool = False
) -> list[Message]:
    """What the page of the session "mine" hears while something happens."""
    streams, heard = SessionStreams(app), []

    async def send(message: Message) -> None:
        heard.append(message)

    async def receive() -> Message:
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    await asyncio.gather(streams.listen("mine", {"type": "http"}, receive, send), expect(streams))
    return heard


def bodies(heard: list[Message]) -> list[bytes]:
    return [message["body"] for message in heard if message["type"] == "http.response.body"]


@pytest.fixture
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_streams, "LINGER_S", 0.1)


async def _nothing(streams: SessionStreams) -> None:
    pass


def _joins(session: str) -> Callable[[SessionStreams], Awaitable[None]]:
    async def join(streams: SessionStreams) -> None:
        await asyncio.sleep(0.02)
        streams.expect(session)

    return join


def test_an_event_that_comes_at_the_end_is_heard_on_the_same_stream(short_linger: None) -> None:
    heard = asyncio.run(listen(Gradio([b"first", CLOSE], [b"second", CLOSE]), _joins("mine")))
    assert [message["type"] for message in heard].count("http.response.start") == 1
    assert bodies(heard) == [b"first", b"second", CLOSE, b""]
    assert [message["more_body"] for message in heard[1:]] == [True, True, True, False]


@pytest.mark.parametrize("happens", [_nothing, _joins("another")])
def test_a_stream_ends_when_its_page_asks_for_nothing_more(
    short_linger: None, happens: Callable[[SessionStreams], Awaitable[None]]
) -> None:
    heard = asyncio.run(listen(Gradio([b"first", CLOSE]), happens))
    assert bodies(heard) == [b"first", CLOSE, b""]


def test_a_page_that_has_left_hears_no_more_events(short_linger: None) -> None:
    app = Gradio([b"first", CLOSE], [b"second", CLOSE])
    heard = asyncio.run(listen(app, _joins("mine"), leaves=True))
    assert b"second" not in bodies(heard)
    assert len(app.streams) == 1


def test_a_stream_that_breaks_off_is_not_kept(short_linger: None) -> None:
    assert bodies(asyncio.run(listen(Gradio([b"first"]), _nothing))) == [b"first", b""]


@pytest.fixture(scope="module")
def page(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePage]:
    with live_page(tmp_path_factory.mktemp("gradio"), ModelChoice(str(tiny_model_dir), "none")) as page:
        yield page


def join(page: LivePage, session: str) -> str:
    """Ask for what the page does when it is opened; returns the event's id."""
    number = next(key for key, fn in page.page.fns.items() if not fn.inputs and fn.queue and fn.targets)
    values = {"data": [], "fn_index": number, "session_hash": session, "event_data": None, "trigger_id": None}
    request = urllib.request.Request(
        f"{page.url}/gradio_api/queue/join", json.dumps(values).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        event: str = json.load(answer)["event_id"]
    return event


def test_gradios_own_stream_tells_the_next_event_from_its_first_message(page: LivePage) -> None:
    first, second = join(page, "mine"), ""
    told: dict[str, list[str]] = {first: []}
    with urllib.request.urlopen(f"{page.url}/gradio_api/queue/data?session_hash=mine", timeout=60) as stream:
        for line in stream:
            if not line.startswith(b"data:"):
                continue
            message: dict[str, Any] = json.loads(line[5:])
            if message["msg"] == "close_stream":
                break
            told.setdefault(message["event_id"], []).append(message["msg"])
            if message["msg"] == "process_completed" and not second:
                second = join(page, "mine")
    assert told[second][-1] == "process_completed"
    assert "process_starts" in told[second]
    assert told[second].index("process_starts") <= 1
