"""The form of a request: its widgets. Labels, ranges and defaults are those of the table of settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component, FormComponent

from cxr.models.presets import prompt_form_of
from cxr.prompts.rewording import to_type_again
from cxr.request.messages import as_sentence
from cxr.request.recipe import Recipe
from cxr.request.settings import API_SETTINGS, BY_MODEL, SETTINGS, ImageSettings
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.page.shared_events import Values

PLACEHOLDER = "A 55-year-old man with pneumonia"
DEFAULTS = {name: setting.default for name, setting in SETTINGS.items()}
AT_HAND = ("prompt", "num_images", "seed")  # what is not folded under "Advanced"
Widget = TypeVar("Widget", bound=Component)


@dataclass(frozen=True)
class ImageForm:
    """The widgets that make up a request, by setting in the order of the API's parameters, and the randomise box."""

    settings: Mapping[str, FormComponent]
    randomise: gr.Checkbox

    @property
    def prompt(self) -> gr.Textbox:
        return cast(gr.Textbox, self.settings["prompt"])

    @property
    def reword(self) -> gr.Checkbox:
        """The switch “Reword before generating”."""
        return cast(gr.Checkbox, self.settings["reword"])

    @property
    def everything(self) -> list[Block]:
        """What the page sends, in the order of ``ImageEvents.start``: the box comes after prompts and seed."""
        widgets = [*self.settings.values()]
        return [*widgets[:3], self.randomise, *widgets[3:]]

    @property
    def by_model(self) -> list[FormComponent]:
        """Those whose defaults depend on the model."""
        return [self.settings[name] for name in BY_MODEL]


def settings_to_repeat(recipe: ImageSettings, model: str | None) -> dict[str, object]:
    """What has to be asked for, by setting, to make one image again.

    Args:
        recipe: of the image, or a request that says what its model reads.
        model: name of its model.
    """
    typed = to_type_again(recipe, prompt_form_of(model))
    return {name: 1 if name == "num_images" else getattr(typed, name) for name in API_SETTINGS}


def values_of(recipe: Recipe) -> Values:
    """What ``ImageForm.everything`` has to hold to make the image of a recipe again."""
    return form_values(settings_to_repeat(recipe, recipe.model))


def form_values(settings: Mapping[str, object], *, randomise: bool = False) -> Values:
    """Values for ``ImageForm.everything``.

    Args:
        settings: by name, all of the API's.
        randomise: whether the next image gets another seed.
    """
    values = [settings[name] for name in API_SETTINGS]
    return (*values[:3], randomise, *values[3:])


def build_image_form(choice: ModelChoice) -> ImageForm:
    """Make the widgets, not yet rendered: the tab puts each where it belongs.

    Args:
        choice: which model will read the prompt; its defaults are what the widgets start with.
    """
    widgets = {name: _widget(name, choice.defaults) for name in API_SETTINGS}
    randomise = gr.Checkbox(
        True, label="New seed each time", container=False, min_width=110, elem_id="randomise", render=False
    )
    return ImageForm(widgets, randomise)


def _widget(name: str, start: Mapping[str, float]) -> FormComponent:
    if name == "prompt":
        return _prompt()
    setting = SETTINGS[name]
    common: dict[str, Any] = {
        "label": setting.label,
        "info": sentence(name),
        "elem_id": f"setting-{name}",
        "render": False,
    }
    if setting.kind == "switch":
        return unchecked(gr.Checkbox(setting.default, **common))
    if setting.kind == "text":
        return unchecked(gr.Textbox(setting.default, lines=1, max_lines=1, **common))
    return number(name, start=start, info=name not in AT_HAND, render=False)


def _prompt() -> gr.Textbox:
    box = gr.Textbox(
        PLACEHOLDER,  # one click makes a picture
        label=SETTINGS["prompt"].label,
        placeholder=PLACEHOLDER,
        lines=1,  # with one line Enter generates; the style sheet makes the box taller
        max_lines=2,  # a long text scrolls inside, so that nothing below it moves
        elem_id="prompt",
        render=False,
    )
    return unchecked(box)


def sentence(name: str) -> str:
    """What a setting is, and its range."""
    setting = SETTINGS[name]
    what = f"{as_sentence(setting.help)}."
    return f"{what} {setting.range}." if setting.kind in ("number", "whole number") else what


def number(
    name: str,
    elem_id: str | None = None,
    start: Mapping[str, float] | None = None,
    *,
    info: bool = True,
    render: bool = True,
) -> gr.Number:
    """A field for one setting, initially at its default. What is typed is sent as it is: nothing is clamped.

    Args:
        name: of the setting.
        elem_id: where it has more than one field on the page.
        start: initial values that replace the program's own.
        info: whether its explanation is shown beside it.
        render: whether it is shown where it is made.
    """
    setting = SETTINGS[name]
    widget = gr.Number(
        (start or {}).get(name, setting.default),
        step=setting.step,
        label=setting.label,
        info=sentence(name) if info else None,
        min_width=96,
        elem_id=elem_id or name,
        render=render,
    )
    return unchecked(widget)


def unchecked(widget: Widget, read: Callable[[Any], object] = lambda payload: payload) -> Widget:
    """Let the values of a widget through as they were sent: the request checks them, and its messages name the value.

    Set on the widget, as gradio would write a stub file beside a subclass.

    Args:
        read: what a handler gets of what was sent.
    """
    widget.preprocess = read  # type: ignore[method-assign, assignment]
    return widget
