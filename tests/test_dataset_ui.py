"""The data set tab without a browser: plans as users give them, jobs in turns, what is shown and what is written."""

from __future__ import annotations

import csv
import io
import os
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import torch

from cxr.dataset.cohort import KEYS
from cxr.generate import worker
from cxr.generate.images import generate_each
from cxr.generate.model import get_model
from cxr.request.errors import OutputError, RequestError
from cxr.web import dataset_jobs, dataset_status
from cxr.web.dataset_form import ROWS, TABLE, TEXT
from cxr.web.dataset_handlers import DatasetHandlers
from cxr.web.dataset_jobs import DatasetJob, DatasetState, new_job, remove_old_folders, run_turn
from cxr.web.dataset_text import fields_of_text, plan_of_text, text_of_file
from cxr.web.layout import build_page
from cxr.web.limits import Limits
from cxr.web.model_choice import ModelChoice

MOST = 60
TABLE_OF_12 = [
    dict(zip(KEYS, ("Effusion", "{F: 1, M: 1}", "40-60", "PA", "8"), strict=True)),
    {"Findings": "Mass", "Count": "4"},
]
FORM = (TABLE, TABLE_OF_12, "", "=cmd() <b>", 7, 1, 2.0, 0.7, 1.0, 8, 0.5, 0.25, 0.25, False)
PROMPTS = (
    "split: {train: 1, test: 1}\nsettings: {num_inference_steps: 1}\nprompts: ['=cmd()', '@x ../../y', '+1', '-2']\n"
)


@pytest.fixture(autouse=True)
def _private_temp_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


@pytest.fixture
def choice(tiny_model_dir: Path) -> ModelChoice:
    return ModelChoice(str(tiny_model_dir), "none")


@pytest.fixture
def handlers(choice: ModelChoice) -> DatasetHandlers:
    return DatasetHandlers(choice, MOST)


def run(job: DatasetJob, choice: ModelChoice, act: Callable[[DatasetState], None] = lambda state: None) -> DatasetState:
    """Run one turn; ``act`` sees every state."""
    for state in run_turn(job, choice):
        act(state)
    return state


def slow(monkeypatch: pytest.MonkeyPatch, each_s: float) -> None:
    def events(*given: Any, **options: Any) -> Any:
        for event in generate_each(*given, **options):
            time.sleep(each_s)
            yield event

    monkeypatch.setattr(worker, "generate_each", events)
    monkeypatch.setattr("cxr.dataset.make.PROGRESS_EVERY_S", 0.01)


# -- plans as users give them


def test_table_and_fields_are_a_plan(handlers: DatasetHandlers) -> None:
    plan = handlers.read_form(*FORM[:-1])
    assert (plan.name, len(plan.images)) == ("=cmd() <b>", 12)
    assert plan.counts("split") == {"train": 6, "validation": 3, "test": 3}
    assert plan.images[0].request.num_inference_steps == 1
    empty_rows = [*TABLE_OF_12, dict.fromkeys(KEYS, ""), dict.fromkeys(KEYS)]
    assert handlers.read_form(TABLE, empty_rows, *FORM[2:-1]).sha256 == plan.sha256
    assert len(handlers.default_plan().images) == sum(int(row[-1]) for row in ROWS)


def test_text_is_taken_for_csv_by_its_first_line() -> None:
    assert len(plan_of_text("\n prompt ,count\nnormal,3\n", MOST).images) == 3
    assert len(plan_of_text("\ufeffcount,findings\n2,Edema\n", MOST).images) == 2
    assert len(plan_of_text("# prompt\nprompts: [normal]\n", MOST).images) == 1


