"""The grid tab: which widgets there are, and what each event calls."""

from __future__ import annotations

import gradio as gr

from cxr.request.settings import GRID_AXES, MAX_GRID_IMAGES, SETTINGS
from cxr.web.page import panels
from cxr.web.page.grid_events import EXAMPLE, MAKE, GridEvents, usual
from cxr.web.page.image_form import unchecked
from cxr.web.page.shared_events import QUEUED, connect_reload

HINT = (
    "Words in braces are alternatives, as in {small|large}; several numbers are separated by commas. Every combination "
    "is made, on one sheet with labels: the last setting with several values goes across, the others down. At most "
    f"{MAX_GRID_IMAGES} images."
)
IDLE = panels.panel("Ready", tone="idle", notes=["The sheet appears below."])


def build_grid_tab(page: gr.Blocks, events: GridEvents) -> None:
    """Build the content of the tab."""
    gr.HTML('<h2 class="cxr-heading">A grid of settings</h2>' + panels.hint(HINT))
    prompt = unchecked(gr.Textbox(EXAMPLE, label="Prompt with alternatives", lines=2, elem_id="grid-prompt"))
    with gr.Row(elem_id="grid-axes"):
        axes = [_axis(name, usual(name, events.choice.defaults)) for name in GRID_AXES]
    with gr.Row(elem_id="grid-run"):
        button = gr.Button(MAKE, variant="primary", elem_id="grid-make", scale=0, min_width=180)
        with gr.Column(min_width=240):
            estimate = gr.HTML("", elem_id="grid-estimate")
            status = gr.HTML(IDLE, elem_id="grid-status")
    sheet = gr.Image(
        label="Sheet",
        format="png",
        interactive=False,
        visible=False,
        elem_id="grid-sheet",
        buttons=["download", "fullscreen"],
    )
    with gr.Row(elem_id="grid-take-away"):
        archive = gr.DownloadButton(
            "Download ZIP of the images", interactive=False, elem_id="grid-zip", scale=0, min_width=300
        )
        with gr.Accordion("Facts about the last sheet", open=False):
            facts = gr.JSON(label="Facts", show_label=False)
    job = gr.State(None)
    shown, form = [status, button, sheet, archive, facts], [prompt, *axes]
    started = button.click(events.press, [job, *form], [job, *shown], **QUEUED)
    connect_reload(page, events.resume, job, shown, [started], "grid")
    started.success(events.run, job, shown, trigger_mode="multiple", **QUEUED)
    gr.on(
        [page.load, *(widget.change for widget in form)],
        events.describe_form,
        form,
        estimate,
        trigger_mode="always_last",
        **QUEUED,
    )


def _axis(name: str, value: str) -> gr.Textbox:
    setting = SETTINGS[name]
    is_seed = name == "seed"
    return unchecked(
        gr.Textbox(
            value,
            label="Seed" if is_seed else setting.label,
            info="Whole numbers from 0." if is_seed else f"{setting.range}.",
            lines=1,
            max_lines=1,
            min_width=150,
            elem_id=f"grid-{name}",
        )
    )
