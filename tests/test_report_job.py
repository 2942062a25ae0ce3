"""A finished data set is measured beside the queue, and compared with real films only where that was allowed."""

from __future__ import annotations

import asyncio
import csv
import zipfile
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from cxr.evaluate.image_set import MIN_IMAGES
from cxr.web.jobs.dataset_job import make_dataset
from cxr.web.jobs.dataset_order import DatasetJob, new_order
from cxr.web.jobs.job import AnyJob, Job
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.plan_text import plan_of_text
from cxr.web.jobs.report_job import ReportOrder, ReportState, count_labels, make_report
from cxr.web.page.report_events import ReportEvents
from cxr.web.page.report_panels import describe_report
from cxr.web.page.report_step import FEWEST_IMAGES
from cxr.web.server.arguments import parse_arguments
from cxr.web.server.limits import Limits

pytestmark = pytest.mark.usefixtures("private_temp_folder")

PLAN = "cohort: [{findings: Effusion, count: 3}]\nsettings: {num_inference_steps: 1}"
LINE = {"label": "sex", "as_asked": "1", "right_on_real": "87", "judgeable": "1"}


@pytest.fixture
def dataset(tiny_model_dir: Path) -> AnyJob:
    """The job of a finished data set."""
    job: AnyJob = Job(new_order(plan_of_text(PLAN, 10), False))
    for state in make_dataset(job.order, ModelChoice(str(tiny_model_dir), "none"), job):
        job.state = state
    return job


def all_of(states: Any) -> list[Any]:
    async def follow() -> list[Any]:
        return [state async for state in states]

    return asyncio.run(follow())


def test_lines_of_receipts_are_added_up() -> None:
    lines = [
        LINE,
        LINE | {"as_asked": "0"},
        LINE | {"label": "Effusion", "right_on_real": "", "judgeable": "0"},
        LINE | {"label": "Mass", "as_asked": ""},  # seen, and not asked for
    ]
    counts = count_labels(lines)
    assert [(count.label, count.asked, count.as_asked, count.judgeable) for count in counts] == [
        ("Effusion", 1, 1, False),
        ("sex", 2, 1, True),
    ]
    assert count_labels([]) == []


def test_a_data_set_is_measured_beside_the_queue_of_the_model(dataset: AnyJob) -> None:
    events = ReportEvents(Limits())
    assert events.reference is None
    job, *_ = events.start(None, dataset, True)
    assert job.order.reference is None, "without real films there is nothing to compare with"
    last = all_of(events.run(job))[-1]
    assert "Measured" in last[0]
    assert "Effusion" in last[4]
    assert "could not be made" in last[4]
    assert "iframe" not in last[4]
    with zipfile.ZipFile(job.state.archive) as archive:
        table = archive.read("as_asked.csv").decode()
    rows = list(csv.DictReader(table.splitlines()))
    assert {row["label"]: row["asked"] for row in rows}["Effusion"] == "3"


def test_what_was_not_made_is_not_measured() -> None:
    never_begun: DatasetJob = Job(new_order(plan_of_text(PLAN, 10), False))
    for job in (None, never_begun):
        with pytest.raises(gr.Error, match="no finished data set"):
            ReportEvents(Limits()).start(None, job, False)


def test_a_comparison_that_is_not_possible_is_said_and_the_rest_is_there(dataset: AnyJob, tmp_path: Path) -> None:
    real = tmp_path / "real <films>"
    real.mkdir()
    (real / "a.png").write_bytes((dataset.order.folder / "samples.png").read_bytes())
    events = ReportEvents(Limits(), real)
    last = all_of(events.run(events.start(None, dataset, True)[0]))[-1]
    assert "No comparison with real films: the data set holds 3 images" in last[0]
    assert str(tmp_path) not in last[0]
    assert "Effusion" in last[4]
    assert events.start(None, dataset, False)[0].order.reference is None


def test_how_to_compare_is_said_only_where_nothing_was_compared() -> None:
    assert "--reference DIR" in describe_report(ReportState("finished"))
    shown = describe_report(ReportState("finished", page="<h1>Report</h1>"))
    assert "--reference DIR" not in shown
    assert "&lt;h1&gt;Report" in shown  # as a document of its own


def test_the_page_says_how_many_images_a_comparison_needs() -> None:
    assert FEWEST_IMAGES == MIN_IMAGES


def test_a_report_is_stopped_before_its_next_step(dataset: AnyJob) -> None:
    job: AnyJob = Job("")
    assert dataset.state is not None
    states = make_report(ReportOrder(dataset.order.folder, dataset.state.archive, 0), job)
    next(states)
    job.stop()
    assert list(states) == [ReportState("stopped")]
    assert not (dataset.order.folder / "report").exists()


@pytest.mark.parametrize("flags", [["--share"], ["--host", "0.0.0.0"]])
def test_real_films_are_not_shown_to_other_machines(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parse_arguments(["--reference", str(tmp_path)]).reference == tmp_path
    with pytest.raises(SystemExit):
        parse_arguments(["--reference", str(tmp_path), *flags])
    assert "would show real films to other machines" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse_arguments(["--reference", str(tmp_path / "missing")])
    assert "is not a folder" in capsys.readouterr().err
