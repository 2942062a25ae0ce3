"""The public endpoints: which there are, and what each takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import gradio as gr
from gradio.components import Component

from cxr.request.settings import API_SETTINGS, DATASET_OPTIONS, GRID_AXES, SETTINGS
from cxr.web.api.dataset_endpoints import DatasetEndpoints
from cxr.web.api.grid_endpoints import GridEndpoints
from cxr.web.api.image_endpoints import ImageEndpoints
from cxr.web.api.parameters import ANY_PICTURE, beginning_parameters, parameter, picture_parameter, setting_parameter
from cxr.web.api.reading_endpoints import ReadingEndpoints
from cxr.web.jobs.image_orders import ImageOrders
from cxr.web.page.dataset_events import DatasetEvents
from cxr.web.page.grid_events import EXAMPLE as GRID_PROMPT
from cxr.web.page.grid_events import GridEvents
from cxr.web.page.shared_events import IN_PARALLEL

Handler = Callable[..., object]
OTHER_PROMPT = "A 55-year-old man with no findings, PA view"
EXAMPLE_PLAN = "cohort: [{findings: Effusion, count: 2}]\nsettings: {num_inference_steps: 8}"


def build_endpoints(images: ImageOrders, datasets: DatasetEvents | None, grids: GridEvents) -> None:
    """Build the endpoints; nothing of them shows on the page.

    Args:
        images: put requests for images into the queue.
        datasets: events of the data set tab, if there is one.
        grids: events of the grid tab.
    """
    with gr.Column(visible=False):
        _build_images(
            ImageEndpoints(images), {name: SETTINGS[name].default for name in API_SETTINGS} | images.choice.defaults
        )
        _build_sheet(GridEndpoints(grids))
        if datasets is not None:
            _build_dataset(DatasetEndpoints(datasets))
        _build_reading(ReadingEndpoints(images))


def _build_images(endpoints: ImageEndpoints, defaults: Mapping[str, object]) -> None:
    inputs = [setting_parameter(name, None if name == "seed" else defaults[name]) for name in API_SETTINGS]
    inputs += beginning_parameters()
    _endpoint("generate", endpoints.generate, inputs, [_gallery(), gr.DownloadButton("ZIP"), gr.JSON(label="Facts")])
    weight = SETTINGS["adapter_weight"]
    pair = [
        setting_parameter("prompt", None),
        parameter("other_prompt", "string", "prompt of the second image; empty for the same", "", example=OTHER_PROMPT),
        setting_parameter("seed", None),
        setting_parameter("adapter_weight", defaults["adapter_weight"]),
        parameter(
            "other_adapter_weight", "number", f"of the second image; {weight.range}; null for the same", optional=True
        ),
        parameter(
            "region",
            "boolean",
            "make the second image as the first but where the findings show that differ; true or false",
            False,
            example=True,
        ),
    ]
    _endpoint("compare", endpoints.compare, pair, [_gallery(), gr.JSON(label="Facts")])


def _build_sheet(endpoints: GridEndpoints) -> None:
    prompt = "what the images should show; {small|large} are alternatives"
    inputs = [parameter("prompt", "string", prompt, example=GRID_PROMPT)]
    for name, example in (*((name, None) for name in GRID_AXES[:-1]), ("seed", [1, 2])):
        sentence = f"values of {SETTINGS[name].help}, {SETTINGS[name].range}; null for the usual one"
        schema = {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "null"}]}
        inputs.append(parameter(name, "string", sentence, example=example, schema=schema))
    only = "only describe the sheet: images, steps, size, seconds; true or false"
    inputs.append(parameter("dry_run", "boolean", only, False, example=False))
    sheet = gr.Image(label="Sheet", format="png", interactive=False)
    _endpoint("sheet", endpoints.sheet, inputs, [sheet, gr.DownloadButton("ZIP"), gr.JSON(label="Facts")])


def _build_dataset(endpoints: DatasetEndpoints) -> None:
    plan = parameter("plan", "string", "in YAML or CSV; its splits are train, validation, test", example=EXAMPLE_PLAN)
    inputs = [plan, *(setting_parameter(name, DATASET_OPTIONS[name].default) for name in ("max_attempts", "gate"))]
    outputs = [gr.JSON(label="Progress"), gr.DownloadButton("ZIP"), gr.JSON(label="Facts")]
    _endpoint("dataset", endpoints.dataset, inputs, outputs)


def _build_reading(endpoints: ReadingEndpoints) -> None:
    _endpoint("parse", endpoints.parse, [setting_parameter("prompt", None)], [gr.JSON(label="Understood")])
    _endpoint("models", endpoints.models, [], [gr.JSON(label="Models")])
    begun_from = picture_parameter("init_image", "the picture that it began from, if there was one", optional=True)
    any_picture = picture_parameter("picture", ANY_PICTURE)
    _endpoint("detect", endpoints.detect, [any_picture], [gr.JSON(label="Detected")])
    for name, others in (("restore", []), ("receipt", []), ("verify", [begun_from])):
        inputs = [picture_parameter("picture"), *others]
        _endpoint(name, getattr(endpoints, name), inputs, [gr.JSON(label=name.capitalize())])


def _endpoint(name: str, handler: Handler, inputs: Sequence[Component], outputs: Sequence[Component]) -> None:
    gr.Button().click(handler, inputs=inputs, outputs=outputs, api_name=name, **IN_PARALLEL)


def _gallery() -> gr.Gallery:
    return gr.Gallery(label="Images", format="png")  # the default is a lossy format
