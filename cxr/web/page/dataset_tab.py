"""The data set tab: which widgets there are, and what each event calls."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from cxr.dataset.plan import Plan
from cxr.web.page import dataset_panels
from cxr.web.page.dataset_events import DatasetEvents
from cxr.web.page.dataset_form import DatasetForm, build_dataset_form
from cxr.web.page.events import AT_ONCE, QUEUED, buttons, connect_reload
from cxr.web.page.theme import SHOW_DATASET


@dataclass(frozen=True)
class DatasetResults:
    """The widgets that show what a job does and makes."""

    status: gr.HTML
    stop_button: gr.Button
    zip_button: gr.DownloadButton
    summary: gr.HTML
    samples: gr.Image
    facts: gr.JSON


def build_dataset_tab(page: gr.Blocks, events: DatasetEvents) -> None:
    """Build the content of the tab.

    Args:
        page: that it is on.
        events: what its events do.
    """
    with gr.Row(elem_id="dataset-workspace", elem_classes="workspace"):
        with gr.Column(scale=6, min_width=300, elem_id="dataset-form"):
            form, upload = build_dataset_form()
            with gr.Row():
                check_button = gr.Button("Check the plan", min_width=130, elem_id="check")
                make_button = gr.Button("Make the data set", variant="primary", min_width=130, elem_id="make")
        with gr.Column(scale=7, min_width=300, elem_id="dataset-stage"):
            results = _build_results(events.max_images, events.default_plan())
    upload.upload(events.fill, inputs=upload, outputs=form.filled, **QUEUED)
    _connect_check(events, form, results, check_button)
    _connect_job(page, events, form, results, make_button)


def _build_results(max_images: int, default: Plan) -> DatasetResults:
    with gr.Row(elem_classes="status-row"):
        panel = gr.HTML(dataset_panels.idle(max_images), elem_id="dataset-status", scale=1)
        stop_button = gr.Button(
            "Stop", variant="stop", interactive=False, elem_id="dataset-stop", scale=0, min_width=76
        )
    zip_button = gr.DownloadButton("Download ZIP", interactive=False, elem_id="dataset-zip")
    summary = gr.HTML(dataset_panels.describe_plan(default), elem_id="dataset-plan")
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
    gr.HTML(f'<p class="cxr-hint">{dataset_panels.TURNS_HINT}</p>')
    return DatasetResults(panel, stop_button, zip_button, summary, samples, facts)


def _connect_check(events: DatasetEvents, form: DatasetForm, results: DatasetResults, check_button: gr.Button) -> None:
    plan = gr.State(None)
    checked = check_button.click(events.check, inputs=form.plan, outputs=[plan, results.summary], **QUEUED)
    checked.success(None, js=SHOW_DATASET)
    checked.success(events.measure, inputs=plan, outputs=results.summary, **QUEUED)


def _connect_job(
    page: gr.Blocks, events: DatasetEvents, form: DatasetForm, results: DatasetResults, make_button: gr.Button
) -> None:
    job = gr.State(None)
    start_stop = [make_button, results.stop_button]
    shown = [results.status, *start_stop, results.zip_button, results.samples, results.facts]
    started = make_button.click(
        events.start, inputs=[job, *form.plan], outputs=[job, results.summary, *shown], **QUEUED
    )
    started.success(None, js=SHOW_DATASET)
    connect_reload(page, events.resume, job, shown, [started], "dataset")
    ran = started.success(events.run, inputs=job, outputs=shown, trigger_mode="multiple", **QUEUED)
    ran.failure(lambda: buttons(is_running=False), outputs=start_stop, trigger_mode="multiple", **AT_ONCE)
    results.stop_button.click(events.stop, inputs=job, outputs=[results.status, *start_stop], **AT_ONCE)
