"""The page without a browser: look, jobs, handlers and layout."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
import zipfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import sample_images

from cxr.generate import images as generate_images
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import get_model
from cxr.images.png import encode_png
from cxr.request.errors import GenerationError
from cxr.request.events import ExportedFile, FailedImage, GeneratedImage, StepProgress
from cxr.request.generation_request import GenerationRequest
from cxr.request.model_info import ModelInfo
from cxr.request.settings import SETTINGS
from cxr.web.api.images import ImageEndpoints
from cxr.web.jobs.image_job import ImageState, make_images
from cxr.web.jobs.job import Job
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.spaces_gpu import gpu_seconds, on_gpu
from cxr.web.jobs.table import JobTable
from cxr.web.page import panels
from cxr.web.page.blocks import build_page, describe_choice
from cxr.web.page.examples import Example, find_examples
from cxr.web.page.gallery import Previews, grid_shape
from cxr.web.page.image_events import ImageEvents
from cxr.web.page.image_form import build_image_form
from cxr.web.page.theme import CSS, build_theme
from cxr.web.server.limits import Limits

ROOT = Path(__file__).parents[1]
RECIPE = dataclasses.replace(
    sample_images.RECIPE,
    prompt="normal chest xray",
    negative_prompt="nodule",
    num_inference_steps=6,
    guidance_scale=2.5,
    adapter_weight=0.75,
    guidance_stop=0.6,
    width=8,
    height=8,
)
FORM = ("chest xray", "", 5, False, 3, 2, 2.0, 1.0, 0.7, True)  # as `ImageEvents.start` takes it


@pytest.fixture(autouse=True)
def _private_temp_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


@pytest.fixture
def choice(tiny_model_dir: Path) -> ModelChoice:
    return ModelChoice(str(tiny_model_dir), "none")


def events_of(choice: ModelChoice, examples: tuple[Example, ...] = ()) -> ImageEvents:
    return ImageEvents(choice, examples, Limits(), JobTable())


def all_of(yielded: AsyncGenerator[Any, None]) -> list[Any]:
    """Everything that an event yields."""

    async def collect() -> list[Any]:
        return [values async for values in yielded]

    return asyncio.run(collect())


# -- look


def test_theme_is_dark_for_everybody_and_fetches_nothing() -> None:
    theme = build_theme()
    assert theme.body_background_fill == theme.body_background_fill_dark == "#0a0d11"
    sheet = theme._get_theme_css() + CSS
    assert not re.search(r"url\(.?https?:|@import|@font-face", sheet)
    assert not theme._stylesheets


def test_status_panel_escapes_what_users_typed() -> None:
    panel = panels.panel("<b>", "<i>", 0.5, notes=["“<script>alert(1)</script>”"])
    assert "<script>" not in panel
    assert "<b>" not in panel
    assert "&lt;script&gt;" in panel
    assert 'aria-valuenow="50"' in panel


@pytest.mark.parametrize(
    ("num_images", "shape"),
    [(1, (1, 1)), (2, (2, 1)), (3, (2, 2)), (4, (2, 2)), (6, (3, 2)), (16, (4, 4)), (64, (4, 4))],
)
def test_grid_shows_all_images_at_once(num_images: int, shape: tuple[int, int]) -> None:
    assert grid_shape(num_images) == shape


def test_state_says_image_step_and_time_left() -> None:
    request = GenerationRequest("chest xray", seed=5, num_images=4)
    progress = StepProgress(1, 4, 3, 8, elapsed_s=2.0, remaining_s=6.4)
    panel = panels.describe_state(ImageState(request, "running", progress))
    for words in ("Image 2/4", "step 3/8", "6 s left", 'aria-valuenow="34"'):
        assert words in panel
    failed = ImageState(request, "finished", failures=(FailedImage(1, 6, "it is flat"),), notes=("a note",))
    panel = panels.describe_state(failed)
    for words in ("0 images ready, 1 failed", "Seed 6 failed: it is flat", "a note"):
        assert words in panel


def test_model_line_names_model_and_lora_and_hides_folders() -> None:
    choice = ModelChoice("/home/somebody/models/own")
    assert "somebody" not in panels.describe_model(choice)
    info = ModelInfo("own", "sha256:0", "clinical", "0", 256, "UniPCMultistepScheduler", "float32", "cpu")
    line = panels.describe_model(choice, info)
    assert "<b>own</b>" in line
    assert "LoRA <b>clinical</b>" in line
    assert "256 × 256" in line


# -- jobs


def test_job_ends_with_images_and_their_zip(choice: ModelChoice) -> None:
    request = GenerationRequest("chest xray zebra", "unicorn", seed=5, num_images=2, num_inference_steps=4)
    states = list(make_images(request, choice, Job()))
    assert [state.stage for state in states[:2]] == ["loading", "running"]
    last = states[-1]
    assert last.stage == "finished"
    assert last.facts["seeds"] == [5, 6]
    assert last.facts["adapter"] == "none"
    assert any("zebra" in note for note in last.notes)
    assert any(note.startswith("Negative prompt: ") and "unicorn" in note for note in last.notes)
    assert any(state.progress and state.progress.preview is not None for state in states)
    assert last.archive is not None
    with zipfile.ZipFile(last.archive) as archive:
        for file in last.images:
            assert archive.read(file.path.name) == file.path.read_bytes()


def test_stop_acts_within_one_step_and_keeps_finished_images(choice: ModelChoice) -> None:
    job, request = Job(), GenerationRequest("chest xray", num_images=3, num_inference_steps=4)
    after_stop = []
    for state in make_images(request, choice, job):
        if job.is_stopped:
            after_stop.append(state)
        if len(state.images) == 1 and state.progress and state.progress.step == 2:
            job.stop()
    assert len(after_stop) == 1
    assert after_stop[0].stage == "stopped"
    assert len(after_stop[0].images) == 1
    assert after_stop[0].archive is not None
    assert not get_model(choice.model, choice.adapter).lock.locked()


def test_stop_after_the_last_image_changes_nothing(choice: ModelChoice) -> None:
    job = Job()
    for state in make_images(GenerationRequest("chest xray", num_inference_steps=2), choice, job):
        if state.images:
            job.stop()
    assert state.stage == "finished"


def test_closing_a_job_frees_the_model(choice: ModelChoice) -> None:
    states = make_images(GenerationRequest("chest xray", num_inference_steps=8), choice, Job())
    for _ in range(4):
        next(states)
    lock = get_model(choice.model, choice.adapter).lock
    assert lock.locked()
    states.close()
    assert not lock.locked()


def test_failed_images_are_reported_and_never_shown(choice: ModelChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    real = generate_images.generate

    def fail_second(request: GenerationRequest, *rest: Any, **options: Any) -> Iterator[Any]:
        for event in real(request, *rest, **options):
            second = isinstance(event, GeneratedImage) and event.index == 1
            yield FailedImage(1, request.seeds[1], "it is flat") if second else event

    monkeypatch.setattr(generate_images, "generate", fail_second)
    request = GenerationRequest("chest xray", num_images=2, num_inference_steps=2)
    last = list(make_images(request, choice, Job()))[-1]
    assert last.facts["seeds"] == [0]
    assert last.facts["failures"] == [{"seed": 1, "reason": "it is flat"}]

    def fail_all(request: GenerationRequest, *rest: Any, **options: Any) -> Iterator[Any]:
        yield FailedImage(0, request.seed, "it is flat")

    monkeypatch.setattr(generate_images, "generate", fail_all)
    with pytest.raises(GenerationError, match="not one image came out: it is flat"):
        list(make_images(GenerationRequest("chest xray"), choice, Job()))


def test_gpu_time_is_asked_for_with_the_arguments_of_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)

    def function() -> None:
        pass

    assert on_gpu(function) is function
    small, large = GenerationRequest("x"), GenerationRequest("x", num_images=64, num_inference_steps=100)
    assert gpu_seconds(small, ModelChoice()) < gpu_seconds(large, ModelChoice())


# -- events


def slow_down(monkeypatch: pytest.MonkeyPatch, each_s: float) -> None:
    real = generate_images.generate

    def slow(*given: Any, **options: Any) -> Iterator[Any]:
        for event in real(*given, **options):
            time.sleep(each_s)
            yield event

    monkeypatch.setattr(generate_images, "generate", slow)


def test_page_run_shows_previews_then_images_and_cleans_up(
    choice: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch, 0.05)  # or states would be passed over
    events = events_of(choice)
    job, seed, *_ = events.start(None, None, *FORM)
    assert seed == 5
    shown = all_of(events.run(job))
    galleries = [values[3] for values in shown if isinstance(values[3], list)]
    captions = [[caption for _, caption in gallery] for gallery in galleries]
    assert ["Seed 5 …"] in captions
    assert ["Seed 5", "Seed 6 …"] in captions
    assert captions[-1] == ["Seed 5", "Seed 6"]
    assert job.has_ended
    folder = Path(galleries[-1][0][0]).parents[1]
    assert not list(folder.glob("forming-*"))
    assert [button.interactive for button in shown[-1][1:3]] == [True, False]
    assert isinstance(shown[-1][4], gr.DownloadButton)
    assert shown[-1][5]["seeds"] == [5, 6]


def test_randomise_ignores_what_is_in_the_seed_field(choice: ModelChoice) -> None:
    events = events_of(choice)
    seeds = {events.start(None, None, "chest xray", "", -1, True, 3, 1, 2.0, 1.0, 0.7, True)[1] for _ in range(5)}
    assert len(seeds) == 5


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, "", "“Prompt” is empty"),
        (0, None, "“Prompt” is NoneType"),
        (0, ["a", "b"], "“Prompt” is list"),
        (0, "x" * 2001, "2,001 characters"),
        (0, "a\x00b", "U\\+0000"),
        (2, None, "“Seed of the first image” is None"),
        (2, 2**53, "“Seed of the first image” is 9007199254740992"),
        (4, 2.5, "“Steps” is 2.5; use a whole number"),
        (4, 0, "“Steps” is 0"),
        (5, 1000, "“Images” is 1000"),
        (6, float("nan"), "“Guidance” is nan"),
        (7, -0.1, "“LoRA weight” is -0.1"),
        (8, 1.5, "“Guided” is 1.5"),
    ],
)
def test_wrong_values_become_one_clear_message(choice: ModelChoice, position: int, value: object, message: str) -> None:
    values: list[Any] = [*FORM]
    values[position] = value
    with pytest.raises(gr.Error, match=message):
        events_of(choice).start(None, None, *values)


def test_missing_model_is_said_and_nothing_hangs(tmp_path: Path) -> None:
    events = events_of(ModelChoice(str(tmp_path / "nowhere")))
    assert "Model not available" in list(describe_choice(events.choice))[-1][0]
    job = events.start(None, None, *FORM)[0]
    shown: list[Any] = []

    async def run() -> None:
        async for values in events.run(job):
            shown.append(values)

    with pytest.raises(gr.Error, match="nowhere"):
        asyncio.run(run())
    assert "That did not work" in shown[-1][0]
    assert "unknown" in shown[-1][0]
    assert job.has_ended
    with pytest.raises(gr.Error, match="nowhere"):
        all_of(ImageEndpoints(events).generate("chest xray", "", 0, 2, 1, 1.0, 1.0))


def test_stopped_in_the_queue_means_nothing_runs(choice: ModelChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_down(monkeypatch, 0.05)
    events = events_of(choice)
    first, second = (events.start(None, None, *FORM)[0] for _ in range(2))
    panel, *buttons = events.stop(second)
    assert "Stopped before it began" in panel
    assert [button.interactive for button in buttons] == [True, False]
    assert all_of(events.run(second)) == []
    assert "Stopping" in events.stop(first)[0]
    assert "Stopped: " in all_of(events.run(first))[-1][0]
    assert events.stop(first) == events.stop(None) == (gr.skip(),) * 3


def test_a_job_that_the_page_never_asked_for_makes_room_for_its_next(
    choice: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch, 0.05)
    events = events_of(choice)
    first = events.start(None, None, *FORM)[0]
    second = events.start(None, first, *FORM)[0]
    assert first.is_stopped
    assert all_of(events.run(second))[-1][5]["seeds"] == [5, 6]
    assert all_of(events.run(second)) == []  # an event too many does nothing


def test_a_fault_is_said_and_keeps_its_trace(choice: ModelChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any, **options: Any) -> Iterator[Any]:
        yield 1 / 0

    monkeypatch.setattr(generate_images, "generate", broken)
    events = events_of(choice)
    job, shown = events.start(None, None, *FORM)[0], []

    async def run() -> None:
        async for values in events.run(job):
            shown.append(values)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())
    assert "went wrong" in shown[-1][0]


# -- page and examples


def test_examples_fill_the_whole_form(tmp_path: Path, choice: ModelChoice) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    (tmp_path / "b.png").write_bytes(encode_png(GeneratedImage(0, pixels, RECIPE)))
    (tmp_path / "a.png").write_bytes(b"no picture")
    examples = find_examples(tmp_path)
    assert [example.path.name for example in examples] == ["b.png"]
    values = events_of(choice, examples).fill_from_example(gr.SelectData(None, {"index": 0, "value": None}))
    assert values == ("normal chest xray", "nodule", 7, False, 6, 1, 2.5, 0.75, 0.6, False)
    assert find_examples(tmp_path / "missing") == ()


def test_the_form_has_the_order_of_the_api() -> None:
    with gr.Blocks():
        form = build_image_form(ModelChoice())
    # The page's images have 8 bits, and what is sent in place of a prompt is not typed.
    assert [*form.settings] == [name for name in SETTINGS if name not in ("bit_depth", "sent_prompt")]
    assert [widget.label for widget in form.parameters] == [SETTINGS[name].label for name in form.settings]


def test_public_endpoints_have_their_names_and_gradio_holds_nobody_back(choice: ModelChoice) -> None:
    functions = list(build_page(choice).fns.values())
    public = ["generate", "compare", "dataset", "parse", "models", "restore", "receipt", "verify"]
    assert [fn.api_name for fn in functions if fn.api_visibility == "public"] == public
    model_jobs = [fn for fn in functions if fn.name in ("generate", "compare", "run", "resume", "dataset", "measure")]
    assert {fn.concurrency_limit for fn in model_jobs} == {None}
    assert len(model_jobs) == 8  # both tabs have a "run" and a "resume"
    assert not list((ROOT / "cxr").rglob("*.pyi"))  # gradio writes them beside subclasses of its widgets


def test_what_has_not_changed_is_left_alone(tmp_path: Path, choice: ModelChoice, tiny_model: LoadedModel) -> None:
    events, previews = events_of(choice), Previews()
    request = GenerationRequest("chest xray", num_images=2)
    file = ExportedFile(tmp_path / "000000_0.png", "0", {"seed": 0})
    first = ImageState(request, "running", info=tiny_model.info, folder=tmp_path, images=(file,))
    assert events.show(first, None, previews)[3] == [(str(file.path), "Seed 0")]
    second = dataclasses.replace(first, progress=StepProgress(1, 2, 1, 8, 1.0))
    assert events.show(second, first, previews)[1:] == (gr.skip(),) * 7
