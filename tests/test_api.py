"""The endpoint as programs use it: a real server in this process, and the real client."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from live_page import LivePage
from PIL import Image
from server_process import free_port, request, wait_until

from cxr.generate import images as generate_images
from cxr.generate import worker
from cxr.generate.images import generate_each
from cxr.generate.model import get_model
from cxr.images.png import read_recipe
from cxr.request.events import StepProgress
from cxr.web.jobs import listeners
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.server.limits import Limits

ROOT = Path(__file__).parents[1]
LOCAL_NAMES = {"127.0.0.1", "localhost", "None", "0.0.0.0", "::1"}
PROMPT = "A 55-year-old man with pneumonia"
MOST_DATASET_IMAGES = 40
MAX_WAITING = 4
COHORT = "[{findings: Effusion, count: 5}, {findings: No Finding, age: 55, count: 3}]"
JSON = {"Content-Type": "application/json"}
ENDPOINTS = ("generate", "compare", "sheet", "dataset", "parse", "models", "detect", "restore", "receipt", "verify")
CSV_PLAN = "prompt,count\nnormal chest x-ray,2\n=cmd(),1\n"


class Pace:
    """Slows the denoising down where a test has to act in the middle of it, and counts what happens."""

    def __init__(self) -> None:
        self.step_s = 0.0
        self.num_steps = 0
        self.num_active = 0
        self.max_active = 0
        self.real = generate_images.generate

    def generate(self, *given: Any, **options: Any) -> Iterator[Any]:
        self.num_active += 1
        self.max_active = max(self.max_active, self.num_active)
        try:
            for event in self.real(*given, **options):
                if isinstance(event, StepProgress):
                    self.num_steps += 1
                    time.sleep(self.step_s)
                yield event
        finally:
            self.num_active -= 1


class Server(LivePage):
    """A running page, the names that it has looked up, and the pace of its model."""

    def __init__(self, choice: ModelChoice, pace: Pace, names: set[str]) -> None:
        super().__init__(choice, Limits(dataset_images=MOST_DATASET_IMAGES, queue=MAX_WAITING))
        self.pace, self.names = pace, names

    def status_of(self, path: str, body: bytes | None = None, **headers: str) -> int:
        return request(self.url + path, body, headers)[0]


@pytest.fixture(scope="module")
def server(tiny_model_dir: Path, tiny_lora_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pace, names = Pace(), set()
    look_up = socket.getaddrinfo

    def note_and_look_up(host: Any, *rest: Any, **options: Any) -> Any:
        names.add(str(host))
        return look_up(host, *rest, **options)

    choice = ModelChoice(str(tiny_model_dir), f"local:{tiny_lora_dir}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        patch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        patch.setattr(socket, "getaddrinfo", note_and_look_up)
        patch.setattr(generate_images, "generate", pace.generate)
        server = Server(choice, pace, names)
        yield server
        server.close()


@pytest.fixture(scope="module")
def client(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return server.client(downloads=tmp_path_factory.mktemp("downloads"))


@pytest.fixture(autouse=True)
def _full_pace(server: Server) -> Iterator[None]:
    yield
    server.pace.step_s = 0.0


def sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_prompt_alone_is_enough(client: Client) -> None:
    gallery, archive, facts = client.predict(PROMPT, api_name="/generate")
    (seed,) = facts["seeds"]  # that was drawn
    assert [item["caption"] for item in gallery] == [f"Seed {seed}"]
    assert zipfile.is_zipfile(archive)
    assert (facts["prompt"], facts["negative_prompt"]) == (PROMPT, "")
    assert facts["as_asked"][0] in (True, False, None)
    assert len(facts["as_asked"]) == 1
    again, _, _ = client.predict(PROMPT, seed=seed, api_name="/generate")
    assert sha256(again[0]["image"]) == sha256(gallery[0]["image"])
    assert facts["failures"] == []
    assert facts["model"] == "tiny"
    assert facts["adapter"] == "tiny_lora"
    assert facts["seconds"] > 0


def test_images_are_lossless_and_the_same_bytes_as_in_the_zip(client: Client) -> None:
    gallery, archive, facts = client.predict(
        PROMPT,
        negative_prompt="effusion",
        seed=2**53 - 2,
        num_inference_steps=3,
        num_images=2,
        guidance_scale=2.5,
        adapter_weight=0.5,
        guidance_stop=0.6,
        api_name="/generate",
    )
    assert facts["seeds"] == [2**53 - 2, 2**53 - 1]
    with zipfile.ZipFile(archive) as file:
        contents = {hashlib.sha256(file.read(name)).hexdigest(): name for name in file.namelist()}
        manifest = {row["file_name"]: row["sha256"] for row in json.loads(file.read("manifest.json"))["files"]}
    for item, seed in zip(gallery, facts["seeds"], strict=True):
        name = contents[sha256(item["image"])]
        assert manifest[name] == sha256(item["image"])
        with Image.open(item["image"]) as image:
            assert (image.format, image.mode) == ("PNG", "L")
        recipe = read_recipe(item["image"])
        assert (recipe.seed, recipe.negative_prompt, recipe.num_inference_steps) == (seed, "effusion", 3)
        assert (recipe.guidance_scale, recipe.adapter_weight, recipe.guidance_stop) == (2.5, 0.5, 0.6)


def test_submit_streams_one_image_after_the_other(client: Client) -> None:
    job = client.submit(PROMPT, num_images=3, num_inference_steps=2, seed=4, api_name="/generate")
    outputs = list(job)
    assert [len(gallery) for gallery, _, _ in outputs] == [1, 2, 3]
    assert [archive is None for _, archive, _ in outputs] == [True, True, False]
    assert outputs[-1][2]["seeds"] == [4, 5, 6]


def test_an_image_does_not_depend_on_its_neighbours(client: Client) -> None:
    options = {"num_inference_steps": 2, "api_name": "/generate"}
    together, _, _ = client.predict(PROMPT, seed=4, num_images=3, **options)
    alone, _, _ = client.predict(PROMPT, seed=5, **options)
    assert Path(together[1]["image"]).read_bytes() == Path(alone[0]["image"]).read_bytes()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "x" * 2001}, "2,001 characters"),
        ({"prompt": "a\x07b"}, r"U\+0007"),
        ({"num_images": 0}, "num_images is 0"),
        ({"num_images": 1000}, "num_images is 1000"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"num_inference_steps": 2.5}, "num_inference_steps is 2.5; use a whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**53}, "seed is 9007199254740992"),
        ({"seed": [7]}, r"seed is \[7\]"),
        ({"seed": True}, "seed is True"),
        ({"guidance_scale": "strong"}, "guidance_scale is 'strong'"),
        ({"adapter_weight": True}, "adapter_weight is True"),
    ],
)
def test_wrong_values_get_a_clear_message(client: Client, values: dict[str, Any], message: str) -> None:
    with pytest.raises(AppError, match=message):
        client.predict(**{"prompt": PROMPT, **values}, api_name="/generate")


def test_unknown_words_and_cut_prompts_are_said(client: Client) -> None:
    _, _, facts = client.predict("zebra " + "pneumonia " * 90, num_inference_steps=1, api_name="/generate")
    unknown, cut = facts["notes"]
    assert "zebra" in unknown
    assert "left out" in cut


def test_everything_else_is_private(client: Client, server: Server) -> None:
    described = client.view_api(return_format="dict", print_info=False)
    assert [*described["named_endpoints"]] == [f"/{name}" for name in ENDPOINTS]
    assert described["unnamed_endpoints"] == {}
    names = [parameter["parameter_name"] for parameter in described["named_endpoints"]["/generate"]["parameters"]]
    assert names == [
        "prompt",
        "negative_prompt",
        "seed",
        "num_inference_steps",
        "num_images",
        "guidance_scale",
        "adapter_weight",
        "guidance_stop",
        "reword",
        "init_image",
        "strength",
        "mask_cells",
        "mask",
        "surrounding_prompt",
    ]
    names = [parameter["parameter_name"] for parameter in described["named_endpoints"]["/dataset"]["parameters"]]
    assert names == ["plan", "max_attempts", "gate"]
    for private in ("/settle", "/run", "/run_1", "/fill", "/check"):
        with pytest.raises(ValueError, match="Cannot find a function"):
            client.predict(api_name=private)
    assert server.status_of("/monitoring/summary") in (403, 404)
    assert server.status_of("/gradio_api/runs") == 404


def test_plain_http_works_as_the_readme_says(server: Server) -> None:
    body = json.dumps({"prompt": PROMPT, "num_inference_steps": 1}).encode()
    request = urllib.request.Request(
        f"{server.url}/gradio_api/call/v2/generate", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        event_id = json.load(response)["event_id"]
    with urllib.request.urlopen(f"{server.url}/gradio_api/call/generate/{event_id}", timeout=20) as response:
        events = response.read().decode()
    assert "event: complete" in events
    assert "Seed " in events


def test_cancel_acts_within_one_step(client: Client, server: Server) -> None:
    pace = server.pace
    pace.step_s, pace.num_steps = 0.1, 0
    job = client.submit(PROMPT, num_images=2, num_inference_steps=40, api_name="/generate")
    wait_until(lambda: pace.num_steps >= 3)
    job.cancel()
    steps_at_cancel = pace.num_steps
    wait_until(lambda: pace.num_active == 0)
    assert pace.num_steps <= steps_at_cancel + 2  # the running one, and one that began while the message travelled
    assert not get_model(server.choice.model, server.choice.adapter).lock.locked()
    pace.step_s = 0.0
    assert client.predict(PROMPT, seed=3, num_inference_steps=1, api_name="/generate")[2]["seeds"] == [3]


def test_a_client_that_hangs_up_frees_the_model(server: Server) -> None:
    pace = server.pace
    pace.step_s, pace.num_steps = 0.1, 0
    body = json.dumps({"data": [PROMPT, "", 0, 60, 1, 1.0, 1.0, 1.0]}).encode()
    request = urllib.request.Request(
        f"{server.url}/gradio_api/call/generate", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        event_id = json.load(response)["event_id"]
    stream = urllib.request.urlopen(f"{server.url}/gradio_api/call/generate/{event_id}", timeout=20)
    wait_until(lambda: pace.num_steps >= 3)
    stream.close()
    steps_at_close = pace.num_steps
    wait_until(lambda: pace.num_active == 0)
    pace.step_s = 0.0
    assert pace.num_steps <= steps_at_close + 3


def test_two_users_at_once_each_get_their_own_images(client: Client, server: Server) -> None:
    options = {"num_inference_steps": 1, "api_name": "/generate"}
    seeds = [11, 22, 33]
    expected = {seed: sha256(client.predict(PROMPT, seed=seed, **options)[0][0]["image"]) for seed in seeds}
    server.pace.max_active = 0

    def ask(seed: int) -> str:
        return sha256(client.predict(PROMPT, seed=seed, **options)[0][0]["image"])

    with ThreadPoolExecutor(3) as users:
        assert dict(zip(seeds, users.map(ask, seeds), strict=True)) == expected
    assert server.pace.max_active == 1


def test_a_full_queue_says_that_the_model_is_busy(client: Client, server: Server) -> None:
    server.pace.step_s, server.pace.num_steps = 0.05, 0
    running = client.submit(PROMPT, num_inference_steps=60, api_name="/generate")
    wait_until(lambda: server.pace.num_steps >= 1)
    waiting = [client.submit(PROMPT, seed=0, num_inference_steps=1, api_name="/generate") for _ in range(MAX_WAITING)]
    wait_until(lambda: server.jobs.count() == 1 + MAX_WAITING)
    with pytest.raises(Exception, match=r"(?i)queue is full"):
        client.predict(PROMPT, num_inference_steps=1, api_name="/generate")
    status, text = request(f"{server.url}/gradio_api/call/v2/generate", b'{"prompt": "x"}', JSON)
    assert status == 503
    assert "queue is full" in text
    running.cancel()  # and none of the others, although they are the same client's
    assert [job.result(timeout=20)[2]["seeds"] for job in waiting] == [[0]] * MAX_WAITING


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("call/v2/generate", {}, 422, "prompt is missing; /generate takes prompt, negative_prompt, seed, "),
        ("call/v2/generate", {"prompt": "x", "promt": 1}, 422, "there is no parameter “promt”; /generate takes prompt"),
        (
            "call/v2/dataset",
            {"text": "x"},
            422,
            "there is no parameter “text”; /dataset takes plan, ",
        ),
        ("call/generate", {"data": []}, 422, "data has 0 of 14 values; /generate takes prompt, "),
        ("call/generate", {"data": ["x"] * 15}, 422, "data has 15 of 14 values; /generate takes prompt, "),
        (
            "call/v2/paint",
            {"prompt": "x"},
            404,
            "there is no such endpoint; use /generate, /compare, /sheet, /dataset, ",
        ),
        ("call/start", {"data": []}, 404, "there is no such endpoint"),
        ("call/generate", [], 422, "the request is not a JSON object"),
        ("call/v2/generate", "{" * 40_000, 422, "the request is not a JSON object"),
    ],
)
def test_a_call_that_cannot_be_answered_is_one_sentence(
    path: str, body: Any, status: int, sentence: str, server: Server
) -> None:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    got, answer = request(f"{server.url}/gradio_api/{path}", data, JSON)
    assert (got, json.loads(answer)["detail"][: len(sentence)]) == (status, sentence)


def test_nothing_is_called_past_the_queue(server: Server) -> None:
    for path in ("run/generate", "api/generate", "run/dataset"):
        assert server.status_of(f"/gradio_api/{path}", json.dumps({"data": [PROMPT]}).encode(), **JSON) == 404


def test_a_list_is_no_prompt(client: Client) -> None:
    with pytest.raises(AppError, match="prompt is list; give text"):
        client.predict(["a", "b"], api_name="/generate")


def test_a_job_that_nobody_listens_to_ends(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "UNHEARD_S", 0.5)
    server.pace.step_s = 0.05
    event = server.post("call/generate", {"data": [PROMPT, "", 0, 100, 1, 1, 1, 1]})["event_id"]
    with server.listen(f"call/generate/{event}"):
        time.sleep(1.0)
        assert server.jobs.count() == 1  # somebody listens
    wait_until(lambda: server.jobs.count() == 0)
    server.post("call/generate", {"data": [PROMPT, "", 0, 100, 64, 1, 1, 1]})
    wait_until(lambda: server.jobs.count() == 1)
    wait_until(lambda: server.jobs.count() == 0, 3.0)  # of the 320 s that it would take


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 403),
        ("evil.example:7860", 403),
        ("localhost.evil.example", 403),
        ("xyz.gradio.live", 403),
        ("evil.example@localhost", 403),
        ("localhost@evil.example", 403),
        ("localhost/evil.example", 403),
        ("evil.example\\@localhost", 403),
        ("localhost?evil.example", 403),
        ("localhost,evil.example", 403),
        ("127.1", 403),
        ("localhost:7860", 200),
        ("127.0.0.1:7860", 200),
        ("[::1]:7860", 200),
        ("192.168.1.5", 200),
        (socket.gethostname(), 200),
    ],
)
def test_only_its_own_names_are_answered(host: str, status: int, server: Server) -> None:
    for path in ("/", "/config", "/gradio_api/info"):
        assert server.status_of(path, Host=host, Origin=f"http://{host}") == status


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
@pytest.mark.parametrize(
    ("host", "origin", "may_read"),
    [
        ("localhost", "http://localhost:3000", True),
        ("127.0.0.1", "http://localhost", True),
        ("192.168.1.5", "http://192.168.1.5", True),
        ("localhost", "http://evil.example", False),
        ("localhost.", "http://evil.example", False),
        ("[::1]", "http://evil.example", False),
        ("127.0.0.2", "http://evil.example", False),
        ("192.168.1.5", "http://evil.example", False),
        ("192.168.1.5", "null", False),
        ("evil.example", "http://evil.example", False),
    ],
)
def test_pages_of_other_sites_cannot_read_what_it_answers(
    method: str, host: str, origin: str, may_read: bool, server: Server
) -> None:
    headers = {"Host": host, "Origin": origin, "Access-Control-Request-Method": "POST", **JSON}
    body = b'{"data": ["x"]}' if method == "POST" else None
    asked = urllib.request.Request(f"{server.url}/gradio_api/call/parse", body, headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            found = answer
    except urllib.error.HTTPError as error:
        with error:
            found = error
    assert found.headers.get("Access-Control-Allow-Origin") == (origin if may_read else None)
    assert (found.status == 403) == (host == "evil.example")
    assert "Content-Security-Policy" in found.headers


def test_a_request_with_two_names_or_none(server: Server) -> None:
    def ask(*lines: str) -> bytes:
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=10) as connection:
            connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
            return b"".join(iter(lambda: connection.recv(65_536), b""))[:30]

    assert b" 200 " in ask("GET /config HTTP/1.0")
    assert b" 200 " in ask("GET /config HTTP/1.0", "Origin: http://localhost")
    assert b" 40" in ask("GET /config HTTP/1.1", "Host: localhost", "Host: evil.example")
    assert b" 40" in ask("GET /config HTTP/1.1", "Host: evil.example", "Host: localhost")
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA")
    assert b" 403 " in ask("GET /queue/join HTTP/1.1", "Host: evil.example", *upgrade)


def test_generating_looks_nothing_up(client: Client, server: Server) -> None:
    server.names.clear()  # the client itself tells its maker that it started
    client.predict(PROMPT, num_inference_steps=1, api_name="/generate")
    assert server.names <= LOCAL_NAMES


# -- data sets


@pytest.fixture
def slow_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets images of data sets take a tenth of a second a step, and tells the progress more often."""

    def events(*given: Any, **options: Any) -> Iterator[Any]:
        for event in generate_each(*given, **options):
            time.sleep(0.1)
            yield event

    monkeypatch.setattr(worker, "generate_each", events)
    monkeypatch.setattr("cxr.dataset.make.PROGRESS_EVERY_S", 0.05)


