"""What one visitor may have at the model at once, against a live server: several clients, errors, stops, hang-ups."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from cxr.web.clients import address_of, count_jobs, limit_jobs, too_many
from cxr.web.handlers import Handlers
from cxr.web.layout import build_page
from gradio_client import Client
from gradio_client.exceptions import AppError, ValidationError
from server_process import free_port, wait_until

from cxr.request.errors import GenerationError, RequestError
from cxr.request.events import StepProgress
from cxr.request.generation_request import GenerationRequest
from cxr.web import jobs
from cxr.web.jobs import run_job
from cxr.web.launch import ServerSettings, launch_options
from cxr.web.limits import SPACE_LIMITS, Limits, find_resolution
from cxr.web.model_choice import ModelChoice

SLOW = "mass"  # prompts that begin so take long
MOST = 2
FORM = ("mass", "", 5, False, 100, 1, 1.0, 1.0, 1.0)
VALUES = [SLOW, "", 0, 100, 8, 1, 1, 1]


class Server:
    """A page whose visitors are told apart by the address in X-Forwarded-For, as on a Space."""

    def __init__(self, choice: ModelChoice) -> None:
        self.page = build_page(choice, Limits(jobs_per_client=MOST, pixel_steps=1, dataset_pixel_steps=1))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.page.launch(**launch_options(ServerSettings(port=port)), prevent_thread_lock=True, quiet=True)
        self.clients = ExitStack()

    def client(self, address: str) -> Client:
        headers = {"X-Forwarded-For": address}
        client = Client(self.url, headers=headers, verbose=False, download_files=False, analytics_enabled=False)
        self.clients.callback(client.close)
        return client

    def post(self, path: str, body: Any, address: str) -> Any:
        headers = {"Content-Type": "application/json", "X-Forwarded-For": address}
        request = urllib.request.Request(f"{self.url}/gradio_api/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def listen(self, path: str) -> Any:
        return urllib.request.urlopen(f"{self.url}/gradio_api/{path}", timeout=20)

    def start_slow(self, address: str) -> Any:
        event = self.post("call/generate", {"data": VALUES}, address)["event_id"]
        return self.listen(f"call/generate/{event}")

    def count(self, address: str) -> int:
        return count_jobs(self.page._queue, None, address)


@pytest.fixture(scope="module")
def server(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    real = jobs._generate

    def generate(request: GenerationRequest, choice: ModelChoice) -> Iterator[Any]:
        if request.prompt.startswith("nodule"):
            raise KeyError("broken")
        for event in real(request, choice):
            if request.prompt.startswith(SLOW) and isinstance(event, StepProgress):
                time.sleep(0.02)
            yield event

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        patch.setenv("FORWARDED_ALLOW_IPS", "")
        patch.setenv("SPACE_ID", "someone/space")
        patch.setattr(jobs, "_generate", generate)
        server = Server(ModelChoice(str(tiny_model_dir), "none"))
        yield server
        server.clients.close()
        server.page.close(verbose=False)


def test_one_visitor_has_two_jobs_and_others_have_theirs(server: Server) -> None:
    first, second, other = server.client("8.8.8.8"), server.client("10.9.9.9, 8.8.8.8"), server.client("8.8.4.4")
    slow = [client.submit(*VALUES, api_name="/generate") for client in (first, second)]
    wait_until(lambda: server.count("8.8.8.8") == MOST)
    for client in (first, second):
        with pytest.raises(ValidationError, match="you have 2 requests at the model already"):
            client.predict("chest xray", api_name="/generate")
    waiting = other.submit("chest xray", num_inference_steps=1, api_name="/generate")
    wait_until(lambda: server.count("8.8.4.4") == 1)
    for job in slow:
        job.cancel()
    assert waiting.result(timeout=20)[2]["seeds"] == [0]
    wait_until(lambda: server.count("8.8.8.8") == 0)
    assert first.predict("chest xray", num_inference_steps=1, api_name="/generate")[2]["seeds"] == [0]


def test_an_error_gives_the_place_back(server: Server) -> None:
    client = server.client("8.8.8.1")
    for _ in range(MOST + 1):
        with pytest.raises(AppError):
            client.predict("nodule", api_name="/generate")
        with pytest.raises(AppError, match="num_images is 0"):
            client.predict("chest xray", num_images=0, api_name="/generate")
    assert server.count("8.8.8.1") == 0


def test_hanging_up_gives_the_place_back(server: Server) -> None:
    streams = [server.start_slow("8.8.8.2") for _ in range(MOST)]
    with pytest.raises(urllib.error.HTTPError, match="422") as refused:
        server.post("call/generate", {"data": VALUES}, "8.8.8.2")
    with refused.value as answer:
        assert "you have 2 requests" in answer.read().decode()
    for stream in streams:
        stream.close()
    wait_until(lambda: server.count("8.8.8.2") == 0)
    server.post("call/generate", {"data": ["chest xray", "", 0, 1, 1, 1, 1, 1]}, "8.8.8.2")
    wait_until(lambda: server.count("8.8.8.2") == 0)


def test_programs_are_told_of_the_budget(server: Server) -> None:
    client = server.client("8.8.8.4")
    with pytest.raises(AppError, match=r"10 images of 100 steps are more than .* at most 9 images"):
        client.predict("chest xray", num_images=10, num_inference_steps=100, api_name="/generate")
    with pytest.raises(AppError, match="the data set has 1,000 steps in all"):
        client.predict(
            "settings: {num_inference_steps: 100}\nprompts: [a, b, c, d, e, f, g, h, i, j]", api_name="/dataset"
        )


def test_the_page_refuses_before_anything_changes(server: Server) -> None:
    start = next(number for number, fn in server.page.fns.items() if fn.name == "start")
    streams = [server.start_slow("8.8.8.5") for _ in range(MOST)]
    server.post("queue/join", {"session_hash": "busy", "fn_index": start, "data": list(FORM)}, "8.8.8.5")
    with server.listen("queue/data?session_hash=busy") as stream:
        (said,) = [json.loads(line[6:]) for line in stream if b"process_completed" in line]
    assert said["success"] is False
    assert "you have 2 requests at the model already" in said["output"]["error"]
    for stream in streams:
        stream.close()
    wait_until(lambda: server.count("8.8.8.5") == 0)


def test_stopping_on_the_page_gives_the_place_back(server: Server) -> None:
    images = [
        number for number, fn in server.page.fns.items() if isinstance(getattr(fn.fn, "__self__", None), Handlers)
    ]
    start, run, stop = (
        next(number for number in images if server.page.fns[number].name == name) for name in ("start", "run", "stop")
    )
    blocker = server.client("8.8.4.3").submit(*VALUES, api_name="/generate")
    wait_until(lambda: server.count("8.8.4.3") == 1)

    def event(function: int, data: list[Any], listen: bool = True) -> None:
        session = {"session_hash": "page", "fn_index": function, "data": data}
        server.post("queue/join", session, "8.8.8.3")
        if listen:
            with server.listen("queue/data?session_hash=page") as stream:
                assert any(b'"success":true' in line for line in stream if b"process_completed" in line)

    for _ in range(2 * MOST):
        event(start, list(FORM))
        event(run, [None], listen=False)
        wait_until(lambda: server.count("8.8.8.3") == 1)
        server.post("run/predict", {"session_hash": "page", "fn_index": stop, "data": [None]}, "8.8.8.3")
        wait_until(lambda: server.count("8.8.8.3") == 0)
        with server.listen("queue/data?session_hash=page") as stream:
            assert any(b"process_completed" in line for line in stream)
    blocker.cancel()


def test_the_next_turn_of_a_data_set_is_no_further_job() -> None:
    """It is asked for while the present turn still runs."""

    async def push(**_: Any) -> tuple[bool, str, str]:
        return True, "taken", "success"

    def run() -> None: ...

    turns = SimpleNamespace(fn=run, concurrency_id="model", api_visibility="private")
    other = SimpleNamespace(fn=push, concurrency_id="model", api_visibility="private")
    asked = SimpleNamespace(client=SimpleNamespace(host="1.1.1.1"), headers={})
    running = SimpleNamespace(fn=turns, session_hash="s", concurrency_id="model", request=asked)
    queue = SimpleNamespace(push=push, event_queue_per_concurrency_id={}, active_jobs=[[running], None])
    limit_jobs(SimpleNamespace(_queue=queue, fns={0: turns, 1: other}), 1, in_turns=run)

    def pushed(function: int, session: str) -> bool:
        body = SimpleNamespace(fn_index=function, session_hash=session)
        return bool(asyncio.run(queue.push(body=body, request=asked, username=None))[0])

    assert pushed(0, "s")
    assert not pushed(1, "s")
    assert not pushed(0, "another session of the same address")
    queue.active_jobs = [None]
    assert pushed(1, "s")


@pytest.mark.parametrize(
    ("header", "on_space", "address"),
    [
        ("8.8.8.8", False, "1.1.1.1"),
        ("8.8.8.8", True, "8.8.8.8"),
        ("9.9.9.9, 8.8.8.8", True, "8.8.8.8"),
        ("8.8.8.8, 10.0.0.1, 192.168.1.1", True, "8.8.8.8"),
        ("8.8.8.8, nonsense", True, "8.8.8.8"),
        ("2606:4700::1111", True, "2606:4700::1111"),
        ("10.0.0.1", True, "1.1.1.1"),
        ("", True, "1.1.1.1"),
    ],
)
def test_address_of_a_visitor(header: str, on_space: bool, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    if on_space:
        monkeypatch.setenv("SPACE_ID", "someone/space")
    request = SimpleNamespace(client=SimpleNamespace(host="1.1.1.1"), headers={"x-forwarded-for": header})
    assert address_of(request) == address


# -- the size and time of one request


def test_a_request_beyond_the_budget_is_refused_and_one_within_is_not() -> None:
    request = GenerationRequest("chest xray", num_images=38)
    SPACE_LIMITS.check_request(request, 256)  # 38 x 8 x 256 x 256 is 19.9 million
    with pytest.raises(RequestError, match=r"39 images of 8 steps are more .* at most 38 images of 8 steps"):
        SPACE_LIMITS.check_request(replace(request, num_images=39), 256)
    with pytest.raises(RequestError, match=r"1 image of 100 steps .* ask for fewer steps"):
        SPACE_LIMITS.check_request(replace(request, num_images=1, num_inference_steps=100), 1024)
    largest = replace(request, num_images=64, num_inference_steps=100)
    Limits().check_request(largest, 1024)
    SPACE_LIMITS.check_request(largest, None)
    SPACE_LIMITS.check_dataset(1_500, 256)
    with pytest.raises(RequestError, match=r"1,600 steps in all"):
        SPACE_LIMITS.check_dataset(1_600, 256)


def test_the_page_says_so_before_anything_changes(tiny_model_dir: Path) -> None:
    assert find_resolution(str(tiny_model_dir)) == 32
    assert find_resolution(None) == 256
    assert find_resolution("nowhere") is None
    handlers = Handlers(ModelChoice(str(tiny_model_dir), "none"), (), Limits(pixel_steps=1))
    with pytest.raises(gr.Error, match="at most 9 images of 100 steps"):
        handlers.start("chest xray", "", 5, False, 100, 10, 1.0, 1.0, 1.0)


def pause_after_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    real = jobs._generate

    def slow(request: GenerationRequest, choice: ModelChoice) -> Iterator[Any]:
        for event in real(request, choice):
            yield event
            if not isinstance(event, StepProgress):
                time.sleep(0.3)

    monkeypatch.setattr(jobs, "_generate", slow)


def test_time_is_up_and_what_is_finished_is_packed(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    choice = ModelChoice(str(tiny_model_dir), "none")
    request = GenerationRequest("chest xray", num_images=64, num_inference_steps=1)
    pause_after_each_image(monkeypatch)
    last = list(run_job(request, choice, limit_s=1.0))[-1]
    assert last.stage == "stopped"
    assert 1 <= len(last.images) < 64
    assert "one request gets are over" in last.facts["notes"][-1]
    with zipfile.ZipFile(str(last.archive)) as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == len(last.images)
    with pytest.raises(GenerationError, match=r"no image was finished in 1e-06 s, the most that one request gets"):
        list(run_job(request, choice, limit_s=1e-6))


def test_programs_get_what_is_finished_when_time_is_up(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    pause_after_each_image(monkeypatch)
    handlers = Handlers(ModelChoice(str(tiny_model_dir), "none"), (), Limits(job_s=1))

    async def last() -> Any:
        return [result async for result in handlers.generate("chest xray", "", 0, 1, 64, 1.0, 1.0)][-1]

    gallery, archive, facts = asyncio.run(last())
    assert 1 <= len(gallery) < 64
    assert zipfile.is_zipfile(archive)
    assert facts["stopped"]
    assert "The 1 s that one request gets are over" in facts["notes"][-1]


def test_sentence_of_one_job() -> None:
    assert too_many(1).startswith("you have a request at the model")
