"""The data set tab, as steps: which widgets there are, and what each event calls."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from cxr.web.page import dataset_panels
from cxr.web.page.dataset_events import MAKE, DatasetEvents
from cxr.web.page.dataset_form import DatasetForm, build_cohort, build_dataset_settings
from cxr.web.page.plan_events import CHECK
from cxr.web.page.report_events import ReportEvents
from cxr.web.page.report_step import build_report_step
from cxr.web.page.shared_events import AT_ONCE, QUEUED, buttons, connect_reload

COHORT, SETTINGS, REPORT = 1, 2, 5
# Waits until typing pauses, then sends what stands in the form by that time.
PAUSE = """(...values) => new Promise((send) => {
    clearTimeout(window.cxrPlan);
    window.cxrPlan = setTimeout(() => send(values), 300);
})"""


@dataclass(frozen=True)
class DatasetResults:
    """The widgets that show what a job does and makes."""

    status: gr.HTML
    stop_button: gr.Button
    zip_button: gr.DownloadButton
    pictures: gr.HTML
    samples: gr.Image
    facts: gr.JSON


def build_dataset_tab(page: gr.Blocks, events: DatasetEvents, reports: ReportEvents) -> None:
    """Build the content of the tab.

    Args:
        reports: what those of its last step do.
    """
    default = events.default_plan()
    with gr.Row(elem_id="dataset-workspace", elem_classes="workspace"):
        with gr.Column(scale=7, min_width=300, elem_id="dataset-form"), gr.Walkthrough(elem_id="steps") as steps:
            with gr.Step("Cohort", id=COHORT):
                at_first = f"Up to {events.max_images:,} images."
                cohort = build_cohort(dataset_panels.describe_problems([], right=at_first))
                _next_button("Next: settings", steps, SETTINGS)
            with gr.Step("Settings", id=SETTINGS):
                form = build_dataset_settings(cohort)
                open_check = gr.Button("Next: check", elem_id="check")
            with gr.Step("Check", id=CHECK):
                said = gr.HTML("", elem_id="dataset-check")
                make_button = gr.Button("Make the data set", variant="primary", elem_id="make")
            with gr.Step("Make", id=MAKE):
                results = _build_results()
                _next_button("Next: report", steps, REPORT)
            with gr.Step("Report", id=REPORT):
                report = build_report_step(reports)
        with gr.Column(scale=4, min_width=280, elem_id="dataset-stage"):
            gr.HTML('<h2 class="cxr-heading">The plan</h2>')
            counts = gr.HTML(dataset_panels.describe_counts(default), elem_id="dataset-plan")
    _connect_plan(events, form, counts)
    plan = gr.State(None)
    checked = open_check.click(events.check, inputs=form.plan, outputs=[plan, counts, said, steps], **QUEUED)
    checked.success(events.measure, inputs=[plan, form.gate], outputs=[counts, said], **QUEUED)
    job = gr.State(None)
    _connect_job(page, events, form, results, make_button, job, [counts, steps])
    report.connect(reports, job)


def _connect_plan(events: DatasetEvents, form: DatasetForm, counts: gr.HTML) -> None:
    """Keep table, text and counts in step with what is typed."""
    cohort = form.cohort
    cohort.upload.upload(events.fill, inputs=[cohort.upload, cohort.rows], outputs=form.filled, **QUEUED)
    cohort.kind.input(events.turn, inputs=form.filled, outputs=form.filled, **QUEUED)
    gr.on(
        [widget.change for widget in form.filled],
        events.describe,
        inputs=form.filled,
        outputs=[counts, cohort.problems],
        js=PAUSE,
        trigger_mode="multiple",
        **QUEUED,
    )


def _next_button(label: str, steps: gr.Walkthrough, step: int) -> None:
    gr.Button(label, elem_classes="next").click(lambda: gr.Walkthrough(selected=step), outputs=steps, **AT_ONCE)


def _build_results() -> DatasetResults:
    with gr.Row(elem_classes="status-row"):
        panel = gr.HTML(dataset_panels.IDLE, elem_id="dataset-status", scale=1)
        stop_button = gr.Button(
            "Stop", variant="stop", interactive=False, elem_id="dataset-stop", scale=0, min_width=76
        )
    pictures = gr.HTML("", elem_id="dataset-pictures")
    zip_button = gr.DownloadButton("Download ZIP", interactive=False, elem_id="dataset-zip")
    samples = gr.Image(
        label="Samples",
        show_label=False,
        format="png",
        interactive=False,
        visible=False,
        buttons=["download", "fullscreen"],
        elem_id="samples",
    )
    with gr.Accordion("Facts about this data set", open=False):
        facts = gr.JSON(label="Facts", show_label=False)
    return DatasetResults(panel, stop_button, zip_button, pictures, samples, facts)


def _connect_job(
    page: gr.Blocks,
    events: DatasetEvents,
    form: DatasetForm,
    results: DatasetResults,
    make_button: gr.Button,
    job: gr.State,
    beside: list[Block],
) -> None:
    """Let the buttons start and stop the job.

    Args:
        beside: what else a job that begins sets: the counts and the steps.
    """
    start_stop = [make_button, results.stop_button]
    shown = [results.status, *start_stop, results.zip_button, results.pictures, results.samples, results.facts]
    started = make_button.click(events.start, inputs=[job, *form.plan], outputs=[job, *beside, *shown], **QUEUED)
    connect_reload(page, events.resume, job, [*beside, *shown], [started], "dataset")
    ran = started.success(events.run, inputs=job, outputs=shown, trigger_mode="multiple", **QUEUED)
    ran.failure(lambda: buttons(is_running=False), outputs=start_stop, trigger_mode="multiple", **AT_ONCE)
    results.stop_button.click(events.stop, inputs=job, outputs=[results.status, *start_stop], **AT_ONCE)