@pytest.mark.parametrize(
    "text",
    [
        'findings,sex,age,view,count\nMass + Edema,"{F: 1, M: 3}",40-60,PA,4\nNo Finding,,,,2\n',
        "name: A\nseed: 4\nsettings: {num_inference_steps: 3, bit_depth: 16}\ncohort:\n- {findings: [Mass, Edema], "
        "sex: {F: 0.3, M: 0.7}, age: [20-30, 55], count: 2}\nsplit: {train: 3, test: 1}\n",
    ],
)
def test_an_uploaded_cohort_fills_the_table_with_the_same_plan(
    text: str, handlers: DatasetHandlers, tmp_path: Path
) -> None:
    path = tmp_path / ("plan.csv" if text.startswith("findings") else "plan.yaml")
    path.write_text(text)
    kind, rows, _, *fields = handlers.fill(str(path))
    table = [dict(zip(KEYS, row, strict=True)) for row in rows]
    assert kind == TABLE
    assert handlers.read_form(TABLE, table, "", *fields).sha256 == plan_of_text(text, MOST).sha256


@pytest.mark.parametrize(
    "text",
    [
        PROMPTS,
        "prompt\nnormal\n",
        "grid: {prompt: normal, seed: [1, 2]}",
        "cohort: [{findings: Mass}]\nsettings: {negative_prompt: mass}",
        "cohort: [{findings: Mass, count: 9}]\nsplit: {test: 1, train: 2}",  # in an order that the fields do not have
        "cohort: [{findings: Mass}]\ntemplates: ['{findings}']",
    ],
)
def test_what_the_table_cannot_hold_stays_text(text: str, handlers: DatasetHandlers, tmp_path: Path) -> None:
    path = tmp_path / ("plan.csv" if text.startswith("prompt\n") else "plan.yml")
    path.write_text(text)
    kind, rows, shown, *_ = handlers.fill(str(path))
    assert (kind, rows, shown) == (TEXT, gr.skip(), text)
    assert handlers.read_form(TEXT, rows, shown, *FORM[3:-1]).sha256 == plan_of_text(text, MOST).sha256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the plan is empty"),
        (None, "the plan is empty"),
        ("prompts: [\ud800]", "half a character"),
        ("x" * 1_000_001, "more than 1 MB"),
        ("just words", "holds no table"),
        ("prompts: [{prompt: x, count: 61}]", "more than 60 images"),
        ("prompt,count\nx,61\n", "asks for 61 images; use at most 60"),
        ("grid: {prompt: x, seed: [1, 2], guidance_scale: [" + "1," * 31 + "]}", "asks for 62 images; use at most 60"),
        ("prompts: [x]\nsplit: {../../etc: 1}", "no usable name"),
        ("prompts: [x]\nsplit: {mine: 1}", "the plan has a split 'mine'; use train, validation, test"),
        ("prompts: [*a]", "no aliases|is not YAML"),
    ],
)
def test_a_wrong_plan_is_one_sentence(text: Any, message: str, handlers: DatasetHandlers) -> None:
    with pytest.raises(gr.Error, match=message):
        handlers.check(TEXT, [], text, *FORM[3:])


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (1, [], "asks for no image"),
        (1, [{"findings": "Mass", "count": "61"}], "asks for 61 images; use at most 60"),
        (1, [{"findings": "Mass", "count": "1e3"}], "count is '1e3'"),
        (1, [{"findings": "Mass", "colour": "red"}], "cohort entry 1 has colour"),
        (1, [{"findings": "<img src=x>"}], "findings is '&lt;img src=x&gt;'"),  # the page takes messages for HTML
        (1, [{"findings": "Mass", "sex": "{F: 1"}], "the cell {F: 1 is not YAML"),
        (1, [{"findings": "x" * 100_000}], r"x{500} …"),
        (4, None, "seed is None"),
        (5, 0, "num_inference_steps is 0"),
        (10, None, "share of the split train is None"),
        (13, "yes", "gate is 'yes'"),
    ],
)
def test_mistakes_are_said_before_anything_changes(
    handlers: DatasetHandlers, position: int, value: Any, message: str, tmp_path: Path
) -> None:
    form: list[Any] = [*FORM]
    form[position] = value
    with pytest.raises(gr.Error, match=message):
        handlers.start(None, *form)
    assert not list(tmp_path.rglob("datasets/*"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("plan.png", b"prompts: [x]", "is no plan; use .yaml"),
        ("plan.yaml", b"\xff\xfe\x00", "not UTF-8"),
        ("plan.yaml", b"#" * 1_000_001, "more than 1 MB"),
    ],
)
def test_a_file_that_is_no_plan(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=message):
        text_of_file(tmp_path / name)
    assert fields_of_text("cohort: [{findings: Mass}]", MOST) is not None


