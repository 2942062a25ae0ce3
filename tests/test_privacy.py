"""What leaves the server: nothing but answers. No look-ups, no prompts in logs or names, no files after its end."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from server_process import CRASH, ServerProcess, request, wait_until

pytestmark = pytest.mark.slow

MARK = "Xq7zMarkerWord"
LOOPBACK = ("127.0.0.1", "localhost", "::1", "None", "0.0.0.0")
PLAN = "split: {{train: 1}}\nsettings: {{num_inference_steps: 1}}\nprompts: [{0}, '{0} b']\nname: {0}"


@pytest.fixture(scope="module")
def server(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("server"), tiny_model_dir)
    yield server
    if server.process.poll() is None:
        server.end()


@pytest.fixture(scope="module")
def client(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("downloads")
    client = Client(server.url, verbose=False, download_files=folder, analytics_enabled=False)
    yield client
    client.close()


def test_nothing_is_looked_up_or_called(server: ServerProcess, client: Client) -> None:
    assert "CXR Studio" in request(server.url)[1]
    assert client.predict("chest xray", seed=0, num_inference_steps=2, api_name="/generate")[2]["seeds"] == [0]
    addresses = server.addresses.read_text().splitlines()
    assert addresses, "the hook sees the server's own address at least"
    assert [address for address in addresses if not address.strip("('b").startswith(LOOPBACK)] == []


BROKEN = [
    {"data": [{"text": MARK}, MARK, 0, 1, 1, 1, 1, 1]},
    {"data": [[MARK], {MARK: MARK}, MARK, MARK, MARK, MARK, MARK, MARK]},
    {"data": [MARK]},
    {"data": MARK},
    {MARK: MARK},
    [MARK],
    f'{{"data": ["{MARK}'.encode(),
]


@pytest.fixture(scope="module")
def _used(server: ServerProcess, client: Client) -> None:
    """The server has had requests of every kind, each with the marker in it."""
    made = client.predict(f"effusion {MARK}", f"{MARK} mass", num_inference_steps=1, api_name="/generate")
    assert made[2]["notes"]  # an unknown word
    long = f"{MARK} " + "pneumonia " * 100
    client.predict(long, long, num_inference_steps=1, api_name="/generate")
    for values in ({"prompt": MARK * 200}, {"prompt": f"{MARK}\x07"}, {"prompt": MARK, "seed": MARK}):
        with pytest.raises(AppError):
            client.predict(**values, api_name="/generate")
    with pytest.raises(AppError, match="upstream Gradio app has raised"):  # a fault, whose text stays hidden
        client.predict(f"{CRASH} {MARK}", MARK, api_name="/generate")
    client.predict(PLAN.format(MARK), api_name="/dataset")
    for plan in (MARK, f"{MARK}: 1", f"cohort: [{{findings: {MARK}, count: 1}}]", f"prompt,count\n{MARK},{MARK}"):
        with pytest.raises(AppError):
            client.predict(plan, api_name="/dataset")
    for body in BROKEN:
        for path in ("call/generate", "call/v2/generate", "queue/join", "run/generate", f"call/{MARK}"):
            server.post(f"/gradio_api/{path}", body)
    page_events(server)
    upload(server, f"{MARK}.exe", MARK.encode())
    upload(server, f"{MARK}.yaml", f"prompts: [{MARK}]".encode())
    hang_up(server)


def page_events(server: ServerProcess) -> None:
    """What the page itself sends, with values that it never would."""
    config = json.loads(request(f"{server.url}/config")[1])
    for number in range(len(config["dependencies"])):
        num_inputs = len(config["dependencies"][number]["inputs"])
        body: dict[str, Any] = {"fn_index": number, "session_hash": "s", "data": [MARK] * num_inputs}
        server.post("/gradio_api/queue/join", body)
        server.post("/gradio_api/run/predict", body)


def upload(server: ServerProcess, name: str, content: bytes) -> tuple[int, str]:
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    kind = "multipart/form-data; boundary=b"
    return request(f"{server.url}/gradio_api/upload", head + content + b"\r\n--b--\r\n", {"Content-Type": kind})


def hang_up(server: ServerProcess) -> None:
    data = [f"mass {MARK}", MARK, 0, 100, 8, 1, 1, 1]
    event = json.loads(server.post("/gradio_api/call/generate", {"data": data})[1])["event_id"]
    urllib.request.urlopen(f"{server.url}/gradio_api/call/generate/{event}", timeout=20).close()


@pytest.mark.usefixtures("_used")
def test_no_prompt_is_logged_or_in_a_name(server: ServerProcess) -> None:
    assert "KeyError" in server.output  # the fault is written down, with its place
    assert "in break_or_generate" in server.output
    assert MARK not in server.output
    upload_names = [name for name in server.names if name.endswith(".yaml")]
    assert [name for name in server.names if MARK in name and name not in upload_names] == []
    logs = [path for path in server.temp.rglob("*") if path.suffix in (".log", ".txt")]
    assert not any(MARK in path.read_text() for path in logs)


@pytest.mark.usefixtures("_used")
def test_terminated_in_the_middle_of_a_job_it_leaves_no_file(server: ServerProcess) -> None:
    folders = [path for path in server.temp.iterdir() if path.name.startswith("cxr-studio-")]
    assert len(folders) == 1
    server.post("/gradio_api/call/generate", {"data": ["mass", "", 0, 100, 64, 1, 1, 1]})
    wait_until(lambda: len(list(folders[0].glob("runs/*/images/*.png"))) > 0)
    assert server.end(signal.SIGTERM) == 0
    assert server.names == []
    assert MARK not in server.output
    assert "Traceback" not in server.output
