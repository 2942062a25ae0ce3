"""The page: its header, its tabs, and what it says about the model when it opens."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import gradio as gr

from cxr.request.errors import CxrError
from cxr.request.messages import as_sentence
from cxr.request.settings import BY_MODEL, SETTINGS
from cxr.web.api.endpoints import build_endpoints
from cxr.web.jobs.model_choice import ModelChoice, answering, load_model_for
from cxr.web.jobs.table import JobTable
from cxr.web.page import panels
from cxr.web.page.dataset_events import DatasetEvents
from cxr.web.page.dataset_tab import build_dataset_tab
from cxr.web.page.detect_tab import build_detect_tab
from cxr.web.page.grid_events import GridEvents
from cxr.web.page.grid_tab import build_grid_tab
from cxr.web.page.image_events import ImageEvents
from cxr.web.page.image_form import ImageForm
from cxr.web.page.image_tab import build_image_tab
from cxr.web.page.report_events import ReportEvents
from cxr.web.page.shared_events import QUEUED, Values
from cxr.web.server.limits import Limits
from cxr.web.server.temporary import LIFETIME_S, SWEEP_EVERY_S

# Of gradio's own queue, where events stay for a moment only; whoever has to wait for the model waits in the job table.
MAX_EVENTS = 1_000


def build_page(
    choice: ModelChoice,
    limits: Limits = Limits(),  # noqa: B008
    jobs: JobTable | None = None,
    reference: Path | None = None,
) -> gr.Blocks:
    """Build the page and its public endpoints; no model is loaded yet.

    Args:
        choice: which model and LoRA will answer.
        limits: what visitors may ask of it.
        jobs: those of all visitors; else a table of its own.
        reference: folder of real films that data sets can be compared with.
    """
    jobs = jobs or new_job_table(limits)
    images = ImageEvents(choice, limits, jobs)
    grids = GridEvents(images)
    datasets = DatasetEvents(choice, limits, jobs) if limits.dataset_images else None
    page = gr.Blocks(
        title="CXR Studio", analytics_enabled=False, delete_cache=(SWEEP_EVERY_S, LIFETIME_S), fill_width=True
    )
    with page:
        build_endpoints(images, datasets, grids)  # first, as gradio gives a name to the first that claims it
        gr.HTML(panels.HEADER, elem_id="header")
        model_line = gr.HTML(panels.describe_model(choice), elem_id="model-line", render=False)
        adapter_cards = gr.HTML("", elem_id="adapter-cards", render=False)
        reports = ReportEvents(limits, reference)
        form, status = _build_tabs(page, images, grids, datasets, reports, [model_line, adapter_cards])

        def open_page() -> Generator[Values, None, None]:
            yield from describe_choice(choice)

        page.load(open_page, outputs=[model_line, adapter_cards, status, *form.by_model], **QUEUED)
    # Direct calls of endpoints, which gradio would let bypass its queue, are closed.
    page.queue(max_size=MAX_EVENTS, api_open=False)
    return page


def _build_tabs(
    page: gr.Blocks,
    images: ImageEvents,
    grids: GridEvents,
    datasets: DatasetEvents | None,
    reports: ReportEvents,
    about_model: Sequence[gr.HTML],
) -> tuple[ImageForm, gr.HTML]:
    """Build all tabs; gives the form of the first, and its panel that says what is going on."""
    with gr.Tabs(elem_id="tabs"):
        with gr.Tab("Images", id="images"):
            form, status = build_image_tab(page, images, about_model[0])
        with gr.Tab("Grid", id="grid"):
            build_grid_tab(page, grids)
        if datasets is not None:
            with gr.Tab("Data set", id="dataset"):
                build_dataset_tab(page, datasets, reports)
        with gr.Tab("Check", id="check"):
            build_detect_tab(images.reader)
        with gr.Tab("About", id="about"):
            _build_about(about_model, images.limits)
    return form, status


def _build_about(about_model: Sequence[gr.HTML], limits: Limits) -> None:
    gr.HTML('<h2 class="cxr-heading">About this program</h2>' + panels.ABOUT)
    gr.HTML('<h2 class="cxr-heading">The model in use</h2>')
    for widget in about_model:
        widget.render()
    gr.HTML('<h2 class="cxr-heading">What this server allows</h2>' + panels.describe_limits(limits))


def new_job_table(limits: Limits) -> JobTable:
    """A table for the jobs of a page."""
    return JobTable(limits.queue, limits.jobs_per_client)


def describe_choice(choice: ModelChoice) -> Generator[Values, None, None]:
    """Say all that depends on the model that answers; waits for it if it is still being loaded.

    Yields:
        Values for (model line, LoRA cards, status, the settings of `BY_MODEL`); the status says what went wrong, if
        anything did, and the settings are those of the model that answers in
        place of the chosen one, or stay as they are.
    """
    settings: Values = (gr.skip(),) * len(BY_MODEL)
    yield panels.describe_model(choice), gr.skip(), gr.skip(), *settings
    try:
        answers = answering(choice)
        model = load_model_for(answers)
    except CxrError as error:
        problem = as_sentence(str(error))
        said = panels.panel("Model not available", tone="bad", notes=[problem])
        yield panels.describe_model(choice, problem=problem), "", said, *settings
        return
    if answers != choice:
        settings = tuple(SETTINGS[name].default for name in BY_MODEL)
    yield panels.describe_model(choice, model.info), panels.draw_adapters(model.adapters), gr.skip(), *settings
