"""What one visitor may have at the model at once, against a live server: several clients, errors, stops, hang-ups."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio_client.exceptions import AppError, ValidationError
from live_page import LivePage
from server_process import wait_until
from starlette.requests import Request

from cxr.generate import images
from cxr.request.errors import GenerationError, RequestError
from cxr.request.events import StepProgress
from cxr.request.generation_request import GenerationRequest
from cxr.web.api.image_endpoints import ImageEndpoints
from cxr.web.jobs import listeners
from cxr.web.jobs.image_job import make_images
from cxr.web.jobs.job import Job
from cxr.web.jobs.model_choice import ModelChoice, load_model_for
from cxr.web.jobs.table import JobTable
from cxr.web.page.image_events import ImageEvents
from cxr.web.server import session_streams
from cxr.web.server.limits import SPACE_LIMITS, Limits, find_resolution, too_many
from cxr.web.server.visitors import Visitor, address_of

SLOW = "mass"  # prompts that begin so take long
MOST = 2
FORM: tuple[Any, ...] = ("mass", "", 5, False, 100, 1, 1.0, 1.0, 1.0, True, {}, {}, 0.75)
VALUES = [SLOW, "", 0, 100, 8, 1, 1, 1]


class Server(LivePage):
    """A page whose visitors are told apart by the address in X-Forwarded-For, as on a Space."""

    def __init__(self, choice: ModelChoice) -> None:
        super().__init__(choice, Limits(jobs_per_client=MOST, pixel_steps=1, dataset_pixel_steps=1))

    def start_slow(self, address: str) -> Any:
        event = self.post("call/generate", {"data": VALUES}, address)["event_id"]
        wait_until(lambda: self.jobs.count(Visitor(event)) == 1)
        return self.listen(f"call/generate/{event}")


@pytest.fixture(scope="module")
def server(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    real = images.generate

    def generate(request: GenerationRequest, *rest: Any, **options: Any) -> Iterator[Any]:
        if request.prompt.startswith("nodule"):
            raise KeyError("broken")
        for event in real(request, *rest, **options):
            if request.prompt.startswith(SLOW) and isinstance(event, StepProgress):
                time.sleep(0.02)
            yield event

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        patch.setenv("FORWARDED_ALLOW_IPS", "")
        patch.setenv("SPACE_ID", "someone/space")
        patch.setattr(images, "generate", generate)
        patch.setattr(session_streams, "LINGER_S", 0.2)  # no browser asks
        server = Server(ModelChoice(str(tiny_model_dir), "none"))
        load_model_for(server.choice)  # a job that loads it cannot be ended
        yield server
        server.close()


def test_one_visitor_has_two_jobs_and_others_have_theirs(server: Server) -> None:
    first, second, other = server.client("8.8.8.8"), server.client("10.9.9.9, 8.8.8.8"), server.client("8.8.4.4")
    slow = [client.submit(*VALUES, api_name="/generate") for client in (first, second)]
    wait_until(lambda: server.count("8.8.8.8") == MOST)
    for client in (first, second):
        with pytest.raises(ValidationError, match="you have 2 requests at the model already"):
            client.predict("chest xray", api_name="/generate")
    waiting = other.submit("chest xray", seed=0, num_inference_steps=1, api_name="/generate")
    wait_until(lambda: server.count("8.8.4.4") == 1)
    for job in slow:
        job.cancel()
    assert waiting.result(timeout=20)[2]["seeds"] == [0]
    wait_until(lambda: server.count("8.8.8.8") == 0)
    assert first.predict("chest xray", seed=0, num_inference_steps=1, api_name="/generate")[2]["seeds"] == [0]


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
    with pytest.raises(AppError, match="1,000 steps in all are more than this server makes for one data set"):
        client.predict(
            "settings: {num_inference_steps: 100}\nprompts: [a, b, c, d, e, f, g, h, i, j]", api_name="/dataset"
        )


def test_who_asks_one_after_the_other_is_never_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.jobs, "max_per_visitor", 1)
    client = server.client("8.8.8.6")
    for seed in range(8):
        options = {"seed": seed, "num_inference_steps": 1, "api_name": "/generate"}
        assert client.predict("chest xray", **options)[2]["seeds"] == [seed]
    with server.start_slow("8.8.8.6"), pytest.raises(ValidationError, match="you have a request at the model already"):
        client.predict("chest xray", api_name="/generate")


def test_many_at_once_are_no_more_than_allowed(server: Server) -> None:
    """Those that pass the door together are counted when they get to the queue."""

    def ask(number: int) -> str | int:
        body = {"data": VALUES, "session_hash": f"a session of its own {number}"}
        try:
            return str(server.post("call/generate", body, "8.8.8.7")["event_id"])
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    with ThreadPoolExecutor(8) as pool:
        events = list(pool.map(ask, range(8)))
    wait_until(lambda: server.count("8.8.8.7") == MOST)
    time.sleep(0.3)
    assert server.count("8.8.8.7") == MOST
    assert {event for event in events if isinstance(event, int)} <= {422}
    for event in events:
        server.jobs.end_event(str(event))
    wait_until(lambda: server.count("8.8.8.7") == 0)


class Page:
    """What a browser sends."""

    def __init__(self, server: Server, session: str, address: str) -> None:
        self.server, self.session, self.address = server, session, address

    def send(self, event: str, *data: Any) -> None:
        body = {"session_hash": self.session, "fn_index": self.server.number_of(event), "data": list(data)}
        self.server.post("queue/join", body, self.address)

    def hear(self) -> list[Any]:
        with self.server.listen(f"queue/data?session_hash={self.session}") as stream:
            return [json.loads(line[6:]) for line in stream if b"process_completed" in line]


def test_the_page_refuses_before_anything_changes(server: Server) -> None:
    streams = [server.start_slow("8.8.8.5") for _ in range(MOST)]
    page = Page(server, "busy", "8.8.8.5")
    page.send("start", None, *FORM)
    (said,) = page.hear()
    assert said["success"] is False
    assert "You have 2 requests at the model already" in said["output"]["error"]
    for stream in streams:
        stream.close()
    wait_until(lambda: server.count("8.8.8.5") == 0)


def test_stopping_on_the_page_gives_the_place_back(server: Server) -> None:
    blocker = server.client("8.8.4.3").submit(*VALUES, api_name="/generate")
    wait_until(lambda: server.count("8.8.4.3") == 1)
    page = Page(server, "page", "8.8.8.3")
    for _ in range(2 * MOST):
        page.send("start", None, *FORM)
        assert page.hear()[0]["success"]
        page.send("run", None)
        assert server.count("8.8.8.3") == 1
        page.send("press", None, *FORM)  # the one button
        assert [answer["success"] for answer in page.hear()] == [True, True]
        assert server.count("8.8.8.3") == 0
    blocker.cancel()


def test_a_page_that_is_closed_gives_the_place_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "UNHEARD_S", 0.5)
    page = Page(server, "closed", "8.8.8.9")
    page.send("start", None, *FORM)
    page.hear()
    page.send("run", None)
    stream = server.listen("queue/data?session_hash=closed")
    for line in stream:
        if b"process_generating" in line:
            break
    assert server.count("8.8.8.9") == 1
    stream.close()
    time.sleep(0.2)
    assert server.count("8.8.8.9") == 1  # it may be loaded again
    wait_until(lambda: server.count("8.8.8.9") == 0)


def test_a_page_that_is_loaded_again_goes_on_with_its_job(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "UNHEARD_S", 2.0)
    page = Page(server, "before", "8.8.4.9")
    page.send("start", None, *FORM)
    page.hear()
    page.send("run", None)
    with server.listen("queue/data?session_hash=before") as stream:
        next(line for line in stream if b"process_generating" in line)
    (job,) = server.jobs.jobs_of(Visitor("before"))
    again = Page(server, "after", "8.8.4.9")
    again.send("resume", job.id)
    assert again.hear()[-1]["success"]  # it has heard the job to its end
    assert job.state is not None
    assert job.state.stage == "finished"
    again.send("resume", "0" * 32)
    assert again.hear()[-1]["success"]  # and of other ids nothing


def request_from(peer: str, *forwarded_for: str) -> Request:
    headers = [(b"x-forwarded-for", addresses.encode()) for addresses in forwarded_for]
    return Request({"type": "http", "headers": headers, "client": (peer, 1)})


@pytest.mark.parametrize(
    ("header", "on_space", "address"),
    [
        ("8.8.8.8", False, "1.1.1.1"),
        ("8.8.8.8", True, "8.8.8.8"),
        ("9.9.9.9, 8.8.8.8", True, "8.8.8.8"),
        ("8.8.8.8, 10.0.0.1, 192.168.1.1", True, "8.8.8.8"),
        ("8.8.8.8, nonsense", True, "8.8.8.8"),
        ("2606:4700::1111", True, "2606:4700::/64"),
        ("1.1.1.2, 2606:4700:0:0:ffff::1", True, "2606:4700::/64"),
        ("1.1.1.2, [2606:4700::1111]:443", True, "2606:4700::/64"),
        ("1.1.1.2, ::ffff:8.8.8.8", True, "8.8.8.8"),
        ("1.1.1.2, 8.8.8.8:4711", True, "8.8.8.8"),
        ('1.1.1.2, "8.8.8.8:4711"', True, "8.8.8.8"),
        ("1.1.1.2,8.8.8.8:99999 ", True, "8.8.8.8"),
        ("1.1.1.2, 8.8.8.8:4711, 10.0.0.1:80", True, "8.8.8.8"),
        ("10.0.0.1", True, "1.1.1.1"),
        ("1.1.1.2, [::ffff:8.8.8.8]:80", True, "8.8.8.8"),
        ("1.1.1.2, 8.8.8.8:", True, "8.8.8.8"),
        ("1.1.1.2, ::ffff:8.8.8.8:4711", True, "8.8.8.8"),
        ("1.1.1.2, [::ffff:8.8.8.8%1]:80", True, "8.8.8.8"),
        ("1.1.1.2, [8.8.8.8]:80", True, "8.8.8.8"),
        ("1.1.1.2, [2606:4700::1111", True, "2606:4700::/64"),
        ("1.1.1.2, [2606:4700::5%25eth0]:443", True, "2606:4700::/64"),
        ("1.1.1.2, 2606:4700::5%eth0", True, "2606:4700::/64"),
        ("1.1.1.2, 2606:4700::5:443", True, "2606:4700::/64"),
        ("1.1.1.2,, ,\t8.8.8.8 ,, ", True, "8.8.8.8"),
        ("8.8.8.8, 100.64.0.1, fd00::1, fe80::1%eth0, ::1, 169.254.1.1, 0.0.0.0", True, "8.8.8.8"),
        ("8.8.8.8, ::ffff:10.0.0.1, [fd00::1]:443", True, "8.8.8.8"),
        ("8.8.8.8, 8.8.8, 8.8.8.8.8, 0x08.8.8.8, 134744072, 8.8.8.08, _hidden, unknown, [], [::", True, "8.8.8.8"),
        ("x" * 100_000 + ", 8.8.8.8", True, "8.8.8.8"),
        ("8.8.8.8" + ", x:" * 50_000, True, "8.8.8.8"),
        ("9" * 100_000, True, "1.1.1.1"),
        (", , ,", True, "1.1.1.1"),
        ("", True, "1.1.1.1"),
    ],
)
def test_address_of_a_visitor(header: str, on_space: bool, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    if on_space:
        monkeypatch.setenv("SPACE_ID", "someone/space")
    assert address_of(request_from("1.1.1.1", header)) == address


def test_a_header_that_comes_twice_ends_with_the_proxy_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "someone/space")
    assert address_of(request_from("10.0.0.1", "9.9.9.9", "8.8.8.8:4711")) == "8.8.8.8"


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("2606:4700::5", "2606:4700::/64"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::1", "::1"),
    ],
)
def test_addresses_of_one_network_are_one_visitor(peer: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert address_of(request_from(peer)) == address


def test_one_network_has_the_places_of_one_visitor(server: Server) -> None:
    streams = [server.start_slow(f"2606:4700::{number}") for number in (1, 2)]
    with pytest.raises(urllib.error.HTTPError, match="422"):
        server.post("call/generate", {"data": VALUES}, "9.9.9.9, [2606:4700::3]:4711")
    for stream in streams:
        stream.close()
    wait_until(lambda: server.count("2606:4700::/64") == 0)


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
    SPACE_LIMITS.check_steps(1_500, 256, is_dataset=True)
    with pytest.raises(RequestError, match=r"1,600 steps in all"):
        SPACE_LIMITS.check_steps(1_600, 256, is_dataset=True)


def test_the_page_says_so_before_anything_changes(tiny_model_dir: Path) -> None:
    assert find_resolution(str(tiny_model_dir)) == 32
    assert find_resolution(None) == 256
    assert find_resolution("nowhere") is None
    events = ImageEvents(ModelChoice(str(tiny_model_dir), "none"), Limits(pixel_steps=1), JobTable())
    with pytest.raises(gr.Error, match="at most 9 images of 100 steps"):
        events.start(None, None, "chest xray", "", 5, False, 100, 10, 1.0, 1.0, 1.0, True)


def pause_after_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    real = images.generate

    def slow(*given: Any, **options: Any) -> Iterator[Any]:
        for event in real(*given, **options):
            yield event
            if not isinstance(event, StepProgress):
                time.sleep(0.3)

    monkeypatch.setattr(images, "generate", slow)


def test_time_is_up_and_what_is_finished_is_packed(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    choice = ModelChoice(str(tiny_model_dir), "none")
    request = GenerationRequest("chest xray", num_images=64, num_inference_steps=1)
    pause_after_each_image(monkeypatch)
    last = list(make_images(request, choice, Job(None), limit_s=1.0))[-1]
    assert last.stage == "stopped"
    assert 1 <= len(last.images) < 64
    assert "allowed for one request are over" in last.facts["notes"][-1]
    with zipfile.ZipFile(str(last.archive)) as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == len(last.images)
    with pytest.raises(GenerationError, match=r"no image was finished in 1e-06 s, the limit of one request"):
        list(make_images(request, choice, Job(None), limit_s=1e-6))


def test_programs_get_what_is_finished_when_time_is_up(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    pause_after_each_image(monkeypatch)
    events = ImageEvents(ModelChoice(str(tiny_model_dir), "none"), Limits(job_s=1), JobTable())

    async def last() -> Any:
        return [result async for result in ImageEndpoints(events).generate("chest xray", "", 0, 1, 64, 1.0, 1.0)][-1]

    gallery, archive, facts = asyncio.run(last())
    assert 1 <= len(gallery) < 64
    assert zipfile.is_zipfile(archive)
    assert facts["stopped"]
    assert "The 1 s allowed for one request are over" in facts["notes"][-1]


def test_sentence_of_one_job() -> None:
    assert too_many(1).startswith("you have a request at the model")