def lock_of(server: Server) -> Any:
    return get_model(server.choice.model, server.choice.adapter).lock


def test_a_data_set_streams_its_progress_and_ends_with_its_zip(client: Client, slow_dataset: None) -> None:
    plan = f"name: x\nsettings: {{num_inference_steps: 1}}\ncohort: {COHORT}"
    outputs = list(client.submit(plan, api_name="/dataset"))
    stages = [progress["stage"] for progress, _, _ in outputs]
    assert (stages[0], stages[-1], set(stages[1:-1])) == ("loading", "finished", {"running"})
    finished = [progress["finished"] for progress, _, _ in outputs[1:]]
    assert finished == sorted(finished)
    assert len(set(finished)) > 3
    assert all(archive is None and facts is None for _, archive, facts in outputs[:-1])
    progress, path, facts = outputs[-1]
    assert (progress["finished"], progress["failed"], progress["total"], progress["remaining_s"]) == (8, 0, 8, 0.0)
    assert (facts["num_images"], facts["num_failed"], facts["model"], facts["adapter"]) == (8, 0, "tiny", "tiny_lora")
    assert facts["counts"]["findings"] == {"Effusion": 5, "No Finding": 3}
    assert facts["seconds"] > 0
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert {row["file_name"] for row in manifest["files"]} == {*archive.namelist()} - {"manifest.json"}
        for row in manifest["files"]:
            assert hashlib.sha256(archive.read(row["file_name"])).hexdigest() == row["sha256"]