# -- jobs


def test_a_job_ends_with_a_zip_that_holds_no_text_of_users_where_it_could_do_harm(choice: ModelChoice) -> None:
    job = new_job(plan_of_text(f"name: =1+1\n{PROMPTS}", MOST), False)
    threads = torch.get_num_threads()
    last = run(job, choice)
    assert torch.get_num_threads() == threads
    assert last.stage == "finished"
    assert last.archive is not None
    assert last.archive.name == f"dataset_4_{job.plan.sha256[:8]}.zip"
    assert last.facts is not None
    assert (last.facts["num_images"], last.facts["num_failed"], last.facts["pass_rates"]) == (4, 0, {})
    assert last.facts["counts"]["split"] == {"train": 2, "test": 2}
    with zipfile.ZipFile(last.archive) as archive:
        names = archive.namelist()
        tables = {name: archive.read(name).decode() for name in names if name.endswith(".csv")}
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzREADM0123456789_./") for name in names)
    assert "labels.csv" in tables
    cells = [cell for text in tables.values() for row in csv.reader(io.StringIO(text)) for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]
    assert last.samples is not None
    assert last.samples.is_file()


def test_stopped_and_gone_on_with_it_gives_the_same_bytes(
    handlers: DatasetHandlers, choice: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(handlers.start(None, *FORM)[0], choice)
    slow(monkeypatch, 0.02)
    job, turn, *_ = handlers.start(None, *FORM)
    seen = [
        handlers.stop(job) for shown in handlers.run(job) if " of 12" in shown[0] and job.last_state.progress.finished
    ]
    assert "Stopping" in seen[0][0]
    assert job.last_state.stage == "stopped"
    kept = job.last_state.progress.finished
    assert 0 < kept < 12
    assert f"Stopped at {kept} of 12" in dataset_status.describe_state(job.last_state)
    assert [button.interactive for button in handlers.settle(job)] == [True, False]
    again, next_turn, *_ = handlers.start(job, *FORM)
    assert again.folder == job.folder
    assert next_turn != turn
    last = list(handlers.run(again))[-1]
    assert "12 images ready" in last[0]
    assert whole.archive is not None
    assert (
        Path(last[1].value["path"] if isinstance(last[1].value, dict) else last[1].value).read_bytes()
        == whole.archive.read_bytes()
    )
    assert handlers.start(again, TABLE, TABLE_OF_12, "", "=cmd() <b>", 8, *FORM[5:])[0].folder != job.folder


def test_a_job_gives_way_to_those_who_wait_and_comes_back(
    handlers: DatasetHandlers, choice: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch, 0.01)
    monkeypatch.setattr(dataset_jobs, "TURN_S", 0.1)
    monkeypatch.setattr("cxr.web.dataset_handlers.watch_queue", lambda concurrency_id: lambda: True)
    job, *_ = handlers.start(None, *FORM)
    turns, panels = 0, []
    while True:
        *before, last = handlers.run(job)
        panels.append(last[0])
        turns += 1
        assert all(shown[-1] == gr.skip() for shown in before)
        if job.last_state.stage == "finished":
            break
        assert isinstance(last[-1], int)  # the next turn
        assert handlers.settle(job) == (gr.skip(),) * 2
        assert not get_model(choice.model, choice.adapter).lock.locked()
    assert turns > 2
    assert any("of 12 images, waiting" in panel for panel in panels)
    assert [button.interactive for button in handlers.settle(job)] == [True, False]
    assert list(handlers.run(job)) == [(gr.skip(),) * 5]  # an event too many does nothing


def test_closing_a_turn_ends_its_thread_and_frees_the_model(
    choice: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch, 0.2)
    job = new_job(plan_of_text(PROMPTS, MOST), False)
    lock = get_model(choice.model, choice.adapter).lock
    states = run_turn(job, choice)
    assert any(lock.locked() for _ in states), "the thread has begun"
    states.close()
    assert not lock.locked()
    assert len(list(job.folder.rglob("*.png"))) < len(job.plan.images)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dataset")]


def test_stopped_before_its_turn_nothing_runs(handlers: DatasetHandlers) -> None:
    job = handlers.start(None, *FORM)[0]
    assert "Stopped before it began" in handlers.stop(job)[0]
    assert list(handlers.run(job)) == [(gr.skip(),) * 5]
    assert handlers.stop(None) == (gr.skip(),) * 3


def test_a_full_queue_and_a_fault_are_said(handlers: DatasetHandlers, monkeypatch: pytest.MonkeyPatch) -> None:
    job = handlers.start(None, *FORM)[0]
    assert "nothing was started" in handlers.give_up(job)[0]
    job.last_state = DatasetState("waiting", 12)
    assert "What is finished is kept" in handlers.give_up(job)[0]
    monkeypatch.setattr("cxr.web.dataset_handlers.run_turn", lambda *given: (1 / 0 for _ in [0]))
    with pytest.raises(ZeroDivisionError):
        list(handlers.run(job))
    assert "went wrong" in handlers.give_up(job)[0]


def test_errors_do_not_tell_folders(
    handlers: DatasetHandlers, choice: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = handlers.start(None, *FORM)[0]
    (job.folder / "set").mkdir()
    (job.folder / "set" / "other").touch()
    with pytest.raises(OutputError, match="the folder of the job/set holds other files"):
        run(job, choice)
    with pytest.raises(gr.Error, match="holds other files"):
        list(handlers.run(job))


def test_the_time_is_measured_once_for_the_same_settings(
    handlers: DatasetHandlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, first = handlers.check(*FORM)
    assert "measuring" in first
    assert "12 images" in first
    assert "&lt;b&gt;" in first
    assert "<b>=cmd" in first
    measured = handlers.measure(plan)
    assert "about 1 s here" in measured
    monkeypatch.setattr("cxr.dataset.estimate.estimate", lambda *given: pytest.fail("measured twice"))
    assert "about 1 s here" in handlers.check(*FORM)[1]
    assert "here" in handlers.start(None, *FORM)[3]


def test_folders_that_nothing_has_happened_to_are_removed(choice: ModelChoice) -> None:
    old, young, busy = (new_job(plan_of_text(PROMPTS, MOST), False).folder for _ in range(3))
    young.mkdir(exist_ok=True)
    for folder in (old, busy):
        (folder / "set").mkdir(parents=True, exist_ok=True)
        for path in (folder, folder / "set"):
            os.utime(path, (0, 0))
    (busy / "set" / "a.png").touch()
    remove_old_folders()
    assert [folder.exists() for folder in (old, young, busy)] == [False, True, True]


# -- page


def test_data_sets_share_the_models_queue_and_can_be_left_out(choice: ModelChoice) -> None:
    page = build_page(choice, Limits(dataset_images=5, queue=3))
    functions = {fn.name: fn for fn in page.fns.values()}
    assert {fn.api_name for fn in page.fns.values() if fn.api_visibility == "public"} == {"generate", "dataset"}
    for name in ("dataset", "measure", "run", "generate"):
        assert (functions[name].concurrency_id, functions[name].concurrency_limit) == ("model", 1)
    assert page._queue.max_size == 3
    without = build_page(choice, Limits(dataset_images=0))
    assert [fn.api_name for fn in without.fns.values() if fn.api_visibility == "public"] == ["generate"]
