"""The data set tab: which widgets there are, and which handler each event calls."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from cxr.dataset.plan import Plan
from cxr.web import dataset_status
from cxr.web.dataset_form import DatasetForm, build_dataset_form
from cxr.web.dataset_handlers import DatasetHandlers
from cxr.web.dataset_jobs import MAX_ATTEMPTS, remove_old_folders
from cxr.web.events import AT_ONCE, MODEL_JOBS, PRIVATE
from cxr.web.theme import SHOW_DATASET


@dataclass(frozen=True)
class DatasetResults:
    """The widgets that show what a job does and makes."""

    status: gr.HTML
    stop_button: gr.Button
    zip_button: gr.DownloadButton
    summary: gr.HTML
    samples: gr.Image
    facts: gr.JSON


def build_dataset_tab(handlers: DatasetHandlers, page: gr.Blocks) -> None:
    """Build the content of the tab and the endpoint ``/dataset``.

    Args:
        handlers: what its events do.
        page: the page that it is part of.
    """
    with gr.Row(elem_id="dataset-workspace", elem_classes="workspace"):
        with gr.Column(scale=6, min_width=300, elem_id="dataset-form"):
            form, upload = build_dataset_form()
            with gr.Row():
                check_button = gr.Button("Check the plan", min_width=130, elem_id="check")
                make_button = gr.Button("Make the data set", variant="primary", min_width=130, elem_id="make")
        with gr.Column(scale=7, min_width=300, elem_id="dataset-stage"):
            results = _build_results(handlers.most, handlers.default_plan())
    upload.upload(handlers.fill, inputs=upload, outputs=form.filled, concurrency_limit=None, **PRIVATE)
    _connect_check(handlers, form, results, check_button)
    _connect_job(handlers, form, results, make_button)
    _connect_endpoint(handlers)
    page.load(remove_old_folders, concurrency_limit=None, **PRIVATE)


def _build_results(most: int, default: Plan) -> DatasetResults:
    with gr.Row(elem_classes="status-row"):
        panel = gr.HTML(dataset_status.idle(most), elem_id="dataset-status", scale=1)
        stop_button = gr.Button(
            "Stop", variant="stop", interactive=False, elem_id="dataset-stop", scale=0, min_width=76
        )
    zip_button = gr.DownloadButton("Download ZIP", interactive=False, elem_id="dataset-zip")
    summary = gr.HTML(dataset_status.describe_plan(default), elem_id="dataset-plan")
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
    gr.HTML(f'<p class="cxr-hint">{dataset_status.TURNS_HINT}</p>')
    return DatasetResults(panel, stop_button, zip_button, summary, samples, facts)


def _connect_check(
    handlers: DatasetHandlers, form: DatasetForm, results: DatasetResults, check_button: gr.Button
) -> None:
    plan = gr.State(None)
    checked = check_button.click(
        handlers.check, inputs=form.plan, outputs=[plan, results.summary], concurrency_limit=None, **PRIVATE
    )
    checked.success(None, js=SHOW_DATASET)
    checked.success(handlers.measure, inputs=plan, outputs=results.summary, **MODEL_JOBS, **PRIVATE)


def _connect_job(handlers: DatasetHandlers, form: DatasetForm, results: DatasetResults, make_button: gr.Button) -> None:
    job, turn = gr.State(None), gr.State(0)
    made = [results.zip_button, results.samples, results.facts]
    buttons = [make_button, results.stop_button]
    started = make_button.click(
        handlers.start,
        inputs=[job, *form.plan],
        outputs=[job, turn, results.status, results.summary, *made, *buttons],
        concurrency_limit=None,
        **PRIVATE,
    )
    started.success(None, js=SHOW_DATASET)
    # Every turn is an event of its own, at the end of the queue: between two of them others have theirs.
    # The turn has to be set by an event of the queue: gradio 6.31 sees no change in what others set.
    ran = turn.change(
        handlers.run,
        inputs=job,
        outputs=[results.status, *made, turn],
        trigger_mode="multiple",
        **MODEL_JOBS,
        **PRIVATE,
    )
    ran.success(handlers.settle, inputs=job, outputs=buttons, trigger_mode="multiple", **AT_ONCE)
    ran.failure(handlers.give_up, inputs=job, outputs=[results.status, *buttons], trigger_mode="multiple", **AT_ONCE)
    results.stop_button.click(handlers.stop, inputs=job, outputs=[results.status, *buttons], **AT_ONCE)


def _connect_endpoint(handlers: DatasetHandlers) -> None:
    """The page runs jobs in turns and goes on with them; programs get this plain endpoint instead."""
    with gr.Column(visible=False):
        plan = gr.Textbox(label="Plan")
        max_attempts = gr.Number(MAX_ATTEMPTS, label="Seeds that an image may take")
        gate = gr.Checkbox(False, label="Gate")
        progress, facts = gr.JSON(label="Progress"), gr.JSON(label="Facts")
        archive = gr.DownloadButton("ZIP")
        gr.Button().click(
            handlers.dataset,
            inputs=[plan, max_attempts, gate],
            outputs=[progress, archive, facts],
            api_name="dataset",
            show_progress="hidden",
            **MODEL_JOBS,
        )