def test_the_same_plan_is_the_same_zip_and_leaves_nothing_behind(client: Client) -> None:
    paths = [client.predict(CSV_PLAN, max_attempts=2, gate=False, api_name="/dataset")[1] for _ in range(2)]
    assert sha256(paths[0]) == sha256(paths[1])
    folders = list((Path(os.environ["GRADIO_TEMP_DIR"]) / "datasets").iterdir())
    assert len(folders) >= 2
    assert not [path for folder in folders for path in folder.rglob("*.png") if path.name != "samples.png"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"plan": ""}, "the plan is empty"),
        ({"plan": "findings,count\nEffusion,41\n"}, "asks for 41 images; use at most 40"),
        ({"plan": "cohort: [{findings: Fracture}]"}, "cohort entry 1: findings is 'Fracture'"),
        ({"plan": "cohort: [{findings: <b>}]"}, "findings is '<b>'"),
        ({"max_attempts": 0}, "max_attempts is 0; use a whole number from 1 to 100"),
        ({"max_attempts": 1.5}, "max_attempts is 1.5"),
        ({"max_attempts": None}, "max_attempts is None"),
    ],
)
def test_a_wrong_plan_gets_a_clear_message(client: Client, values: dict[str, Any], message: str) -> None:
    with pytest.raises(AppError, match=message):
        client.predict(**{"plan": CSV_PLAN, **values}, api_name="/dataset")


