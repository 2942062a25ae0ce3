"""The page: which widgets there are, and which handler each event calls."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from cxr.web import status
from cxr.web.clients import limit_jobs
from cxr.web.dataset_handlers import DatasetHandlers
from cxr.web.dataset_layout import build_dataset_tab
from cxr.web.events import AT_ONCE, MODEL_JOBS, PRIVATE
from cxr.web.examples import Example, find_examples
from cxr.web.form import Form, build_form
from cxr.web.handlers import Handlers
from cxr.web.limits import Limits
from cxr.web.model_choice import ModelChoice
from cxr.web.restore import build_restore
from cxr.web.temporary import LIFETIME_S, SWEEP_EVERY_S
from cxr.web.theme import SHOW_FORM, SHOW_RESULTS


@dataclass(frozen=True)
class Results:
    """The widgets that show what a job does and makes."""

    status: gr.HTML
    stop_button: gr.Button
    gallery: gr.Gallery
    zip_button: gr.DownloadButton
    receipt: gr.HTML
    facts: gr.JSON


def build_page(choice: ModelChoice, limits: Limits = Limits()) -> gr.Blocks:  # noqa: B008  it is frozen
    """Build the page and its public endpoints, ``/generate`` and ``/dataset``; no model is loaded yet.

    Args:
        choice: which model and LoRA will answer.
        limits: what visitors may ask of it.
    """
    examples = find_examples()
    handlers, datasets = Handlers(choice, examples, limits), DatasetHandlers(choice, limits.dataset_images, limits)
    with gr.Blocks(
        title="CXR Studio", analytics_enabled=False, delete_cache=(SWEEP_EVERY_S, LIFETIME_S), fill_width=True
    ) as page:
        gr.HTML(status.HEADER)
        model_line = gr.HTML(status.describe_model(choice), elem_id="model-line")
        adapter_cards = gr.HTML("", elem_id="adapter-cards")
        if limits.dataset_images:
            with gr.Tabs(elem_id="tabs"):
                with gr.Tab("Images"):
                    form = _build_images_tab(handlers, examples, model_line)
                with gr.Tab("Data set"):
                    build_dataset_tab(datasets, page)
        else:
            form = _build_images_tab(handlers, examples, model_line)
        gr.HTML(status.FOOTER)
        page.load(
            handlers.open_page, outputs=[model_line, adapter_cards, *form.by_model], concurrency_limit=None, **PRIVATE
        )
    page.queue(max_size=limits.queue)
    limit_jobs(page, limits.jobs_per_client, in_turns=datasets.run)
    return page


def _build_images_tab(handlers: Handlers, examples: tuple[Example, ...], model_line: gr.HTML) -> Form:
    with gr.Row(elem_id="workspace", elem_classes="workspace"):
        with gr.Column(scale=5, min_width=300, elem_id="form"):
            form = build_form(handlers.choice)
            generate_button = gr.Button("Generate", variant="primary", elem_id="generate")
            build_restore(form, handlers.loaded_model)
        with gr.Column(scale=8, min_width=300, elem_id="stage"):
            results = _build_results()
    _build_examples(examples, handlers, form)
    _connect(handlers, form, results, model_line, generate_button)
    return form


def _build_results() -> Results:
    with gr.Row(elem_classes="status-row"):
        panel = gr.HTML(status.IDLE, elem_id="status", scale=1)
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
    return Results(panel, stop_button, gallery, zip_button, receipt, facts)


def _build_examples(examples: tuple[Example, ...], handlers: Handlers, form: Form) -> None:
    if not examples:
        return
    gr.HTML('<h2 class="cxr-heading">Examples</h2><p class="cxr-hint">Click one to fill the form with its recipe.</p>')
    gallery = gr.Gallery(
        [(str(example.path), example.recipe.prompt) for example in examples],
        label="Examples",
        show_label=False,
        columns=None,  # the style sheet fits as many as there is room for
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_id="examples",
    )
    gallery.select(handlers.fill_from_example, outputs=form.everything, **AT_ONCE).then(None, js=SHOW_FORM)


def _connect(
    handlers: Handlers,
    form: Form,
    results: Results,
    model_line: gr.HTML,
    generate_button: gr.Button,
) -> None:
    job = gr.State(None)
    shown = [results.status, results.gallery, results.zip_button, results.facts]
    buttons = [generate_button, results.stop_button]
    started = gr.on(
        [generate_button.click, form.settings["prompt"].submit],
        handlers.start,
        inputs=form.everything,
        outputs=[job, form.settings["seed"], *shown, *buttons, results.receipt],
        concurrency_limit=None,
        **PRIVATE,
    )
    started.success(None, js=SHOW_RESULTS)
    ran = started.success(
        handlers.run,
        inputs=job,
        outputs=[*shown, model_line],
        trigger_mode="multiple",
        **MODEL_JOBS,
        **PRIVATE,
    )
    for over in (ran.success, ran.failure):  # after a failure, gradio 6.31 does not call what .then() was given
        over(
            handlers.settle,
            inputs=job,
            outputs=[results.status, *buttons, results.receipt],
            trigger_mode="multiple",
            **AT_ONCE,
        )
    results.stop_button.click(handlers.stop, inputs=job, outputs=[results.status, *buttons], **AT_ONCE)
    # The page streams previews and per-step news; programs get this plain endpoint instead.
    gr.Button(visible=False).click(
        handlers.generate,
        inputs=form.parameters,
        outputs=[results.gallery, results.zip_button, results.facts],
        api_name="generate",
        show_progress="hidden",
        **MODEL_JOBS,
    )
