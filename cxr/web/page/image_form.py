"""The form of a request: its widgets. Labels, ranges and defaults are those of the table of settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import gradio as gr

from cxr.models.presets import prompt_form_of
from cxr.prompts.rewording import to_type_again
from cxr.request.recipe import Recipe
from cxr.request.settings import API_SETTINGS, BY_MODEL, SETTINGS
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.page.prompt_chips import add_prompt_chips

PLACEHOLDER = "A 55-year-old man with pneumonia"
DEFAULTS = {name: setting.default for name, setting in SETTINGS.items()}
Widget = TypeVar("Widget", bound=Any)
SIDE_BY_SIDE = (("num_images", "num_inference_steps"), ("guidance_scale", "guidance_stop"))


@dataclass(frozen=True)
class ImageForm:
    """The widgets that make up a request, by setting in the order of the API's parameters, and the randomise box."""

    settings: Mapping[str, Any]
    randomise: gr.Checkbox

    @property
    def parameters(self) -> list[Any]:
        """What the API takes."""
        return [*self.settings.values()]

    @property
    def everything(self) -> list[Any]:
        """What the page sends, in the order of ``ImageEvents.start``: the box comes after prompts and seed."""
        return [*self.parameters[:3], self.randomise, *self.parameters[3:]]

    @property
    def by_model(self) -> list[Any]:
        """Those whose defaults depend on the model."""
        return [self.settings[name] for name in BY_MODEL]


def values_of(recipe: Recipe) -> tuple[Any, ...]:
    """What ``ImageForm.everything`` has to hold to make the image of a recipe again."""
    typed = to_type_again(recipe, prompt_form_of(recipe.model))
    values = [1 if name == "num_images" else getattr(typed, name) for name in API_SETTINGS]
    return (*values[:3], False, *values[3:])


def build_image_form(choice: ModelChoice) -> ImageForm:
    """Make the widgets; to be called inside the column that holds them.

    Args:
        choice: which model will read the prompt; its defaults are what the widgets start with.
    """
    widgets: dict[str, Any] = {}
    widgets["prompt"] = unchecked(
        gr.Textbox(
            label=SETTINGS["prompt"].label,
            placeholder=PLACEHOLDER,
            lines=1,  # with one line Enter generates; the style sheet makes the box taller
            max_lines=3,  # a long text scrolls inside, so that nothing below it moves
            info="Age, sex, view and findings, in plain English",
            elem_id="prompt",
        )
    )
    widgets["reword"] = unchecked(
        gr.Checkbox(SETTINGS["reword"].default, label=SETTINGS["reword"].label, elem_id="reword-first", render=False)
    )
    add_prompt_chips(widgets["prompt"], widgets["reword"], choice)
    widgets["negative_prompt"] = unchecked(
        gr.Textbox("", label=SETTINGS["negative_prompt"].label, lines=1, max_lines=1, info="What should not be there")
    )
    widgets["seed"] = gr.Number(DEFAULTS["seed"], label=SETTINGS["seed"].label, elem_id="seed")
    randomise = gr.Checkbox(True, label="New random seed each time", elem_id="randomise")
    for pair in SIDE_BY_SIDE:
        with gr.Row():
            widgets |= {name: slider(name, start=choice.defaults) for name in pair}
    widgets |= {name: slider(name, start=choice.defaults) for name in API_SETTINGS if name not in widgets}
    return ImageForm({name: widgets[name] for name in API_SETTINGS}, randomise)


def slider(name: str, elem_id: str | None = None, start: Mapping[str, Any] | None = None) -> gr.Slider:
    """A slider for one setting, which stands on its default.

    Args:
        name: of the setting.
        elem_id: where it has more than one slider on the page.
        start: values to stand on in place of the program's own.
    """
    setting = SETTINGS[name]
    widget = gr.Slider(
        setting.low,
        setting.high,
        (start or {}).get(name, setting.default),
        step=setting.step,
        label=setting.label,
        min_width=130,
        buttons=[],
        elem_id=elem_id or name,
    )
    return unchecked(widget)


def unchecked(widget: Widget, read: Callable[[Any], Any] = lambda payload: payload) -> Widget:
    """Let the values of a widget through as they were sent: the request checks them, and its messages name the value.

    Set on the widget, as gradio would write a stub file beside a subclass.

    Args:
        widget: which.
        read: what a handler gets of what was sent.
    """
    widget.preprocess = read
    return widget