def test_cancelling_a_data_set_frees_the_model(client: Client, server: Server, slow_dataset: None) -> None:
    job = client.submit("cohort: [{findings: Mass, count: 40}]", api_name="/dataset")
    wait_until(lambda: any(progress.get("finished") == 0 for progress, _, _ in job.outputs()))
    assert lock_of(server).locked()
    job.cancel()
    wait_until(lambda: not lock_of(server).locked(), 3.0)  # of the 32 s that it would take
    assert client.predict(PROMPT, seed=3, num_inference_steps=1, api_name="/generate")[2]["seeds"] == [3]


def test_a_client_that_hangs_up_ends_its_data_set(server: Server, slow_dataset: None) -> None:
    body = json.dumps({"data": ["cohort: [{findings: Mass, count: 40}]", 4, False]}).encode()
    request = urllib.request.Request(
        f"{server.url}/gradio_api/call/dataset", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        event_id = json.load(response)["event_id"]
    stream = urllib.request.urlopen(f"{server.url}/gradio_api/call/dataset/{event_id}", timeout=20)
    wait_until(lambda: lock_of(server).locked())
    stream.close()
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("dataset")], 3.0)
    assert not lock_of(server).locked()


START_AND_NOTE_NAMES = """
import json, socket, sys, urllib.request
names, look_up = set(), socket.getaddrinfo
def note_and_look_up(host, *rest, **options):
    names.add(str(host))
    return look_up(host, *rest, **options)
socket.getaddrinfo = note_and_look_up
import app  # as Hugging Face Spaces may do; sys.argv is not read then
from cxr.web.server.arguments import parse_arguments
from cxr.web.server.launch import launch_options
page = app.demo
options = launch_options(parse_arguments(sys.argv[1:]), page, app.jobs)
_, url, _ = page.launch(**options, prevent_thread_lock=True, quiet=True)
html = urllib.request.urlopen(url, timeout=20).read().decode()
heavy = sorted({"torch", "scipy"} & set(sys.modules))
print(json.dumps({"names": sorted(names), "title": "CXR Studio" in html, "heavy": heavy}))
page.close(verbose=False)
"""


def test_page_starts_without_model_torch_or_network(tmp_path: Path) -> None:
    environment = {**os.environ, "CXR_MODEL": str(tmp_path / "missing"), "GRADIO_TEMP_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", START_AND_NOTE_NAMES, "--port", str(free_port())],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout.splitlines()[-1])
    assert set(seen["names"]) <= LOCAL_NAMES
    assert seen["title"]
    assert not seen["heavy"]
