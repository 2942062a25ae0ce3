"""The images tab: which widgets there are, where they stand, and what each event calls."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.blocks import Block

from cxr.images.png import read_recipe
from cxr.request.errors import DataError
from cxr.request.recipe import Recipe
from cxr.request.settings import API_SETTINGS, SETTINGS
from cxr.web.jobs.model_choice import loaded_info
from cxr.web.page import panels
from cxr.web.page.begin_panel import BeginPanel, build_begin_panel, whole_picture
from cxr.web.page.image_events import ImageEvents, run_button
from cxr.web.page.image_form import AT_HAND, ImageForm, build_image_form, settings_to_repeat
from cxr.web.page.page_jobs import CANCEL
from cxr.web.page.picture_events import dicom, fill, use_seed
from cxr.web.page.prompt_builder import build_prompt_builder
from cxr.web.page.prompt_chips import build_prompt_chips, connect_prompt_chips
from cxr.web.page.receipt_rows import FOOTNOTE
from cxr.web.page.restore import build_restore
from cxr.web.page.scripts import EXAMPLES, SAVE_FILE, VIEWER, VIEWER_TEMPLATE
from cxr.web.page.shared_events import AT_ONCE, QUEUED, connect_reload
from cxr.web.page.stage_data import file_value

EXAMPLES_FOLDER = Path(__file__).parents[3] / "examples"
MAX_EXAMPLES = 24


@dataclass(frozen=True)
class ImageResults:
    """The widgets that show what a job does and makes, and the button that starts and ends one."""

    status: gr.HTML
    button: gr.Button
    viewer: gr.HTML
    zip_button: gr.DownloadButton
    facts: gr.JSON

    @property
    def shown(self) -> list[Block]:
        """All of them, in the order of ``ImageEvents.show``."""
        return [self.status, self.button, self.viewer, self.zip_button, self.facts]


@dataclass(frozen=True)
class Asking:
    """The widgets that ask for pictures besides the one button, and the list of what waits."""

    strip: gr.HTML
    enqueue: gr.Button
    queue: gr.HTML


def build_image_tab(page: gr.Blocks, events: ImageEvents, model_line: gr.HTML) -> tuple[ImageForm, gr.HTML]:
    """Build the content of the tab.

    Args:
        model_line: says which model answers.
    Returns:
        The form, and the panel that says what is going on.
    """
    form = build_image_form(events.choice)
    with gr.Row(elem_id="composer"):
        with gr.Column(scale=7, min_width=280, elem_id="describe"):
            form.prompt.render()
            chips = build_prompt_chips(events.choice)
        with gr.Column(scale=4, min_width=280, elem_id="ask"):
            with gr.Row(elem_id="numbers"):
                for widget in (form.settings["num_images"], form.settings["seed"], form.randomise):
                    widget.render()
            with gr.Row(elem_id="run"):
                with gr.Column(scale=0, min_width=120, elem_id="run-buttons"):
                    button = gr.Button("Generate", variant="primary", elem_id="generate")
                    # The style sheet shows it while something runs.
                    enqueue = gr.Button("Add to queue", size="sm", elem_id="enqueue")
                status = gr.HTML(panels.IDLE, elem_id="status", scale=1)
    strip = _build_examples()
    with gr.Row(elem_id="folded"):
        with gr.Accordion("Prompt builder", open=False, elem_id="builder"):
            builder = build_prompt_builder()
        with gr.Accordion("Advanced", open=False, elem_id="advanced"):
            for name in (name for name in API_SETTINGS if name not in AT_HAND):
                form.settings[name].render()
        begin, file = build_begin_panel(events.reader)
        build_restore(form, lambda: loaded_info(events.choice), begin)
    queue = gr.HTML("", js_on_load=CANCEL, elem_id="queue")
    results = _build_results(status, button)
    connect_prompt_chips(chips, form.prompt, form.reword, builder, events.choice)
    _connect(page, events, form, results, Asking(strip, enqueue, queue), model_line, begin)
    begin.connect(file, results.viewer)
    return form, status


def _build_results(status: gr.HTML, button: gr.Button) -> ImageResults:
    viewer = gr.HTML(
        None,
        html_template=VIEWER_TEMPLATE,
        js_on_load=VIEWER,
        apply_default_css=False,
        elem_id="stage",
        footnote=FOOTNOTE,
        labels={name: setting.label for name, setting in SETTINGS.items()},
    )
    with gr.Row(elem_id="take-away"):
        zip_button = gr.DownloadButton(
            "Download ZIP of the last request", interactive=False, elem_id="zip", scale=0, min_width=300
        )
        with gr.Accordion("Facts about the last request", open=False):
            facts = gr.JSON(label="Facts", show_label=False)
    return ImageResults(status, button, viewer, zip_button, facts)


def find_examples(folder: Path = EXAMPLES_FOLDER) -> dict[Path, Recipe]:
    """The shipped pictures with the recipes that made them, by file name; others, as screenshots, are passed over."""
    examples: dict[Path, Recipe] = {}
    for path in sorted(folder.glob("*.png")):
        with contextlib.suppress(DataError):
            examples[path] = read_recipe(path)
    return dict([*examples.items()][:MAX_EXAMPLES])


def _build_examples() -> gr.HTML:
    values = [
        {"file": file_value(path), "caption": recipe.prompt, "settings": settings_to_repeat(recipe, recipe.model)}
        for path, recipe in find_examples().items()
    ]
    return gr.HTML(
        values,
        html_template='<ul class="cxr-strip" aria-label="Examples: a click makes the picture"></ul>',
        js_on_load=EXAMPLES,
        apply_default_css=False,
        visible=bool(values),
        elem_id="examples",
    )


def _connect(
    page: gr.Blocks,
    events: ImageEvents,
    form: ImageForm,
    results: ImageResults,
    asking: Asking,
    model_line: gr.HTML,
    begin: BeginPanel,
) -> None:
    mine = gr.State(None)
    shown = [*results.shown, model_line, asking.queue]
    asked = [mine, *form.everything, *begin.inputs], [mine, form.settings["seed"], *shown]
    everything = [*form.everything, *begin.filled]
    filled = [
        part.make(fill, outputs=everything, **QUEUED)  # one click makes the picture
        for part in (asking.strip, results.viewer)
    ]
    results.viewer.fill(fill, outputs=everything, **QUEUED)
    results.viewer.seed(use_seed, outputs=[form.settings["seed"], form.randomise], **QUEUED)
    by_one_click = [made.success(events.start, *asked, **QUEUED) for made in filled]
    for start in by_one_click:  # a region is that of this picture, and not of what is asked for next
        start.then(whole_picture, begin.region, [begin.accordion, begin.region], **AT_ONCE)
    started = [
        results.viewer.twin(events.start_twin, [mine, begin.sent], asked[1], **QUEUED),
        results.button.click(events.press, *asked, **QUEUED),
        asking.enqueue.click(events.start, *asked, **QUEUED),
        form.prompt.submit(events.start, *asked, **QUEUED),
        *by_one_click,
    ]
    connect_reload(page, events.resume, mine, shown, started, "images")
    for start in started:
        ran = start.success(events.run, inputs=mine, outputs=shown, trigger_mode="multiple", **QUEUED)
        ran.failure(lambda: run_button(is_running=False), outputs=results.button, trigger_mode="multiple", **AT_ONCE)
    asking.queue.cancel(events.cancel, inputs=mine, outputs=asking.queue, **QUEUED)
    link = gr.HTML(None, visible="hidden", elem_id="dicom-file")
    written = results.viewer.dicom(dicom, outputs=link, **QUEUED)
    written.success(None, inputs=link, js=SAVE_FILE)
