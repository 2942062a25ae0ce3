"""The images tab: which widgets there are, and what each event calls."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from cxr.web.jobs.model_choice import loaded_info
from cxr.web.page import panels
from cxr.web.page.events import AT_ONCE, QUEUED, buttons, connect_reload
from cxr.web.page.image_events import ImageEvents
from cxr.web.page.image_form import ImageForm, build_image_form
from cxr.web.page.restore import build_restore
from cxr.web.page.theme import SHOW_FORM, SHOW_RESULTS


@dataclass(frozen=True)
class ImageResults:
    """The widgets that show what a job does and makes."""

    status: gr.HTML
    stop_button: gr.Button
    gallery: gr.Gallery
    zip_button: gr.DownloadButton
    receipt: gr.HTML
    facts: gr.JSON


def build_image_tab(page: gr.Blocks, events: ImageEvents, model_line: gr.HTML) -> ImageForm:
    """Build the content of the tab.

    Args:
        page: that it is on.
        events: what its events do.
        model_line: says which model answers.
    """
    with gr.Row(elem_id="workspace", elem_classes="workspace"):
        with gr.Column(scale=5, min_width=300, elem_id="form"):
            form = build_image_form(events.choice)
            generate_button = gr.Button("Generate", variant="primary", elem_id="generate")
            build_restore(form, lambda: loaded_info(events.choice))
        with gr.Column(scale=8, min_width=300, elem_id="stage"):
            results = _build_results()
    _build_examples(events, form)
    _connect(page, events, form, results, model_line, generate_button)
    return form


def _build_results() -> ImageResults:
    with gr.Row(elem_classes="status-row"):
        panel = gr.HTML(panels.IDLE, elem_id="status", scale=1)
        # Beside the progress, so that it is in sight on a phone too.
        stop_button = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop", scale=0, min_width=76)
    gallery = gr.Gallery(
        label="Images",
        show_label=False,
        format="png",  # the default is a lossy format
        columns=1,
        rows=1,
        fit_columns=False,  # else the grid changes with every image that arrives
        object_fit="contain",
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id="results",
    )
    zip_button = gr.DownloadButton("Download ZIP", interactive=False, elem_id="zip")
    receipt = gr.HTML("", visible=False, elem_id="receipt")
    with gr.Accordion("Facts about these images", open=False):
        facts = gr.JSON(label="Facts", show_label=False)
    return ImageResults(panel, stop_button, gallery, zip_button, receipt, facts)


def _build_examples(events: ImageEvents, form: ImageForm) -> None:
    if not events.examples:
        return
    gr.HTML('<h2 class="cxr-heading">Examples</h2><p class="cxr-hint">Click one to fill the form with its recipe.</p>')
    gallery = gr.Gallery(
        [(str(example.path), example.recipe.prompt) for example in events.examples],
        label="Examples",
        show_label=False,
        columns=None,  # the style sheet fits as many as there is room for
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_id="examples",
    )
    gallery.select(events.fill_from_example, outputs=form.everything, **AT_ONCE).then(None, js=SHOW_FORM)


def _connect(
    page: gr.Blocks,
    events: ImageEvents,
    form: ImageForm,
    results: ImageResults,
    model_line: gr.HTML,
    generate_button: gr.Button,
) -> None:
    job = gr.State(None)
    start_stop = [generate_button, results.stop_button]
    shown = [results.status, *start_stop, results.gallery, results.zip_button, results.facts, model_line]
    shown.append(results.receipt)
    started = gr.on(
        [generate_button.click, form.settings["prompt"].submit],
        events.start,
        inputs=[job, *form.everything],
        outputs=[job, form.settings["seed"], *shown],
        **QUEUED,
    )
    started.success(None, js=SHOW_RESULTS)
    connect_reload(page, events.resume, job, shown, started, "images")
    ran = started.success(events.run, inputs=job, outputs=shown, trigger_mode="multiple", **QUEUED)
    ran.failure(lambda: buttons(is_running=False), outputs=start_stop, trigger_mode="multiple", **AT_ONCE)
    results.stop_button.click(events.stop, inputs=job, outputs=[results.status, *start_stop], **AT_ONCE)
