"""A picture's twin: the same seed and settings but for one thing, so that the two can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cxr.request.errors import RequestError
from cxr.web.page.prompt_builder import ANY, NO_FINDING, Choices, read_choices, write_choices

YOUNG, OLD = 30, 75
USUAL_FINDING = "Effusion"  # the one that the embedded model draws most clearly
KINDS = {"finding": "Without the finding", "age": "Another age", "sex": "The other sex", "lora": "Without the LoRA"}


def twin_of(settings: Mapping[str, Any], kind: str) -> dict[str, object]:
    """The settings of a picture's twin.

    Args:
        settings: of the picture, by name.
        kind: what differs, of `KINDS`.
    Raises:
        RequestError: the kind is unknown.
    """
    if kind not in KINDS:
        raise RequestError(f"there is no such twin; use one of {', '.join(KINDS)}")
    if kind == "lora":
        return {**settings, "adapter_weight": 1.0 if settings["adapter_weight"] == 0 else 0.0}
    prompt = settings["prompt"]
    choices = read_choices(prompt)
    return {**settings, "prompt": write_choices(prompt, _changed(choices, kind))}


def _changed(choices: Choices, kind: str) -> Choices:
    if kind == "finding":
        has_finding = bool(set(choices.findings) - {NO_FINDING})
        return replace(choices, findings=(NO_FINDING,) if has_finding else (USUAL_FINDING,), side=ANY)
    if kind == "age":
        return replace(choices, age=OLD if choices.age is not None and choices.age < (YOUNG + OLD) / 2 else YOUNG)
    return replace(choices, sex="M" if choices.sex == "F" else "F")
