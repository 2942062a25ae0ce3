"""Widgets that nobody sees: what an endpoint takes and returns, described for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from cxr.request.errors import RequestError
from cxr.request.settings import SETTINGS, Setting

EXAMPLE_PROMPT = "A 55-year-old man with a right pleural effusion, PA view"
TYPES = {"text": "string", "whole number": "integer", "number": "number", "switch": "boolean"}
PICTURE = "a PNG that this program wrote, as it was written"


def parameter(
    name: str, kind: str, sentence: str, value: Any = None, *, example: Any = None, optional: bool = False
) -> Any:
    """One parameter of an endpoint.

    Args:
        name: of it.
        kind: of its value, in JSON.
        sentence: what it is, and what is allowed.
        value: where the caller does not say.
        example: a value to try.
        optional: whether it may be null.
    """
    widget: Any = gr.Number if kind in ("integer", "number") else gr.Checkbox if kind == "boolean" else gr.Textbox
    widget = widget(value, label=name)
    schema = {"anyOf": [{"type": kind}, {"type": "null"}]} if optional else {"type": kind}
    return _described(widget, {**schema, "description": sentence, "additional_description": sentence}, example)


def setting_parameter(name: str, default: Any) -> Any:
    """The parameter of a setting.

    Args:
        name: of the setting.
        default: where the caller does not say.
    """
    setting: Setting = SETTINGS[name]
    sentence = f"{setting.help}; {setting.range}" + ("; null draws one" if name == "seed" else "")
    example = EXAMPLE_PROMPT if name == "prompt" else default
    return parameter(name, TYPES[setting.kind], sentence, default, example=example, optional=name == "seed")


def picture_parameter(name: str) -> Any:
    """The parameter for a picture; `picture_path` reads its value."""
    schema = gr.File(render=False).api_info() | {"description": PICTURE, "additional_description": PICTURE}
    return _described(gr.Textbox(label=name), schema, {"path": "000000_7.png", "meta": {"_type": "gradio.FileData"}})


def picture_path(value: object, name: str) -> Path:
    """Where an uploaded picture lies.

    Raises:
        RequestError: the value is no uploaded file.
    """
    path = value.get("path") if isinstance(value, Mapping) else None
    if not isinstance(path, str) or not path:
        raise RequestError(f"is {type(value).__name__}; give {PICTURE}", field=name)
    return Path(path)


def _described(widget: Any, schema: Mapping[str, Any], example: Any) -> Any:
    # Set on the widget, as gradio would write a stub file beside a subclass.
    widget.preprocess = lambda payload: payload  # the endpoint checks it, and its messages name the value
    widget.api_info = lambda: dict(schema)
    widget.example_payload = lambda: example
    return widget
