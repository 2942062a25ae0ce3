"""The real server in a process of its own, started as a user does, with a record of every address that it asks for."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CRASH = "nodule"  # a prompt that begins so breaks the model of this process, with the prompt in the exception
START = """
import runpy, signal, sys
# Tests that run under nohup or in the background would hand down that these are ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
ADDRESSES = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}
record = open(sys.argv.pop(1), "a", buffering=1)

def note(event, arguments):
    if event in ADDRESSES:
        record.write(repr(arguments[ADDRESSES[event]]) + "\\n")

sys.addaudithook(note)

from cxr.web.jobs import image_job
generate = image_job.generate_on_gpu

def break_or_generate(request, choice):
    if request.prompt.startswith("nodule"):
        raise KeyError(request.prompt) from ValueError(request.negative_prompt)
    yield from generate(request, choice)

image_job.generate_on_gpu = break_or_generate
sys.argv[0] = "app.py"
runpy.run_path("app.py", run_name="__main__")
"""


class ServerProcess:
    """A running ``app.py``; all that it writes lies in ``folder``."""

    def __init__(self, folder: Path, model: Path, *flags: str, start: str = "", **variables: str) -> None:
        self.temp, self.addresses, self.said = folder / "temp", folder / "addresses", folder / "said"
        self.temp.mkdir(parents=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("GRADIO_", "HF_"))}
        environment |= {"TMPDIR": str(self.temp), "CXR_DTYPE": "float32", "CXR_ADAPTER": "none", **variables}
        code = [start] if start else [START, str(self.addresses)]
        command = [sys.executable, "-c", *code, "--port", str(self.port), "--model", str(model)]
        with self.said.open("wb") as said:
            self.process = subprocess.Popen([*command, *flags], cwd=ROOT, env=environment, stdout=said, stderr=said)
        try:
            wait_until(lambda: self.process.poll() is not None or b"CXR Studio is at" in self.said.read_bytes(), 120)
        except AssertionError:  # a server that stays behind would be blamed on later tests
            self.end(signal.SIGKILL)
            raise
        assert self.process.poll() is None, self.output

    @property
    def output(self) -> str:
        return self.said.read_text()

    @property
    def names(self) -> list[str]:
        """Every path below the temporary folder."""
        return [str(path.relative_to(self.temp)) for path in self.temp.rglob("*")]

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, str]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return request(self.url + path, data, {"Content-Type": "application/json", **headers})

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(15)


def request(url: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and text of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}), timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until(condition: Any, timeout_s: float = 10.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.02)
