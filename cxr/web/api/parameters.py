"""Invisible widgets: what an endpoint takes and returns, described for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from cxr.request.errors import RequestError
from cxr.request.setting import Setting
from cxr.request.settings import DATASET_OPTIONS, SETTINGS
from cxr.web.server.init_upload import PictureReader

EXAMPLE_PROMPT = "A 55-year-old man with a right pleural effusion, PA view"
TYPES = {"text": "string", "whole number": "integer", "number": "number", "switch": "boolean"}
PICTURE = "a PNG that this program wrote, as it was written"
ANY_PICTURE = "a PNG, JPEG or DICOM file, or a picture of this page"


def parameter(
    name: str,
    kind: str,
    sentence: str,
    value: object = None,
    *,
    example: object = None,
    optional: bool = False,
    schema: Mapping[str, object] | None = None,
) -> Component:
    """One parameter of an endpoint.

    Args:
        sentence: what it is, and what is allowed.
        value: if the caller gives none.
        example: a value to try.
        schema: where there is more to say of the value than its kind.
    """
    widget: Any = gr.Number if kind in ("integer", "number") else gr.Checkbox if kind == "boolean" else gr.Textbox
    widget = widget(value, label=name)
    schema = schema or ({"anyOf": [{"type": kind}, {"type": "null"}]} if optional else {"type": kind})
    return _described(widget, {**schema, "description": sentence, "additional_description": sentence}, example)


def setting_parameter(name: str, default: object) -> Component:
    """The parameter of a setting.

    Args:
        name: of the setting, or of `DATASET_OPTIONS`.
        default: if the caller gives none.
    """
    setting: Setting = SETTINGS[name] if name in SETTINGS else DATASET_OPTIONS[name]
    sentence = f"{setting.help}; {setting.range}" + ("; null draws one" if name == "seed" else "")
    example = EXAMPLE_PROMPT if name == "prompt" else default
    return parameter(name, TYPES[setting.kind], sentence, default, example=example, optional=name == "seed")


def picture_parameter(name: str, sentence: str = PICTURE, *, optional: bool = False) -> Component:
    """The parameter for a picture; `picture_path` reads its value."""
    schema = gr.File(render=False).api_info()
    if optional:
        schema = {"$defs": schema.pop("$defs"), "anyOf": [schema, {"type": "null"}]}
    schema |= {"description": sentence, "additional_description": sentence}
    example = None if optional else {"path": "000000_7.png", "meta": {"_type": "gradio.FileData"}}
    return _described(gr.Textbox(None, label=name), schema, example)


def picture_path(value: object, name: str, wanted: str = PICTURE) -> Path:
    """Where an uploaded picture lies.

    Args:
        wanted: what it has to be, in words.

    Raises:
        RequestError: the value is not an uploaded file.
    """
    path = value.get("path") if isinstance(value, Mapping) else None
    if not isinstance(path, str) or not path:
        raise RequestError(f"is {type(value).__name__}; give {wanted}", field=name)
    return Path(path)


def beginning_parameters() -> list[Component]:
    """Parameters that say from which picture images begin, in the order of `read_beginning`."""
    strength, cells, around = (SETTINGS[name] for name in ("strength", "mask_cells", "surrounding_prompt"))
    only = "only with init_image"
    text = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}]}
    return [
        picture_parameter("init_image", f"{SETTINGS['init_image'].help}; {ANY_PICTURE}; null for none", optional=True),
        parameter(
            "strength",
            "number",
            f"{strength.help}; {strength.range}; {only}",
            strength.default,
            example=strength.default,
        ),
        parameter(
            "mask_cells",
            "string",
            f"{cells.help}; {cells.range}; {only} or surrounding_prompt",
            "",
            example="",
            schema=text,
        ),
        picture_parameter(
            "mask", f"picture in which the region is white, in place of mask_cells; {only}", optional=True
        ),
        parameter("surrounding_prompt", "string", f"{around.help}; only with mask_cells", "", example=""),
    ]


async def read_beginning(
    reader: PictureReader, init_image: object, strength: object, mask_cells: object, mask: object, around: object
) -> dict[str, Any]:
    """The values of a request that say from which picture it begins, from those of an endpoint.

    Args:
        reader: reads the files.
        init_image: an uploaded file, or None.
        strength: for the request to check.
        mask_cells: for the request to check.
        mask: an uploaded file, or None.
        around: the surrounding prompt, for the request to check.
    Raises:
        CxrError: a file is not a picture, or the region is named twice.
    """
    values: dict[str, Any] = {"strength": strength, "mask_cells": mask_cells, "surrounding_prompt": around}
    if init_image is None:
        if mask is not None:
            raise RequestError("only applies where images begin from a picture; give init_image as well", field="mask")
        return values
    if mask is not None and mask_cells:
        raise RequestError("names the region a second time; use mask or mask_cells", field="mask")
    values["init_image"] = await reader.picture(picture_path(init_image, "init_image", ANY_PICTURE))
    if mask is not None:
        values["mask_cells"] = await reader.mask(picture_path(mask, "mask", ANY_PICTURE), values["init_image"])
    return values


def _described(widget: Any, schema: Mapping[str, object], example: object) -> Component:
    # Set on the widget, as gradio would write a stub file beside a subclass.
    widget.preprocess = lambda payload: payload  # the endpoint checks it, and its messages name the value
    widget.api_info = lambda: dict(schema)
    widget.example_payload = lambda: example
    described: Component = widget
    return described
