"""The page without a browser: look, jobs, handlers and layout."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
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
from server_process import wait_until

from cxr.folders.dicom_reader import read_dicom
from cxr.generate import images as generate_images
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import get_model
from cxr.images.png import encode_png
from cxr.images.reading import read_levels
from cxr.labels.regions import changed_cells
from cxr.request.errors import GenerationError, RequestError
from cxr.request.events import ExportedFile, FailedImage, GeneratedImage, StepProgress
from cxr.request.generation_request import GenerationRequest
from cxr.request.model_info import ModelInfo
from cxr.request.settings import API_SETTINGS, BEGINNING, REGION, SETTINGS
from cxr.web.api.image_endpoints import ImageEndpoints
from cxr.web.jobs import job as jobs
from cxr.web.jobs.image_job import make_images
from cxr.web.jobs.image_state import ImageState
from cxr.web.jobs.job import AnyJob, Job
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.spaces_gpu import gpu_seconds, on_gpu
from cxr.web.jobs.table import JobTable
from cxr.web.page import panels
from cxr.web.page.begin_panel import NOTHING, beginning_values, whole_picture
from cxr.web.page.blocks import build_page, describe_choice
from cxr.web.page.dataset_events import DatasetEvents
from cxr.web.page.image_events import ImageEvents
from cxr.web.page.image_form import PLACEHOLDER, build_image_form, form_values, settings_to_repeat
from cxr.web.page.image_tab import find_examples
from cxr.web.page.page_jobs import PageJobs
from cxr.web.page.picture_events import dicom, fill, twin_values, use_seed
from cxr.web.page.scripts import FOLDER
from cxr.web.page.shared_events import stop_job
from cxr.web.page.stage_data import stage_value
from cxr.web.page.theme import COLOURS, CSS, build_theme
from cxr.web.page.twins import WHOLE as NO_REGION
from cxr.web.page.twins import twin_of
from cxr.web.server.init_upload import PictureReader
from cxr.web.server.limits import Limits
from cxr.web.server.temporary import temp_root

pytestmark = pytest.mark.usefixtures("private_temp_folder")

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


def events_of(choice: ModelChoice) -> ImageEvents:
    return ImageEvents(choice, Limits(), JobTable())


def sent(**data: Any) -> gr.EventData:
    """What the page sends with an event."""
    return gr.EventData(None, data)


def all_of(yielded: AsyncGenerator[Any, None]) -> list[Any]:
    """Everything that an event yields."""

    async def collect() -> list[Any]:
        return [values async for values in yielded]

    return asyncio.run(collect())


# -- look


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb" (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_and_borders_stand_out_in_both_schemes(scheme: int) -> None:
    def of(name: str) -> str:
        return COLOURS[name][scheme]

    for name in ("body_text_color", "body_text_color_subdued", "link_text_color"):
        assert min(contrast(of(name), of(fill)) for fill in ("body_background_fill", "block_background_fill")) >= 4.5
    for part in ("primary", "secondary", "cancel"):
        assert contrast(of(f"button_{part}_text_color"), of(f"button_{part}_background_fill")) >= 4.5
    assert contrast(of("input_placeholder_color"), of("input_background_fill")) >= 4.5
    for name in ("input_border_color", "checkbox_border_color", "slider_color", "button_secondary_border_color"):
        assert contrast(of(name), of("block_background_fill")) >= 3


def test_the_look_follows_the_system_and_fetches_nothing() -> None:
    theme = build_theme()
    assert theme.body_background_fill != theme.body_background_fill_dark
    sheet = theme._get_theme_css() + CSS + "".join(path.read_text() for path in FOLDER.iterdir())
    assert not re.search(r"url\(.?https?:|@import|@font-face|https?://", sheet.replace("http://www.w3.org", ""))
    assert not theme._stylesheets


def test_status_panel_escapes_what_users_typed() -> None:
    panel = panels.panel("<b>", "<i>", 0.5, notes=["“<script>alert(1)</script>”"])
    assert "<script>" not in panel
    assert "<b>" not in panel
    assert "&lt;script&gt;" in panel
    assert 'aria-valuenow="50"' in panel


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
    states = list(make_images(request, choice, Job(None)))
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
    job: AnyJob = Job(None)
    request = GenerationRequest("chest xray", num_images=3, num_inference_steps=4)
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
    job: AnyJob = Job(None)
    for state in make_images(GenerationRequest("chest xray", num_inference_steps=2), choice, job):
        if state.images:
            job.stop()
    assert state.stage == "finished"


def test_closing_a_job_frees_the_model(choice: ModelChoice) -> None:
    states = make_images(GenerationRequest("chest xray", num_inference_steps=8), choice, Job(None))
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
    last = list(make_images(request, choice, Job(None)))[-1]
    assert last.facts["seeds"] == [0]
    assert last.facts["failures"] == [{"seed": 1, "reason": "it is flat"}]

    def fail_all(request: GenerationRequest, *rest: Any, **options: Any) -> Iterator[Any]:
        yield FailedImage(0, request.seed, "it is flat")

    monkeypatch.setattr(generate_images, "generate", fail_all)
    with pytest.raises(GenerationError, match="no image could be made: it is flat"):
        list(make_images(GenerationRequest("chest xray"), choice, Job(None)))


def test_gpu_time_is_asked_for_with_the_arguments_of_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)

    def function() -> None:
        pass

    assert on_gpu(function) is function
    small, large = GenerationRequest("x"), GenerationRequest("x", num_images=64, num_inference_steps=100)
    assert gpu_seconds(small, ModelChoice()) < gpu_seconds(large, ModelChoice())


# -- events


def slow_down(monkeypatch: pytest.MonkeyPatch, each_s: float) -> None:
    """Let each step take its time, and the page show each."""
    monkeypatch.setattr(jobs, "PAGE_REST_S", each_s / 5)
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
    mine, seed, *_ = events.start(None, None, *FORM)
    (job,) = mine.jobs
    assert seed == 5
    shown = all_of(events.run(mine))
    stages = [values[2] for values in shown if "images" in values[2]]
    assert {stage["forming"]["seed"] for stage in stages if stage["forming"]} == {5, 6}
    assert all(stage["forming"]["url"].startswith("data:image/png;base64,") for stage in stages if stage["forming"])
    assert [[image["seed"] for image in stage["images"]] for stage in stages if not stage["forming"]][-1] == [5, 6]
    assert {stage["job"] for stage in stages if stage["images"]} == {job.state.folder.name}
    assert [stage["is_over"] for stage in stages] == [False] * (len(stages) - 1) + [True]
    json.dumps(stages, allow_nan=False)
    assert job.has_ended
    assert shown[-1][1].value == "Generate"
    assert isinstance(shown[-1][3], gr.DownloadButton)
    assert shown[-1][4]["seeds"] == [5, 6]


def test_each_image_comes_with_all_that_makes_it_again(choice: ModelChoice) -> None:
    last = list(
        make_images(GenerationRequest("chest xray", seed=5, num_images=2, num_inference_steps=2), choice, Job(None))
    )[-1]
    images = stage_value(last)["images"]
    assert [image["settings"]["seed"] for image in images] == [5, 6]
    alone = list(make_images(GenerationRequest(**images[1]["settings"]), choice, Job(None)))[-1]
    assert alone.images[0].path.read_bytes()[-1000:] == last.images[1].path.read_bytes()[-1000:]
    assert images[1]["file"]["path"] == str(last.images[1].path)


def test_randomise_ignores_what_is_in_the_seed_field(choice: ModelChoice) -> None:
    events = events_of(choice)
    seeds = {events.start(None, None, "chest xray", "", -1, True, 3, 1, 2.0, 1.0, 0.7, True)[1] for _ in range(5)}
    assert len(seeds) == 5


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, "   ", "“Prompt” is empty"),
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
    mine = events.start(None, None, *FORM)[0]
    shown: list[Any] = []

    async def run() -> None:
        async for values in events.run(mine):
            shown.append(values)

    with pytest.raises(gr.Error, match="nowhere"):
        asyncio.run(run())
    assert "That did not work" in shown[-1][0]
    assert "unknown" in shown[-1][0]
    assert mine.jobs[0].has_ended
    with pytest.raises(gr.Error, match="nowhere"):
        all_of(ImageEndpoints(events).generate("chest xray", "", 0, 2, 1, 1.0, 1.0))


def test_an_empty_prompt_is_the_example(choice: ModelChoice) -> None:
    assert events_of(choice).start(None, None, "", *FORM[1:])[0].jobs[0].order.prompt == PLACEHOLDER


async def press_while_it_runs(events: ImageEvents, mine: PageJobs) -> tuple[Any, ...]:
    """What the button shows that is pressed while the page follows a job, and the last that the job shows."""
    running = events.run(mine)
    async for values in running:
        if "step" in values[0]:  # it has waited for its turn before
            break
    pressed = events.press(None, mine, *FORM)
    last: Any = None
    async for last in running:  # noqa: B007
        pass
    return pressed, last


def test_one_button_starts_a_job_and_ends_it(choice: ModelChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_down(monkeypatch, 0.05)
    events = events_of(choice)
    mine, _, _, button, *_ = events.press(None, None, *FORM)
    assert button.value == "Stop"
    pressed, last = asyncio.run(press_while_it_runs(events, mine))
    assert pressed[:2] == (gr.skip(), gr.skip())
    assert "Stopping" in pressed[2]
    assert "Stopped: " in last[0]
    assert last[1].value == "Generate"
    assert events.press(None, mine, *FORM)[3].value == "Stop"  # the next one


def test_stopped_in_the_queue_means_nothing_runs(choice: ModelChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_down(monkeypatch, 0.05)
    events = events_of(choice)
    events.start(None, None, *FORM)
    second = events.start(None, None, *FORM)[0]
    _, _, panel, button, *_ = events.press(None, second, *FORM)
    assert "Stopped before it started" in panel
    assert button.value == "Generate"
    assert stop_job(second.jobs[0], "") is stop_job(None, "") is None


def test_further_requests_wait_behind_the_one_that_runs_and_are_shown_after_it(
    choice: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch, 0.05)
    events = events_of(choice)
    mine = events.start(None, None, *FORM)[0]
    wait_until(lambda: mine.jobs[0].began_s is not None)
    prompt = "a <b>mass"
    again, _, *shown, queue = events.start(None, mine, prompt, "", 40, False, *FORM[4:])
    assert again is mine
    assert shown == [gr.skip()] * 6, "what runs is shown on"
    assert "1 request waits" in queue
    assert "1 before it" in queue
    assert "a &lt;b&gt;mass" in queue
    third = events.start(None, mine, *FORM)[0].jobs[-1]
    assert events.cancel(mine, gr.EventData(None, {"id": third.id})).count("<li>") == 1
    assert third.has_ended
    assert events.cancel(mine, gr.EventData(None, {"id": "other"})).count("<li>") == 1
    assert mine.id == ",".join(job.id for job in mine.jobs[:2])
    values = all_of(events.run(mine))
    facts = [one[4] for one in values if "seeds" in (one[4] or {})]
    assert [one["seeds"] for one in facts] == [[5, 6], [40, 41]]
    lists = [one[6] for one in values if isinstance(one[6], str)]
    assert ["request waits" in one for one in lists] == sorted(("request waits" in one for one in lists), reverse=True)
    assert lists[-1] == ""
    buttons = [one[1].value for one in values if isinstance(one[1], gr.Button)]
    assert [value for value, _ in itertools.groupby(buttons)] == ["Stop", "Generate"], "the next is stopped at once"
    # An event too many shows the end once more, and of a page without jobs nothing.
    assert [one[1].value for one in all_of(events.run(mine))] == ["Generate"]
    assert all_of(events.run(None)) == [(gr.skip(),) * 7]
    fourth = events.start(None, mine, *FORM)[0]
    assert len(fourth.jobs) == 3, "those with pictures are found again when the page is loaded again"
    fourth.jobs[-1].stop()


def test_a_job_that_fails_does_not_take_those_behind_it_with_it(
    choice: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = generate_images.generate

    def sometimes_broken(request: GenerationRequest, *given: Any, **options: Any) -> Iterator[Any]:
        time.sleep(0.2 / (request.seed - 4))  # so that the second is asked for before it
        yield from real(request, *given, **options) if request.seed > 5 else [1 / 0]

    monkeypatch.setattr(generate_images, "generate", sometimes_broken)
    events, shown = events_of(choice), []
    mine = events.start(None, None, *FORM)[0]
    events.start(None, mine, *FORM[:2], 40, False, *FORM[4:])

    async def run() -> None:
        async for values in events.run(mine):
            shown.append(values)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())
    assert any("went wrong" in str(values[0]) for values in shown)
    assert shown[-1][4]["seeds"] == [40, 41]


def test_a_page_that_had_no_job_is_left_as_it_is(choice: ModelChoice) -> None:
    tabs = (events_of(choice), 8), (DatasetEvents(choice, Limits(), JobTable()), 10)
    for tab, count in tabs:
        assert all_of(tab.resume(None, "0" * 32)) == [(gr.skip(),) * count]  # without any values gradio would empty it


def test_a_page_that_is_loaded_again_finds_all_its_jobs(choice: ModelChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_down(monkeypatch, 0.05)
    events = events_of(choice)
    mine = events.start(None, None, *FORM)[0]
    events.start(None, mine, *FORM[:2], 40, False, *FORM[4:])
    ids = [job.id for job in mine.jobs]
    assert mine.id == ",".join(ids)
    values = all_of(events.resume(None, f"{mine.id},{'0' * 32}"))
    assert [job.id for job in values[0][0].jobs] == ids
    assert {len(one) for one in values} == {8}, "as many as there are widgets"
    assert [one[5]["seeds"] for one in values if "seeds" in (one[5] or {})] == [[5, 6], [40, 41]]
    assert all_of(events.resume(None, mine.id))[-1][5]["seeds"] == [40, 41], "the last one is found once more"


def test_a_fault_is_said_and_keeps_its_trace(choice: ModelChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any, **options: Any) -> Iterator[Any]:
        yield 1 / 0

    monkeypatch.setattr(generate_images, "generate", broken)
    events = events_of(choice)
    mine, shown = events.start(None, None, *FORM)[0], []

    async def run() -> None:
        async for values in events.run(mine):
            shown.append(values)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())
    assert "went wrong" in shown[-1][0]


# -- page and examples


def test_examples_fill_the_whole_form(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    (tmp_path / "b.png").write_bytes(encode_png(GeneratedImage(0, pixels, RECIPE)))
    (tmp_path / "a.png").write_bytes(b"no picture")
    examples = find_examples(tmp_path)
    assert examples == {tmp_path / "b.png": RECIPE}
    settings = settings_to_repeat(RECIPE, RECIPE.model)
    values = fill(sent(settings=settings))
    assert values[:10] == ("normal chest xray", "nodule", 7, False, 6, 1, 2.5, 0.75, 0.6, False)
    assert find_examples(tmp_path / "missing") == {}


def test_a_link_fills_what_it_names_and_the_rest_is_usual() -> None:
    values = fill(sent(settings={"prompt": "mass", "seed": 3, "unknown": 1}, randomise=True))
    usual = {name: SETTINGS[name].default for name in API_SETTINGS} | {"prompt": "mass", "seed": 3}
    assert values[:10] == form_values(usual, randomise=True)
    assert values[11:] == (NOTHING, gr.skip())


@pytest.mark.parametrize("settings", [{}, {"prompt": ""}, {"seed": 0, "num_inference_steps": ""}])
def test_what_a_link_leaves_out_is_the_example_or_usual(settings: dict[str, Any]) -> None:
    usual = {name: SETTINGS[name].default for name in API_SETTINGS} | {"prompt": PLACEHOLDER}
    assert fill(sent(settings=settings))[:10] == form_values(usual)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "The settings are not a table"),
        ([1], "The settings are not a table"),
        ({"prompt": None}, "“Prompt” is NoneType"),
        ({"prompt": "x", "seed": "7"}, "“Seed of the first image” is '7'"),
        ({"prompt": "x", "seed": -1}, "“Seed of the first image” is -1"),
        ({"prompt": "x", "num_images": 500}, "“Images” is 500; use a whole number from 1 to 64"),
        ({"prompt": "x", "guidance_scale": None}, "“Guidance” is None"),
        ({"prompt": "x", "reword": "true"}, "“Reword before generating” is 'true'"),
    ],
)
def test_what_a_page_sends_is_checked(settings: object, message: str) -> None:
    with pytest.raises(gr.Error, match=message) as raised:
        fill(sent(settings=settings))
    assert raised.value.title == "That did not work"
    assert raised.value.message[0] in "T“"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("finding", {"prompt": "A 55-year-old man with no findings"}),
        ("age", {"prompt": "A 30-year-old man with pneumonia"}),
        ("sex", {"prompt": "A 55-year-old woman with pneumonia"}),
        ("lora", {"adapter_weight": 0.0}),
    ],
)
def test_a_twin_differs_in_one_thing_and_twice_is_back(kind: str, change: dict[str, Any]) -> None:
    settings = {name: SETTINGS[name].default for name in API_SETTINGS} | {"prompt": PLACEHOLDER, "seed": 9}
    twin = twin_of(settings, kind)
    assert twin == settings | change
    assert {name for name, value in twin_of(twin, kind).items() if value != settings[name]} <= {"prompt"}
    with pytest.raises(RequestError, match="no such twin; use one of region, finding"):
        twin_of(settings, "shoe size")


def test_a_twin_in_a_region_is_the_picture_around_it() -> None:
    whole = {name: SETTINGS[name].default for name in API_SETTINGS} | {"prompt": "A man with effusion", "seed": 9}
    twin = twin_of(whole, "region")
    cells = changed_cells(["Effusion"], [])
    without = {"prompt": "A man with no findings", "mask_cells": cells, "surrounding_prompt": "A man with effusion"}
    assert twin == whole | without
    assert twin_of(twin, "region") == whole | NO_REGION
    assert twin_of(twin, "finding") == whole | NO_REGION | {"prompt": "A man with pleural effusion"}
    woman = {"prompt": "A woman with no findings", "surrounding_prompt": "A woman with pleural effusion"}
    assert twin_of(twin, "sex") == twin | woman
    *_, region, _ = twin_values(sent(settings=whole, twin="region"))
    assert region == {"sha256": "", "cells": cells, "around": "A man with effusion"}
    request = GenerationRequest("A man with no findings", **beginning_values(PictureReader(), {}, region, 0.75))
    assert (request.mask_cells, request.surrounding_prompt) == (cells, "A man with effusion")
    assert whole_picture(region)[1] == NOTHING


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "A woman with a hernia"}, "it is not known where Hernia shows"),
        ({"init_image_sha256": "0" * 64}, "this picture began from another one"),
    ],
)
def test_a_twin_in_a_region_that_cannot_be_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        twin_of({"prompt": PLACEHOLDER, "seed": 9} | changes, "region")


def test_a_picture_of_the_page_becomes_dicom(choice: ModelChoice) -> None:
    last = list(make_images(GenerationRequest("chest xray", seed=5, num_inference_steps=2), choice, Job(None)))[-1]
    path = dicom(sent(path=str(last.images[0].path)))["path"]
    pixels, recipe, bits = read_dicom(Path(path))
    assert np.array_equal(pixels, read_levels(last.images[0].path))
    assert (recipe.seed, bits) == (5, 8)


@pytest.mark.parametrize(
    "path",
    [None, "", "/etc/passwd", "../../x.png", "{examples}/00_101.png", "{runs}/a/x.png", "{runs}/a/images/x.png"],
)
def test_only_pictures_of_this_program_become_dicom(path: str | None) -> None:
    named = path and path.format(examples=ROOT / "examples", runs=temp_root() / "runs")
    with pytest.raises(gr.Error, match="This picture is no longer on the server"):
        dicom(sent(path=named))


def test_use_this_seed_keeps_the_prompt() -> None:
    assert use_seed(sent(seed=77)) == (77, False)
    with pytest.raises(gr.Error, match="“Seed of the first image” is 'x'"):
        use_seed(sent(seed="x"))


def test_the_form_has_the_order_of_the_api() -> None:
    with gr.Blocks():
        form = build_image_form(ModelChoice())
    # The page's images have 8 bits and are whole, what is sent for a prompt is not typed, and a picture has a panel.
    others = ("bit_depth", "sent_prompt", *BEGINNING, *REGION)
    assert [*form.settings] == [name for name in SETTINGS if name not in others]
    assert [widget.label for widget in form.settings.values()] == [SETTINGS[name].label for name in form.settings]


def test_public_endpoints_have_their_names_and_gradio_holds_nobody_back(choice: ModelChoice) -> None:
    functions = list(build_page(choice).fns.values())
    public = ["generate", "compare", "sheet", "dataset", "parse", "models", "detect", "restore", "receipt", "verify"]
    assert [fn.api_name for fn in functions if fn.api_visibility == "public"] == public
    model_jobs = [fn for fn in functions if fn.name in ("generate", "compare", "run", "resume", "dataset", "measure")]
    assert {fn.concurrency_limit for fn in model_jobs} == {None}
    names = {"generate", "compare", "run", "resume", "dataset", "measure"}
    assert {fn.name for fn in model_jobs} == names
    assert not list((ROOT / "cxr").rglob("*.pyi"))  # gradio writes them beside subclasses of its widgets


def test_what_has_not_changed_is_left_alone(tmp_path: Path, choice: ModelChoice, tiny_model: LoadedModel) -> None:
    events = events_of(choice)
    request = GenerationRequest("chest xray", num_images=2)
    file = ExportedFile(tmp_path / "000000_0.png", "0", {"seed": 0})
    first = ImageState(request, "running", info=tiny_model.info, folder=tmp_path, images=(file,))
    assert [image["seed"] for image in events.show(first, None)[2]["images"]] == [0]
    second = dataclasses.replace(first, progress=StepProgress(1, 2, 1, 8, 1.0))
    _, button, stage, *others = events.show(second, first)
    assert stage == events.show(first, None)[2]  # gradio sends what differs: nothing
    assert (button, *others) == (gr.skip(),) * 4
