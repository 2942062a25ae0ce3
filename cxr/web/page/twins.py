"""A picture's twin: the same seed and settings but for one thing, so that the two can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cxr.labels.regions import changed_cells
from cxr.prompts import asked_labels
from cxr.request.errors import RequestError
from cxr.request.settings import REGION, SETTINGS
from cxr.web.page.prompt_builder import ANY, NO_FINDING, Choices, read_choices, write_choices

YOUNG, OLD = 30, 75
WHOLE = dict.fromkeys(REGION, "")
USUAL_FINDING = "Effusion"  # the one that the embedded model draws most clearly
WEIGHT = SETTINGS["adapter_weight"].default
KINDS = ("region", "finding", "age", "sex", "lora")


def twin_of(settings: Mapping[str, Any], kind: str) -> dict[str, object]:
    """The settings of a picture's twin.

    Args:
        settings: of the picture, by name; with `REGION` if only a region of it was made as its prompt says.
        kind: what differs, of `KINDS`; "region" is the finding where it shows, and around it the picture itself.
    Returns:
        All settings by name; `REGION` is empty for a whole picture.
    Raises:
        RequestError: the kind is unknown, or it is not known where the finding shows.
    """
    if kind not in KINDS:
        raise RequestError(f"there is no such twin; use one of {', '.join(KINDS)}")
    if kind == "lora":
        return {**settings, "adapter_weight": 0.0 if settings["adapter_weight"] else WEIGHT}
    if kind == "region" and settings.get("init_image_sha256"):
        raise RequestError("this picture began from another one; use “With / without finding”")
    prompt, around = settings["prompt"], settings.get("surrounding_prompt", "")
    if kind == "region" and around:  # the picture that lies around this one
        return {**settings, **WHOLE, "prompt": around}
    twin = {**settings, "prompt": _other(prompt, kind)}
    if kind == "region":
        return twin | region_between(prompt, twin["prompt"])
    if kind == "finding":
        return twin | (WHOLE if around else {})
    return twin | ({"surrounding_prompt": _other(around, kind)} if around else {})


def region_between(prompt: str, other: str) -> dict[str, str]:
    """`REGION` of an image that follows the other prompt where the findings of the two differ, else the first.

    Raises:
        RequestError: they show the same ones, or it is not known where one of them shows.
    """
    before, after = (asked_labels(text).findings or () for text in (prompt, other))
    return {"mask_cells": changed_cells(before, after), "surrounding_prompt": prompt}


def _other(prompt: str, kind: str) -> str:
    return write_choices(prompt, _changed(read_choices(prompt), kind))


def _changed(choices: Choices, kind: str) -> Choices:
    if kind in ("region", "finding"):
        has_finding = bool(set(choices.findings) - {NO_FINDING})
        return replace(choices, findings=(NO_FINDING,) if has_finding else (USUAL_FINDING,), side=ANY)
    if kind == "age":
        return replace(choices, age=OLD if choices.age is not None and choices.age < (YOUNG + OLD) / 2 else YOUNG)
    return replace(choices, sex="M" if choices.sex == "F" else "F")
