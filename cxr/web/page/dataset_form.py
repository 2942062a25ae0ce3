"""The form of a data set: a table of who is in it and a few fields, or the whole plan as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from cxr.dataset.cohort import KEYS
from cxr.request.settings import DATASET_OPTIONS, SETTINGS
from cxr.web.jobs.plan_text import FIELDS, NAME, SPLITS, Rows
from cxr.web.page.image_form import number, unchecked
from cxr.web.page.shared_events import AT_ONCE
from cxr.web.server.uploads import TEXT_SUFFIXES

TABLE, TEXT = "Table", "Text"
ROWS: Rows = [
    ["Effusion", "", "NIH", "", "", "4"],
    ["Cardiomegaly", "F", "40-80", "PA", "", "4"],
    ["Edema + Effusion", "M", "60-85", "AP", "", "2"],
    ["No Finding", "", "NIH", "", "", "4"],
]
SIDE_BY_SIDE = (("num_inference_steps", "adapter_weight"), ("guidance_scale", "guidance_stop"))
SHARES = (0.8, 0.1, 0.1)
SETTINGS_IN_TEXT = "The plan is text: name, seed, settings and split stand in it."
TABLE_HINT = (
    "One row for each group. Findings: one of the 14, several joined by +, or No Finding. Sex: F, M, or shares such "
    "as {F: 70, M: 30}. Age: 50, 40-60, or NIH (ages as in that data set). View: PA or AP. Side: left or right, of "
    "findings that lie on one. An empty sex or view is divided equally, and each group is divided among train, "
    "validation and test."
)
TEXT_PLACEHOLDER = """\
cohort:
  - {findings: Effusion, sex: {F: 50, M: 50}, age: 40-60, view: PA, count: 4}
prompts:
  - A 55-year-old man with pneumonia
settings: {num_inference_steps: 8}
split: {train: 0.8, test: 0.2}"""


Field = gr.Radio | gr.Dataframe | gr.Textbox | gr.Number | gr.Checkbox


@dataclass(frozen=True)
class CohortWidgets:
    """The widgets of the first step."""

    kind: gr.Radio
    upload: gr.UploadButton
    rows: gr.Dataframe
    text: gr.Textbox
    problems: gr.HTML


@dataclass(frozen=True)
class DatasetForm:
    """The widgets of a plan, in the order in which ``DatasetEvents.read_form`` takes their values."""

    cohort: CohortWidgets
    name: gr.Textbox
    seed: gr.Number
    settings: Mapping[str, gr.Number | gr.Radio]
    shares: Mapping[str, gr.Number]
    gate: gr.Checkbox

    @property
    def plan(self) -> list[Field]:
        """All of them: what makes a plan, and how it is made."""
        return [*self.filled, self.gate]

    @property
    def filled(self) -> list[Field]:
        """Those that an uploaded plan fills."""
        first: list[Field] = [self.cohort.kind, self.cohort.rows, self.cohort.text, self.name, self.seed]
        return [*first, *(self.settings[name] for name in FIELDS), *self.shares.values()]


def build_cohort(problems: str) -> CohortWidgets:
    """Make the widgets that say who is in the set; to be called inside the step that holds them.

    Args:
        problems: what stands below the table at first, as HTML.
    """
    with gr.Row(elem_id="dataset-source"):
        kind = gr.Radio([TABLE, TEXT], value=TABLE, label="Plan as", show_label=False, container=False, min_width=150)
        # The plain button: a field for files changes its height with every file.
        upload = gr.UploadButton("Upload a plan (.yaml, .csv)", file_types=[*TEXT_SUFFIXES], size="sm", min_width=150)
    with gr.Column(elem_id="dataset-table") as table:
        rows = _build_table()
    text = gr.Textbox(
        label="Plan in YAML or CSV",
        placeholder=TEXT_PLACEHOLDER,
        lines=16,
        max_lines=16,
        visible=False,
        elem_id="dataset-text",
    )
    said = gr.HTML(problems, elem_id="dataset-problems")
    _show_for(kind, {TABLE: table, TEXT: text})
    return CohortWidgets(kind, upload, rows, text, said)


def build_dataset_settings(cohort: CohortWidgets) -> DatasetForm:
    """Make the widgets that say how the images are made and split; to be called inside the step that holds them.

    Args:
        cohort: the widgets of the step before; where the plan is text, it says the settings, too.
    """
    with gr.Column(elem_id="dataset-settings") as fields:
        name, seed, settings, shares = _build_settings()
    hint = gr.HTML(f'<p class="cxr-hint">{SETTINGS_IN_TEXT}</p>', visible=False)
    option = DATASET_OPTIONS["gate"]
    gate = gr.Checkbox(option.default, label=option.label, elem_id="gate")
    _show_for(cohort.kind, {TABLE: fields, TEXT: hint})
    return DatasetForm(cohort, name, seed, settings, shares, gate)


def _show_for(kind: gr.Radio, parts: Mapping[str, Block]) -> None:
    """Show one of two parts, by what the plan is written as."""
    kind.change(
        lambda chosen: [type(part)(visible=chosen == name) for name, part in parts.items()],
        kind,
        [*parts.values()],
        **AT_ONCE,
    )


def _build_table() -> gr.Dataframe:
    rows = gr.Dataframe(
        ROWS,
        headers=[name.capitalize() for name in KEYS],
        datatype="str",
        max_height=260,
        interactive=True,
        buttons=[],
        label="Cohort",
        show_label=False,
        elem_id="cohort",
    )
    # With its headers: whoever edits the table may add columns, and those are refused by name.
    unchecked(rows, lambda sent: [dict(zip(sent.headers or KEYS, row, strict=False)) for row in sent.data])
    with gr.Row(elem_id="cohort-row"):
        gr.HTML(f'<p class="cxr-hint">{TABLE_HINT}</p>')
        add = gr.Button("Add a row", size="sm", scale=0, min_width=88)
    add.click(lambda table: [*([*row.values()] for row in table), [""] * len(KEYS)], rows, rows, **AT_ONCE)
    return rows


def _build_settings() -> tuple[gr.Textbox, gr.Number, dict[str, gr.Number | gr.Radio], dict[str, gr.Number]]:
    """The widgets between the text of a plan and the gate: name, seed, settings and shares."""
    with gr.Row():
        name = gr.Textbox(NAME, label="Name", max_lines=1, max_length=200, min_width=130)
        seed = gr.Number(0, label="First seed", min_width=130)
    settings: dict[str, gr.Number | gr.Radio] = {}
    for pair in SIDE_BY_SIDE:
        with gr.Row():
            settings |= {one: _setting(one) for one in pair}
    settings |= {one: _setting(one) for one in FIELDS if one not in settings}
    with gr.Row(elem_id="dataset-split"):
        shares = {
            split: gr.Number(share, label=split.capitalize(), min_width=80)
            for split, share in zip(SPLITS, SHARES, strict=True)
        }
    return name, seed, settings, shares


def _setting(name: str) -> gr.Number | gr.Radio:
    setting = SETTINGS[name]
    if setting.kind == "choice":
        choices = [(f"{value} bit", value) for value in setting.choices]
        return gr.Radio(choices, value=setting.default, label=setting.label)
    return number(name, elem_id=f"dataset-{name}")
