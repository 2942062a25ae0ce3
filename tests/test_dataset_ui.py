"""The data set tab without a browser: plans as users give them, jobs in turns, what is shown and what is written."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import re
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
from cxr.dataset.estimate import add_up, measure_costs
from cxr.dataset.set_faults import find_faults
from cxr.generate import worker
from cxr.generate.images import generate_each
from cxr.generate.model import get_model
from cxr.request.errors import OutputError, RequestError
from cxr.web.jobs import dataset_job
from cxr.web.jobs.dataset_job import make_dataset
from cxr.web.jobs.dataset_order import DatasetOrder, DatasetState, new_order
from cxr.web.jobs.job import AnyJob, Job
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.plan_cells import Table
from cxr.web.jobs.plan_text import fields_of_text, plan_of_text, text_of_file
from cxr.web.jobs.table import JobTable
from cxr.web.page.blocks import build_page
from cxr.web.page.dataset_events import DatasetEvents
from cxr.web.page.dataset_form import ROWS, TABLE, TEXT
from cxr.web.server.limits import Limits
from cxr.web.server.visitors import Visitor

pytestmark = pytest.mark.usefixtures("private_temp_folder")

MOST = 60
TABLE_OF_12 = [
    dict(zip(KEYS, ("Effusion", "{F: 1, M: 1}", "40-60", "PA", "", "8"), strict=True)),
    {"Findings": "Mass", "Count": "4"},
]
FORM = (TABLE, TABLE_OF_12, "", "=cmd() <b>", 7, 1, 2.0, 1.0, 0.7, 8, 0.5, 0.25, 0.25, False)
PROMPTS = (
    "split: {train: 1, test: 1}\nsettings: {num_inference_steps: 1}\nprompts: ['=cmd()', '@x ../../y', '+1', '-2']\n"
)


@pytest.fixture
def events(choice: ModelChoice) -> DatasetEvents:
    return DatasetEvents(choice, Limits(dataset_images=MOST), JobTable())


def make(
    order: DatasetOrder, choice: ModelChoice, act: Callable[[DatasetState], None] = lambda state: None
) -> DatasetState:
    """Make a data set; ``act`` sees every state."""
    for state in make_dataset(order, choice, Job(None)):
        act(state)
    return state


async def follow(events: DatasetEvents, job: AnyJob, act: Callable[[Any], None] = lambda values: None) -> list[Any]:
    """All that the page shows of a job; ``act`` sees it when it comes."""
    shown = []
    async for values in events.run(job):
        shown.append(values)
        act(values)
    return shown


def slow(monkeypatch: pytest.MonkeyPatch, each_s: float) -> None:
    def events(*given: Any, **options: Any) -> Any:
        for event in generate_each(*given, **options):
            time.sleep(each_s)
            yield event

    monkeypatch.setattr(worker, "generate_each", events)
    monkeypatch.setattr("cxr.dataset.make.PROGRESS_EVERY_S", 0.01)


# -- plans as users give them


def test_table_and_fields_are_a_plan(events: DatasetEvents) -> None:
    plan = events.read_form(*FORM[:-1])
    assert (plan.name, len(plan.images)) == ("=cmd() <b>", 12)
    assert plan.counts("split") == {"train": 6, "validation": 3, "test": 3}
    assert plan.images[0].request.num_inference_steps == 1
    empty_rows: Table = [*TABLE_OF_12, dict.fromkeys(KEYS, ""), dict.fromkeys(KEYS)]
    assert events.read_form(TABLE, empty_rows, *FORM[2:-1]).sha256 == plan.sha256
    assert len(events.default_plan().images) == sum(int(row[-1]) for row in ROWS)


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
    text: str, events: DatasetEvents, tmp_path: Path
) -> None:
    path = tmp_path / ("plan.csv" if text.startswith("findings") else "plan.yaml")
    path.write_text(text)
    kind, rows, _, *fields = events.fill(str(path), TABLE_OF_12)
    table = [dict(zip(KEYS, row, strict=True)) for row in rows]
    assert kind == TABLE
    assert events.read_form(TABLE, table, "", *fields).sha256 == plan_of_text(text, MOST).sha256


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
def test_what_the_table_cannot_hold_stays_text(text: str, events: DatasetEvents, tmp_path: Path) -> None:
    path = tmp_path / ("plan.csv" if text.startswith("prompt\n") else "plan.yml")
    path.write_text(text)
    kind, rows, shown, *_ = events.fill(str(path), TABLE_OF_12)
    assert (kind, rows, shown) == (TEXT, [[*row.values()] for row in TABLE_OF_12], text)
    assert events.read_form(TEXT, rows, shown, *FORM[3:-1]).sha256 == plan_of_text(text, MOST).sha256
    with pytest.warns(UserWarning, match="cannot hold"):
        assert events.turn(TABLE, TABLE_OF_12, text, *FORM[3:-1])[:3] == (kind, rows, text)


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
def test_a_wrong_plan_is_one_sentence(text: Any, message: str, events: DatasetEvents) -> None:
    with pytest.raises(gr.Error, match=f"(?i){message}"):
        events.check(TEXT, [], text, *FORM[3:])


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (1, [], "asks for no image"),
        (1, [{"findings": "Mass", "count": "61"}], "asks for 61 images; use at most 60"),
        (1, [{"findings": "Mass", "count": "1e3"}], "count is '1e3'"),
        (1, [{"findings": "Mass", "colour": "red"}], "row 1 has colour"),
        (1, [{"findings": "<img src=x>"}], "findings is '&lt;img src=x&gt;'"),  # the page takes messages for HTML
        (1, [{"findings": "Mass", "sex": "{F: 1"}], "the cell {F: 1 is not YAML"),
        (1, [{"findings": "x" * 100_000}], r"x{199}…"),
        (4, None, "seed is None"),
        (5, 0, "num_inference_steps is 0"),
        (10, None, "share of the split train is None"),
        (13, "yes", "gate is 'yes'"),
    ],
)
def test_mistakes_are_said_before_anything_changes(
    events: DatasetEvents, position: int, value: Any, message: str, tmp_path: Path
) -> None:
    form: list[Any] = [*FORM]
    form[position] = value
    with pytest.raises(gr.Error, match=f"(?i){message}"):
        events.start(None, None, *form)
    assert not list(tmp_path.rglob("datasets/*"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("plan.png", b"prompts: [x]", "is not a plan; use .yaml"),
        ("plan.yaml", b"\xff\xfe\x00", "not UTF-8"),
        ("plan.yaml", b"#" * 1_000_001, "more than 1 MB"),
    ],
)
def test_a_file_that_is_no_plan(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=message):
        text_of_file(tmp_path / name)
    assert fields_of_text("cohort: [{findings: Mass}]", MOST) is not None


@pytest.mark.parametrize(
    ("row", "marked", "words"),
    [
        (("Mas", "", "", "", "", "1"), [(0, 0)], "Row 1: findings is &#x27;Mas&#x27;"),
        (("", "F", "", "", "", ""), [(0, 0)], "Row 1 has no findings"),
        (("Mass", "X", "40-", "LL", "up", "0"), [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)], "Row 1: count is 0"),
        (("Mass", "{F: 1", "", "", "", ""), [(0, 1)], "Row 1: sex: the cell {F: 1 is not YAML"),
        (("Mass", "{F: -1}", "", "", "", ""), [(0, 1)], "Row 1: sex: the share of F is -1"),
        (("Mass", "[]", "", "", "", ""), [(0, 1)], "Row 1: sex is an empty list"),
        (("Mass", "", "130", "", "", ""), [(0, 2)], "Row 1: age is &#x27;130&#x27;"),
        (("Mass", "", "80-20", "", "", ""), [(0, 2)], "Row 1: age is"),
        (("Mass", "", "", "", "", "1.5"), [(0, 5)], "Row 1: count is"),
        (("Mass", "", "", "", "", "99999999999999999999999999999999999"), [(0, 5)], "Row 1: count is"),
        (("<img src=x>", "", "", "", "", ""), [(0, 0)], "Row 1: findings is &#x27;&lt;img src=x&gt;"),
        (("x</style>", "", "", "", "", ""), [(0, 0)], "x&lt;/style&gt;"),
    ],
    ids=str,
)
def test_each_wrong_cell_is_marked_and_named(
    row: tuple[str, ...], marked: list[tuple[int, int]], words: str, events: DatasetEvents
) -> None:
    table = [dict(zip(KEYS, row, strict=True)), dict.fromkeys(KEYS, ""), {"Findings": "Mass", "Count": "4"}]
    counts, said = events.describe(TABLE, table, *FORM[2:-1])
    assert "No plan yet" in counts
    assert words in said
    found = re.findall(r'\[data-row="(\d+)"\]\[data-col="(\d+)"\]', said)
    assert [(int(place), int(column)) for place, column in found] == marked
    with pytest.raises(gr.Error, match=r"(?i)row 1"):
        events.check(TABLE, table, *FORM[2:])


def test_rows_are_counted_as_they_stand_on_the_page(events: DatasetEvents) -> None:
    table = [dict.fromkeys(KEYS, ""), {"Count": "x", "Findings": "Mass"}]
    said = events.describe(TABLE, table, *FORM[2:-1])[1]
    assert "Row 2: count is &#x27;x&#x27;" in said
    assert '[data-row="1"][data-col="0"]' in said, "columns may stand in another order"


def test_what_is_wrong_outside_of_the_table_is_said_without_a_mark(events: DatasetEvents) -> None:
    form: list[Any] = [*FORM[:-1]]
    form[4] = -3
    counts, said = events.describe(*form)
    assert "No plan yet" in counts
    assert "is -3" in said
    assert "data-row" not in said
    assert "is not YAML" in events.describe(TEXT, [], "a: [", *FORM[3:-1])[1]
    assert "12 images" in events.describe(*FORM[:-1])[0]


@pytest.mark.parametrize(
    "rows",
    [
        TABLE_OF_12,
        [{"Findings": "all", "Sex": "[F, M]", "Age": "[20-30, 55]", "View": "{PA: 60, AP: 40}", "Count": "1"}],
        [dict.fromkeys(KEYS, ""), {"findings": "no finding"}, {"findings": "Edema + Mass", "age": "NIH"}],
    ],
    ids=["plain", "lists", "empty rows"],
)
def test_table_and_text_are_the_same_plan(rows: list[dict[str, str]], events: DatasetEvents) -> None:
    form = (rows, "", "a: name #1", *FORM[4:-1])
    kind, same_rows, text, *_ = events.turn(TEXT, *form)
    assert kind == TEXT
    assert same_rows == [[*row.values()] for row in rows]
    plan = events.read_form(TABLE, *form)
    assert plan_of_text(text, MOST).sha256 == plan.sha256
    kind, table, _, *fields = events.turn(TABLE, rows, text, *form[2:])
    assert kind == TABLE
    again = [dict(zip(KEYS, row, strict=True)) for row in table]
    assert events.read_form(TABLE, again, "", *fields).sha256 == plan.sha256


def test_a_wrong_table_is_wrong_as_text_too(events: DatasetEvents) -> None:
    text = events.turn(TEXT, [{"Findings": "Mas", "Sex": "{F: 1"}], "", "x", -1, *FORM[5:-1])[2]
    assert "Mas" in text
    with pytest.raises(RequestError, match="seed is -1"):
        plan_of_text(text, MOST)
    with pytest.warns(UserWarning, match="cannot be read"):
        assert events.turn(TABLE, [], text, *FORM[3:-1])[0] == TEXT
    assert events.turn(TABLE, TABLE_OF_12, " ", *FORM[3:-1])[0] == TABLE, "an empty text leaves the table alone"


# -- jobs


def test_a_job_ends_with_a_zip_that_holds_no_text_of_users_where_it_could_do_harm(choice: ModelChoice) -> None:
    order = new_order(plan_of_text(f"name: =1+1\n{PROMPTS}", MOST), False)
    threads = torch.get_num_threads()
    last = make(order, choice)
    assert torch.get_num_threads() == threads
    assert last.stage == "finished"
    assert last.archive is not None
    assert last.archive.name == f"dataset_4_{order.plan.sha256[:8]}.zip"
    assert last.facts is not None
    assert (last.facts["num_images"], last.facts["num_failed"], last.facts["pass_rates"]) == (4, 0, {})
    assert last.facts["counts"]["split"] == {"train": 2, "test": 2}
    with zipfile.ZipFile(last.archive) as archive:
        names = archive.namelist()
        tables = {name: archive.read(name).decode() for name in names if name.endswith(".csv")}
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzREADM0123456789_./") for name in names)
    assert {"labels.csv", "receipts.csv"} <= tables.keys()
    assert {"README.md", "contact_sheet.html", "plots/samples.png"} <= set(names)
    unpacked = order.folder / "unpacked"
    with zipfile.ZipFile(last.archive) as archive:
        archive.extractall(unpacked)
        assert "@x ../../y" in archive.read("contact_sheet.html").decode()
    assert find_faults(unpacked)[1] == [], "the manifest of the ZIP lists all of it"
    estimated = add_up(order.plan, "plain", measure_costs(order.plan, get_model(choice.model, choice.adapter)))
    assert 0.6 < estimated.size_bytes / last.archive.stat().st_size < 1.6
    cells = [cell for text in tables.values() for row in csv.reader(io.StringIO(text)) for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]
    assert last.samples is not None
    assert last.samples.is_file()


def test_stopped_and_gone_on_with_it_gives_the_same_bytes(
    events: DatasetEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = events.start(None, None, *FORM)[0]
    asyncio.run(follow(events, whole))
    slow(monkeypatch, 0.02)
    job = events.start(None, None, *FORM)[0]
    seen: list[str] = []

    def stop_in_the_middle(values: Any) -> None:
        if not seen and " of 12" in values[0] and job.state.progress.finished:
            seen.append(events.stop(job)[0])

    shown = asyncio.run(follow(events, job, stop_in_the_middle))
    assert "Stopping" in seen[0]
    assert job.state.stage == "stopped"
    kept = job.state.progress.finished
    assert 0 < kept < 12
    with zipfile.ZipFile(job.state.archive) as archive:
        names = archive.namelist()
        assert archive.read("README.md").decode().count(f"{kept} of the 12 images") == 1
    assert sum(name.endswith(".png") for name in names) == kept
    assert shown[-1][3].interactive
    assert f"dataset_{kept}_of_12_" in job.state.archive.name
    assert f"Stopped at {kept} of 12" in shown[-1][0]
    assert [button.interactive for button in shown[-1][1:3]] == [True, False]
    again = events.start(None, job, *FORM)[0]
    assert again.order.folder == job.order.folder
    last = asyncio.run(follow(events, again))[-1]
    assert "12 images ready" in last[0]
    assert again.state.facts["seconds"] > job.state.seconds > 0
    assert again.state.archive.read_bytes() == whole.state.archive.read_bytes()
    other = events.start(None, again, TABLE, TABLE_OF_12, "", "=cmd() <b>", 8, *FORM[5:])[0]
    assert other.order.folder != job.order.folder
    other.abandon()


def test_a_job_gives_way_to_those_who_wait_and_comes_back(
    events: DatasetEvents, choice: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch, 0.01)
    monkeypatch.setattr(dataset_job, "TURN_S", 0.1)
    order = new_order(plan_of_text(PROMPTS.replace("'-2'", "'-2', {prompt: a, count: 20}"), MOST), False)
    seen: list[Any] = []

    async def together() -> list[Any]:
        job = events.submit(order, Visitor())
        others: list[Any] = []

        def act(values: Any) -> None:
            if " of 24" in values[0] and len(others) < 2:
                others.append(asyncio.create_task(ask_for_another(len(others))))

        async def ask_for_another(number: int) -> None:
            short = events.submit(new_order(plan_of_text(f"prompts: [b{number}]", MOST), False), Visitor())
            await follow(events, short)
            assert short.state is not None
            seen.append((short.state.stage, job.has_ended))

        shown = await follow(events, job, act)
        await asyncio.gather(*others)
        return shown

    shown = asyncio.run(together())
    assert seen == [("finished", False)] * 2, "they had their turn in between"
    assert any("of 24 images, waiting" in values[0] for values in shown)
    assert "24 images ready" in shown[-1][0]
    assert not get_model(choice.model, choice.adapter).lock.locked()


def test_closing_a_job_ends_its_thread_and_frees_the_model(
    choice: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch, 0.2)
    order = new_order(plan_of_text(PROMPTS, MOST), False)
    lock = get_model(choice.model, choice.adapter).lock
    states = make_dataset(order, choice, Job(None))
    assert any(lock.locked() for _ in states), "the thread has begun"
    states.close()
    assert not lock.locked()
    assert len(list(order.folder.rglob("*.png"))) < len(order.plan.images)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dataset")]


def test_stopped_before_its_turn_nothing_runs(events: DatasetEvents, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, 0.1)
    first, job = (events.start(None, None, *FORM)[0] for _ in range(2))
    assert "Stopped before it started" in events.stop(job)[0]
    assert asyncio.run(follow(events, job)) == [(gr.skip(),) * 7]
    assert events.stop(None) == (gr.skip(),) * 3
    first.abandon()


def test_a_full_queue_and_a_fault_are_said(
    choice: ModelChoice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow(monkeypatch, 0.1)
    events = DatasetEvents(choice, Limits(dataset_images=MOST), JobTable(max_waiting=1))
    jobs = [events.start(None, None, *FORM)[0] for _ in range(2)]
    with pytest.raises(gr.Error, match="nothing was started") as refused:
        events.start(None, None, *FORM)
    assert refused.value.title == "The model is busy"
    assert len(list(tmp_path.rglob("datasets/*"))) == 2
    for job in jobs:
        job.abandon()
    monkeypatch.setattr("cxr.dataset.make.iterate_dataset", lambda *given: (1 / 0 for _ in [0]))
    job = DatasetEvents(choice, Limits(), JobTable()).start(None, None, *FORM)[0]
    shown: list[Any] = []
    with pytest.raises(ZeroDivisionError):
        asyncio.run(follow(events, job, shown.append))
    assert "went wrong" in shown[-1][0]


def test_errors_do_not_tell_folders(events: DatasetEvents, choice: ModelChoice) -> None:
    order = new_order(plan_of_text(PROMPTS, MOST), False)
    (order.folder / "set").mkdir()
    (order.folder / "set" / "other").touch()
    with pytest.raises(OutputError, match="the folder of the job/set holds other files"):
        make(order, choice)
    with pytest.raises(gr.Error, match="holds other files"):
        asyncio.run(follow(events, events.submit(order, Visitor())))


def test_the_time_is_measured_once_for_the_same_settings(
    events: DatasetEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, counts, said, _ = events.check(*FORM)
    assert "measuring" in said
    assert "12 images" in said
    assert "12 images" in counts
    assert "&lt;b&gt;" in counts
    assert "<b>=cmd" in counts
    measured = asyncio.run(events.measure(None, plan, False))
    assert all(re.search(r"about \d+ s here", text) for text in measured)
    monkeypatch.setattr("cxr.dataset.estimate.measure_costs", lambda *given: pytest.fail("measured twice"))
    assert asyncio.run(events.measure(None, plan, False)) == measured == events.check(*FORM)[1:3]
    assert events.describe(*FORM[:-1])[0] == measured[0], "known while the plan is edited, too"
    job, summary, *_ = events.start(None, None, *FORM)
    assert "here" in summary
    job.abandon()


def test_folders_that_nothing_has_happened_to_are_removed() -> None:
    old, young, busy = (new_order(plan_of_text(PROMPTS, MOST), False).folder for _ in range(3))
    for folder in (old, busy):
        (folder / "set").mkdir(parents=True, exist_ok=True)
        for path in (folder, folder / "set"):
            os.utime(path, (0, 0))
    (busy / "set" / "a.png").touch()
    new_order(plan_of_text(PROMPTS, MOST), False)
    assert [folder.exists() for folder in (old, young, busy)] == [False, True, True]


# -- page


def test_data_sets_can_be_left_out(choice: ModelChoice) -> None:
    page = build_page(choice, Limits(dataset_images=5, queue=3))
    without = build_page(choice, Limits(dataset_images=0))
    names = [{fn.api_name for fn in one.fns.values() if fn.api_visibility == "public"} for one in (page, without)]
    assert names[0] - names[1] == {"dataset"}
    assert names[1] >= {"generate", "compare", "parse"}
