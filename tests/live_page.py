"""A running page in this process, as `app.py` serves it, and ways to ask it."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from server_process import free_port

from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.page.blocks import build_page, new_job_table
from cxr.web.server import session_streams
from cxr.web.server.arguments import ServerSettings
from cxr.web.server.launch import launch_options
from cxr.web.server.limits import Limits
from cxr.web.server.temporary import temp_root
from cxr.web.server.visitors import Visitor


@contextlib.contextmanager
def environment_of(folder: Path) -> Iterator[None]:
    """What a page finds in its own process: a folder for temporary files, and no telemetry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        patch.setattr(session_streams, "LINGER_S", 0.2)  # no browser asks
        yield


@contextlib.contextmanager
def live_page(folder: Path, *arguments: Any, **settings: Any) -> Iterator[LivePage]:
    """A page for as long as it is needed, in its environment."""
    with environment_of(folder):
        page = LivePage(*arguments, **settings)
        yield page
        page.close()


class LivePage:
    """The page, its job table, and where it is served; to be closed."""

    def __init__(self, choice: ModelChoice, limits: Limits = Limits(), **settings: Any) -> None:  # noqa: B008
        self.choice, self.jobs, port = choice, new_job_table(limits), free_port()
        self.page, self.temp = build_page(choice, limits, self.jobs), temp_root()
        self.url = f"http://127.0.0.1:{port}"
        options = launch_options(ServerSettings(port=port, limits=limits, **settings), self.page, self.jobs)
        self.page.launch(**options, prevent_thread_lock=True, quiet=True)
        self._clients: list[Client] = []

    def client(self, address: str = "", downloads: Path | None = None) -> Client:
        """A client, on a Space at this address, which puts what it gets into a folder."""
        headers = {"X-Forwarded-For": address} if address else {}
        folder = downloads or False
        client = Client(self.url, headers=headers, verbose=False, download_files=folder, analytics_enabled=False)
        self._clients.append(client)
        return client

    def post(self, path: str, body: Any, address: str = "") -> Any:
        """The answer to a request in JSON."""
        headers = {"Content-Type": "application/json", "X-Forwarded-For": address}
        request = urllib.request.Request(f"{self.url}/gradio_api/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def listen(self, path: str) -> Any:
        """A stream of events."""
        return urllib.request.urlopen(f"{self.url}/gradio_api/{path}", timeout=20)

    def count(self, address: str) -> int:
        """Jobs from an address that wait or run."""
        return self.jobs.count(Visitor("", address))

    def number_of(self, event: str, room: str = "cxr.web.page.image_events") -> int:
        """Gradio's number of an event of the page."""
        return next(number for number, fn in self.page.fns.items() if fn.name == event and fn.fn.__module__ == room)

    def close(self) -> None:
        """End it with all its clients and jobs."""
        for client in self._clients:
            client.close()
        self.jobs.close()
        self.page.server.force_exit = True  # it would wait five seconds for streams that clients left open
        self.page.close(verbose=False)
