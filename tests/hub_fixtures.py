"""The Hub of tests: a local server, an empty cache, and a wall against all other hosts."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer, serving
from huggingface_hub import constants
from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A local Hub with an empty cache; a connection to any other place fails the test."""
    with serving() as server:
        # The library reads its variables once, when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
        foreign: list[Any] = []
        connect = socket.socket.connect

        def local_only(self: socket.socket, address: Any) -> None:
            if self.family != socket.AF_UNIX and address[0] not in {"127.0.0.1", "::1"}:
                foreign.append(address)
                raise ConnectionRefusedError("no other host in tests")
            connect(self, address)

        monkeypatch.setattr(socket.socket, "connect", local_only)
        # Between two tries the library waits for seconds.
        sleep = time.sleep
        monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
        disable_progress_bars()
        yield server
        enable_progress_bars()
        assert not foreign, "only the local Hub may be asked"
    # Work that was given up goes on trying, and each new try closes the connections of all: of the next test, too.
    for thread in threading.enumerate():
        if thread.name == "hub":
            thread.join(60)
