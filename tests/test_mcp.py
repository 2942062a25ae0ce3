"""Endpoints as tools of assistants; needs the package mcp, which only `pip install 'gradio[mcp]'` brings."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_page import LivePage, live_page
from server_process import request

from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.server.arguments import parse_arguments


def test_without_its_package_it_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(SystemExit):
        parse_arguments(["--mcp"])
    said = capsys.readouterr().err
    assert "pip install 'gradio[mcp]'" in said
    assert said.count("\n") == 1


@pytest.fixture(scope="module")
def server(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePage]:
    pytest.importorskip("mcp")
    choice = ModelChoice(str(tiny_model_dir), "none")
    with live_page(tmp_path_factory.mktemp("gradio"), choice, mcp=True) as server:
        yield server


def call(server: LivePage, tool: str, arguments: dict[str, Any]) -> Any:
    """The tools of the server, and what one of them answers, with the progress that it told."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    progress: list[float] = []

    async def note(done: float, total: float | None, message: str | None) -> None:
        progress.append(done)

    async def talk() -> Any:
        async with (
            streamable_http_client(f"{server.url}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = await session.list_tools()
            return tools.tools, await session.call_tool(tool, arguments, progress_callback=note)

    return *asyncio.run(talk()), progress


def test_assistants_find_the_endpoints_and_call_them(server: LivePage) -> None:
    tools, answer, _ = call(server, "parse", {"prompt": "A 60-year-old woman with cardiomegaly"})
    assert {"generate", "parse", "dataset", "verify"} <= {tool.name for tool in tools}
    assert "'findings': ['Cardiomegaly']" in answer.content[0].text


def test_images_come_with_their_progress(server: LivePage) -> None:
    _, answer, progress = call(server, "generate", {"prompt": "chest x-ray", "seed": 3, "num_inference_steps": 4})
    assert not answer.isError
    said = "".join(part.text for part in answer.content if part.type == "text")
    assert ".png" in said
    assert "'seeds': [3]" in said
    assert progress


def test_a_wrong_value_is_a_sentence(server: LivePage) -> None:
    _, answer, _ = call(server, "generate", {"prompt": "", "num_inference_steps": 1})
    assert answer.isError
    assert "prompt is empty" in answer.content[0].text


def test_without_the_flag_there_is_no_such_server(empty_page: LivePage) -> None:
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    for method in (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}', None):
        assert request(f"{empty_page.url}/gradio_api/mcp/", method, headers)[0] == 404
    assert json.loads(request(f"{empty_page.url}/config")[1])["mcp_server"] is False
