"""The form of a request: its widgets. Ranges and defaults are the request's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import gradio as gr

from cxr.request.generation_request import (
    MAX_ADAPTER_WEIGHT,
    MAX_GUIDANCE_SCALE,
    MAX_NUM_IMAGES,
    MAX_NUM_INFERENCE_STEPS,
    GenerationRequest,
)
from cxr.web.model_choice import ModelChoice
from cxr.web.prompt_chips import add_prompt_chips

PLACEHOLDER = "A 55-year-old man with pneumonia"
DEFAULTS = {field.name: field.default for field in fields(GenerationRequest)}


Widget = TypeVar("Widget", bound=Any)


@dataclass(frozen=True)
class ImageForm:
    """The widgets that make up a request, in the order of the API's parameters, and the randomise box."""

    prompt: gr.Textbox
    negative_prompt: gr.Textbox
    seed: gr.Number
    num_inference_steps: gr.Slider
    num_images: gr.Slider
    guidance_scale: gr.Slider
    adapter_weight: gr.Slider
    guidance_stop: gr.Slider
    randomise: gr.Checkbox

    @property
    def parameters(self) -> list[Any]:
        """What the API takes."""
        return [getattr(self, field.name) for field in fields(self) if field.name != "randomise"]

    @property
    def everything(self) -> list[Any]:
        """What the page sends, in the order of ``ImageEvents.start``."""
        return [*self.parameters[:3], self.randomise, *self.parameters[3:]]

    @classmethod
    def values(cls, request: GenerationRequest) -> tuple[Any, ...]:
        """Values for `everything` with which the page makes the image of a request again."""
        values = [getattr(request, field.name) for field in fields(cls) if field.name != "randomise"]
        return *values[:3], False, *values[3:]


def build_image_form(choice: ModelChoice) -> ImageForm:
    """Make the widgets; to be called inside the column that holds them.

    Args:
        choice: which model will read the prompt; its defaults are what the widgets start with.
    """
    prompt = _textbox(
        label="Prompt",
        placeholder=PLACEHOLDER,
        lines=1,  # with one line Enter generates; the style sheet makes the box taller
        max_lines=3,  # a long text scrolls inside, so that nothing below it moves
        info="Age, sex, view and findings, in plain English",
        elem_id="prompt",
    )
    add_prompt_chips(prompt, choice)
    negative_prompt = _textbox(value="", label="Negative prompt", lines=1, max_lines=1, info="What should not be there")
    seed = gr.Number(DEFAULTS["seed"], label="Seed of the first image", elem_id="seed")
    randomise = gr.Checkbox(True, label="New random seed each time", elem_id="randomise")
    with gr.Row():
        num_images = slider("num_images", "Images", 1, MAX_NUM_IMAGES, 1)
        num_inference_steps = slider(
            "num_inference_steps", "Steps", 1, MAX_NUM_INFERENCE_STEPS, 1, start=choice.defaults
        )
    with gr.Row():
        guidance_scale = slider("guidance_scale", "Guidance", 1, MAX_GUIDANCE_SCALE, 0.1, start=choice.defaults)
        guidance_stop = slider("guidance_stop", "Guided", 0, 1, 0.05, start=choice.defaults)
    adapter_weight = slider("adapter_weight", "LoRA weight", 0, MAX_ADAPTER_WEIGHT, 0.05)
    return ImageForm(
        prompt=prompt,
        negative_prompt=negative_prompt,
        seed=seed,
        num_inference_steps=num_inference_steps,
        num_images=num_images,
        guidance_scale=guidance_scale,
        adapter_weight=adapter_weight,
        guidance_stop=guidance_stop,
        randomise=randomise,
    )


def slider(
    name: str,
    label: str,
    minimum: float,
    maximum: float,
    step: float,
    elem_id: str | None = None,
    start: Mapping[str, Any] | None = None,
) -> gr.Slider:
    """A slider for one value of a request, which stands on its default.

    Args:
        name: of the value.
        label: what users read.
        minimum: lowest value.
        maximum: highest value.
        step: between two values.
        elem_id: where the value has more than one slider on the page.
        start: values to stand on in place of the program's own.
    """
    value = (start or {}).get(name, DEFAULTS[name])
    widget = gr.Slider(
        minimum, maximum, value, step=step, label=label, min_width=130, buttons=[], elem_id=elem_id or name
    )
    return unchecked(widget)


def unchecked(widget: Widget) -> Widget:
    """Let the values of a widget through as they were sent: the request checks them, and its messages name the value.

    Set on the widget, as gradio would write a stub file beside a subclass.
    """
    widget.preprocess = lambda payload: payload
    return widget


def _textbox(**options: Any) -> gr.Textbox:
    return unchecked(gr.Textbox(**options))
