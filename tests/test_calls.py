"""Malformed calls of every way in: one sentence each, and never a fault."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gradio.state_holder import SessionState
from live_page import LivePage
from server_process import request, wait_until

from cxr.web.server import sessions
from cxr.web.server.temporary import temp_root

JSON = {"Content-Type": "application/json"}
ODD: list[Any] = [None, 1, -1, 1.5, True, "x", [], {}, [[]], 10**400, {"path": "/etc/passwd"}, {"__type__": "update"}]
VALUES = ["x", "", 0, 1, 1, 1, 1, 1]
SMALL_ODD: list[Any] = [None, True, [], {}, 10**400]
PATHS = [
    "call/generate",
    "call/v2/generate",
    "call/dataset",
    "call/v2/dataset",
    "queue/join",
    "run/predict",
    "cancel",
    "reset",
]


@pytest.fixture(scope="module")
def server(empty_page: LivePage) -> LivePage:
    return empty_page


def ask(server: LivePage, path: str, body: Any, headers: dict[str, str] = JSON) -> tuple[int, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request(f"{server.url}/gradio_api/{path}", data, headers)


def assert_refused_in_a_sentence(status: int, answer: str) -> None:
    assert status in (400, 404, 415, 422), answer
    said = json.loads(answer)["detail"]
    assert isinstance(said, str)
    assert 10 < len(said) < 300


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"\xff\xfe", b"nan", b"[]", b"1", b'"x"', b"null", b"[" * 50_000),
        *(
            b'{"data": [NaN]}',
            b'{"data": [1e999]}',
            b'{"data": [-Infinity]}',
            b'{"data": ["\\ud800"]}',
            b'{"\\ud800": 1}',
        ),
        *({}, {"data": None}, {"data": "x"}, {"data": []}, {"data": {"0": "x"}}, {"data": [0] * 20}, {"unknown": 1}),
    ],
    ids=str,
)
def test_what_is_no_call_is_refused(path: str, body: Any, server: LivePage) -> None:
    assert_refused_in_a_sentence(*ask(server, path, body))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
def test_what_is_not_marked_as_json_is_refused(path: str, kind: str, server: LivePage) -> None:
    assert_refused_in_a_sentence(*ask(server, path, {"data": VALUES}, {"Content-Type": kind}))


@pytest.mark.parametrize(
    "path", ["stream/x", "stream/x/close", "vibe-edit", "process_recording", "run-history/connect", "call/", "call/a/b"]
)
def test_other_addresses_take_nothing(path: str, server: LivePage) -> None:
    assert_refused_in_a_sentence(*ask(server, path, {"data": []}))


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize(
    "field", ["session_hash", "fn_index", "data", "event_data", "trigger_id", "event_id", "batched"]
)
@pytest.mark.parametrize(
    ("path", "event", "room"),
    [
        ("queue/join", "start", "image_events"),
        ("run/predict", "rewritten", "prompt_chips"),
        ("run/predict", "stop", "dataset_events"),
    ],
)
def test_no_field_of_an_event_is_a_fault(
    path: str, event: str, room: str, field: str, odd: Any, server: LivePage
) -> None:
    number = server.number_of(event, f"cxr.web.page.{room}")
    data = [None] * len(server.page.fns[number].inputs)
    status, answer = ask(server, path, {"session_hash": "s", "fn_index": number, "data": data, field: odd})
    if status != 200:
        assert_refused_in_a_sentence(status, answer)


@pytest.mark.parametrize("name", ["prompt", "negative_prompt", "seed", "num_images", "guidance_scale", "reword"])
def test_a_wrong_value_is_a_sentence_at_the_end_of_the_stream(name: str, server: LivePage) -> None:
    for odd in SMALL_ODD:
        status, answer = ask(server, "call/v2/generate", {"prompt": "x", name: odd})
        assert status == 200, answer
        said = end_of(server, "generate", answer)
        assert "nowhere" in said or name in said


@pytest.mark.parametrize("name", ["plan", "max_attempts", "gate"])
def test_a_wrong_plan_is_a_sentence_at_the_end_of_the_stream(name: str, server: LivePage) -> None:
    for odd in SMALL_ODD:
        status, answer = ask(server, "call/v2/dataset", {"plan": "prompts: [a]", name: odd})
        assert status == 200, answer
        assert "null" not in end_of(server, "dataset", answer)


def end_of(server: LivePage, endpoint: str, answer: str) -> str:
    """The last event of a call."""
    with server.listen(f"call/{endpoint}/{json.loads(answer)['event_id']}") as stream:
        text: str = stream.read().decode()
    return text[text.rindex("event: ") :]


def file(path: Any, **fields: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **fields}


@pytest.mark.parametrize(
    "value",
    [
        *(file("/etc/passwd"), file("~"), file(""), file("."), file("../x.png"), file("a" * 5_000), file("x\0y")),
        *(
            file("http://198.51.100.1/x.png"),
            file("https://example.org/"),
            file("HTTP://x"),
            file("file:///etc/passwd"),
        ),
        *(
            file(None),
            file(["x"]),
            file("{temp}/x.png", url=7),
            file("{temp}/x.png", size="x"),
            file("{temp}/../x.png"),
        ),
        *(file("{temp}/x.png", meta=[]), file("{temp}/x.png", is_stream=None), file("{temp}/x.png", orig_name={})),
        [[file("/etc/passwd")]],
        {"image": file("http://198.51.100.1/x.png"), "caption": None},
    ],
    ids=lambda value: str(value)[:60],
)
@pytest.mark.parametrize("path", ["call/v2/restore", "call/restore", "call/v2/parse", "queue/join", "run/predict"])
def test_a_file_that_was_not_uploaded_is_neither_read_nor_fetched(path: str, value: Any, server: LivePage) -> None:
    value = json.loads(json.dumps(value).replace("{temp}", str(temp_root())))
    number = server.number_of("rewritten", "cxr.web.page.prompt_chips")
    event = {"session_hash": "s", "fn_index": number, "data": [value]}
    named = {"picture": value} if "restore" in path else {"prompt": value}
    body = named if "v2" in path else {"data": [value]} if path.startswith("call") else event
    status, answer = ask(server, path, body)
    assert_refused_in_a_sentence(status, answer)
    assert "was not uploaded" in answer


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_wrong_cancels_and_resets_end_nothing(odd: Any, server: LivePage) -> None:
    for field in ("session_hash", "fn_index", "event_id"):
        status, answer = ask(server, "cancel", {"session_hash": "s", "fn_index": 1, "event_id": "e", field: odd})
        if status != 200:
            assert_refused_in_a_sentence(status, answer)
    wait_until(lambda: server.jobs.count() == 0)


def test_who_does_not_know_a_younger_setting_goes_on_to_call_in_order(server: LivePage) -> None:
    """guidance_stop came later; values for it and those after it are the usual ones."""
    status, answer = ask(server, "call/generate", {"data": VALUES[:7]})
    assert status == 200, answer


@pytest.mark.parametrize("ranges", ["bytes=0-1,3-4", "bytes=0-1, 2-3, 4-5", "bytes=", "items=0-1", "bytes=-"])
def test_odd_ranges_are_no_fault(ranges: str, server: LivePage) -> None:
    status, _ = request(f"{server.url}/favicon.ico", headers={"Range": ranges})
    assert status == 200


def test_a_call_leaves_no_session_behind(server: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio would hold a third of a megabyte for each of the last 500, and forget open pages in their favour."""
    monkeypatch.setattr(sessions, "REST_S", 0.0)
    kept = server.page.state_holder.session_data
    kept["page"] = SessionState(server.page)
    events = []
    for _ in range(6):
        _, answer = ask(server, "call/v2/models", {})
        events.append(json.loads(answer)["event_id"])
        with server.listen(f"call/models/{events[-1]}") as stream:
            assert b"event: complete" in stream.read()
    assert kept.keys() & {*events} <= {events[-1]}
    assert "page" in kept


def test_a_session_that_comes_back_is_forgotten_once_more(server: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "REST_S", 0.0)
    holder = server.page.state_holder
    _, answer = ask(server, "call/v2/models", {})
    event = json.loads(answer)["event_id"]
    with server.listen(f"call/models/{event}") as stream:
        stream.read()

    def forgotten() -> bool:
        ask(server, "call/v2/models", {})
        return event not in holder.session_data

    for _ in range(2):
        _ = holder[event]  # as gradio asks for it when the turn of a call has come
        assert event in holder.session_data
        wait_until(forgotten)  # the end of its own call may still bring it back
        assert event not in holder.time_last_used
