"""The one table of settings: what a request may say, within which ranges, and what each face calls it.

Requests and recipes are checked by it. The command line, the page, the API, plans, lists of prompts and reports read
it. To add a setting, add a row to `SETTINGS` and a line to `ImageSettings`, and use it where images are made; nothing
else has to know of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, Literal

import numpy as np

from cxr.request.errors import RequestError
from cxr.request.init_image import InitImage
from cxr.request.mask_cells import ALLOWED, check_cells

MAX_PROMPT_CHARACTERS = 2_000
MAX_NUMBER_CHARACTERS = 40
MAX_SEED = 2**53 - 1  # the largest integer that JSON and JavaScript keep exactly
# Control characters and halves of characters; line breaks and tabs are ordinary in pasted text.
_IN_WORDS = {"cells": ALLOWED.removeprefix("use "), "picture": "a PNG, JPEG or DICOM file"}
_CONTROL = re.compile(r"[^\t\n\r -~\xa0-\ud7ff\ue000-\U0010ffff]")


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Args:
        name: of the field of a request and of a recipe, the API's parameter and a plan's key.
        kind: of its value.
        label: on the page.
        help: what it is, for users of the command line and of the API.
        default: where nobody says another value; a text without one must not be empty.
        low: lowest value of a number.
        high: highest value of a number.
        step: between two values on the page.
        notes: what an end of the range means, by the value.
        choices: all values of a choice.
        flag: option of ``generate``; None where it has none.
        metavar: what stands for the value in the help of the command line.
        column: in a CSV of prompts; None where it has none.
        before: value of images that were made before the setting existed; None for settings as old as recipes.
        in_api: whether it is a parameter of ``/generate``.
        by_model: whether a model may have a default of its own.
        varies: whether images that are made together may have different values.
        variable: of the environment, which says the default.
    """

    name: str
    kind: Literal["text", "whole number", "number", "choice", "switch", "name", "picture", "cells"]
    label: str
    help: str
    default: Any = None
    low: float = 0
    high: float = 0
    step: float = 1
    _: KW_ONLY
    notes: Mapping[float, str] = field(default_factory=dict)
    choices: tuple[int, ...] = ()
    flag: str | None = None
    metavar: str | None = None
    column: str | None = None
    before: Any = None
    in_api: bool = True
    by_model: bool = False
    varies: bool = False
    variable: str | None = None

    @property
    def range(self) -> str:
        """The allowed values in words: "1 (no guidance) to 20"."""
        if self.kind == "text":
            return f"at most {MAX_PROMPT_CHARACTERS:,} characters"
        if self.kind == "switch":
            return "true or false"
        if self.kind == "choice":
            return " or ".join(map(str, self.choices))
        if self.kind in _IN_WORDS:
            return _IN_WORDS[self.kind]
        ends = [f"{end:g} ({self.notes[end]})" if end in self.notes else f"{end:g}" for end in (self.low, self.high)]
        return " to ".join(ends) if self.high < MAX_SEED else f"{self.low:g} to 2**53 - 1"

    def check(self, value: object, high: float | None = None) -> Any:
        """The value, whatever kind of number it came as, as a plain str, bool, int or float.

        Args:
            value: anything.
            high: highest allowed value in place of the setting's own.
        Raises:
            RequestError: it is not of the kind or outside the range; its field is the setting.
        """
        if self.kind == "text":
            return self._check_text(value)
        if self.kind == "switch":
            if not isinstance(value, bool):
                raise RequestError(f"is {shown(value)}; use {self.range}", field=self.name)
            return value
        if self.kind == "cells":
            return check_cells(value)
        if self.kind == "picture":
            if value is not None and not isinstance(value, InitImage):
                raise RequestError(f"is {type(value).__name__}; give {self.range}", field=self.name)
            return value
        if self.kind == "choice":
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value not in self.choices:
                raise RequestError(f"is {shown(value)}; use {self.range}", field=self.name)
            return int(value)
        return self._check_number(value, self.high if high is None else high)

    def _check_text(self, value: object) -> str:
        if not isinstance(value, str):
            raise RequestError(f"is {type(value).__name__}; give text", field=self.name)
        if self.default is None and not value.strip():
            raise RequestError(
                "is empty; describe the image, for example “A 55-year-old man with pneumonia”", field=self.name
            )
        if len(value) > MAX_PROMPT_CHARACTERS:
            raise RequestError(f"has {len(value):,} characters; use {self.range}", field=self.name)
        if found := _CONTROL.search(value):
            raise RequestError(f"holds the control character U+{ord(found[0]):04X}; remove it", field=self.name)
        return value

    def _check_number(self, value: object, high: float) -> int | float:
        allowed = f"use a {self.kind} from {self.low:,} to {high:,}"
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise RequestError(f"is {shown(value)}; {allowed}", field=self.name)
        # `not (low <= x)` also refuses NaN; comparing the value itself keeps integers above 2**53 exact, and comes
        # before float(), which fails for integers of hundreds of digits.
        if not self.low <= value <= high or (self.kind == "whole number" and value != int(value)):
            text = "too large" if isinstance(value, int) and abs(value) > 10**30 else value
            raise RequestError(f"is {text}; {allowed}", field=self.name)
        return float(value) if self.kind == "number" else int(value)


def parse_number(text: str) -> int | float:
    """Read a number as exactly as it was typed; its range is for the setting to check.

    Raises:
        ValueError: not a number.
    """
    try:
        # Far longer ones are out of every range, and int() of many digits is slow.
        return int(text) if len(text) <= MAX_NUMBER_CHARACTERS else float(text)
    except ValueError:
        return float(text)


def shown(value: object) -> str:
    """A value that was refused, short enough for a message."""
    text = "a very large number" if isinstance(value, int) and abs(value) > 10**30 else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def shown_names(names: Iterable[object]) -> str:
    """Names that were refused, in one line that is short enough for a message."""
    text = " ".join(", ".join(map(str, names)).split())
    return text if len(text) <= 200 else f"{text[:200]}…"


# In the order of the API's parameters.
SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "prompt", "text", "Prompt", "what the images should show",
            flag="PROMPT", column="prompt", varies=True,
        ),
        Setting(
            "negative_prompt", "text", "Negative prompt", "what the images should not show", "",
            flag="--negative-prompt", metavar="TEXT", column="negative_prompt", varies=True,
        ),
        Setting(
            "seed", "whole number", "Seed of the first image", "seed of the first image", 0, 0, MAX_SEED,
            flag="--seed", metavar="N", column="seed", varies=True,
        ),
        Setting(
            "num_inference_steps", "whole number", "Steps", "denoising steps", 8, 1, 100,
            flag="--steps", metavar="N", by_model=True,
        ),
        Setting(
            "num_images", "whole number", "Images", "images for each prompt", 1, 1, 64,
            flag="--count", metavar="N", column="count",
        ),
        Setting(
            "guidance_scale", "number", "Guidance", "how strictly to follow the prompt", 1.5, 1.0, 20.0, 0.1,
            notes={1.0: "no guidance"}, flag="--guidance-scale", metavar="G", by_model=True,
        ),
        Setting(
            "adapter_weight", "number", "LoRA weight", "strength of the LoRA", 1.0, 0.0, 2.0, 0.05,
            notes={0.0: "base model alone"}, flag="--adapter-weight", metavar="W",
        ),
        Setting(
            "guidance_stop", "number", "Guided",
            "share of the steps after which guidance ends; fewer guided steps are quicker", 0.7, 0.0, 1.0, 0.05,
            flag="--guidance-stop", metavar="S", by_model=True, before=1.0,
        ),
        Setting(
            "bit_depth", "choice", "Grey levels",
            "bits of the grey levels; 16 keeps what the decoder says between two of the 256 levels", 8,
            choices=(8, 16), before=8, in_api=False,
        ),
        Setting(
            "reword", "switch", "Reword before generating",
            "put the prompt into the words that the model was trained with, without what it denies", True,
            flag="--reword", before=False, varies=True,
        ),
        Setting(
            "sent_prompt", "text", "Sent to the model", "what the model reads in place of a reworded prompt", "",
            before="", in_api=False, varies=True,
        ),
        Setting(
            "init_image", "picture", "Start from a picture", "picture that images begin from, in place of noise alone",
            flag="--init-image", metavar="FILE", in_api=False,
        ),
        Setting(
            "strength", "number", "Strength", "how far images may leave the picture that they begin from", 0.75, 0.0,
            1.0, 0.05, notes={1.0: "as from noise alone"}, flag="--strength", metavar="S", before=0.75, in_api=False,
        ),
        Setting(
            "mask_cells", "cells", "Region", "cells of the picture that alone are made anew", "",
            flag="--mask-cells", metavar="CELLS", before="", in_api=False,
        ),
    )
}  # fmt: skip
# What images that begin from noise alone do not have.
BEGINNING = ("init_image", "strength", "mask_cells")
# What the faces call a field in their messages.
FLAGS = {name: setting.flag for name, setting in SETTINGS.items() if setting.flag}
LABELS = {name: f"“{setting.label}”" for name, setting in SETTINGS.items()}
COLUMNS = {name: setting.column for name, setting in SETTINGS.items() if setting.column}
# What all images have in common that are made together, whatever they begin from.
SHARED = tuple(name for name, setting in SETTINGS.items() if not setting.varies and name not in BEGINNING)
API_SETTINGS = tuple(name for name, setting in SETTINGS.items() if setting.in_api)
BY_MODEL = tuple(name for name, setting in SETTINGS.items() if setting.by_model)
# Cards of data sets have always listed the two of guidance before these.
_LAST = ("adapter_weight", "bit_depth")
PLAN_SETTINGS = ("negative_prompt", *(name for name in SHARED if name not in ("num_images", *_LAST)), *_LAST, "reword")


def describe_settings(names: Iterable[str]) -> list[str]:
    """Lines for a docstring: each setting with what it is and what is allowed."""
    return [f"{name}: {SETTINGS[name].help}; {SETTINGS[name].range}." for name in names]


@dataclass(frozen=True)
class ImageSettings:
    """The settings of one image, checked on creation: what a request and a recipe have in common.

    What each means, and its range, stands in its row of `SETTINGS`.

    Raises:
        RequestError: a value is outside its range or not of its kind.
    """

    prompt: str
    negative_prompt: str = SETTINGS["negative_prompt"].default
    seed: int = SETTINGS["seed"].default
    num_inference_steps: int = SETTINGS["num_inference_steps"].default
    guidance_scale: float = SETTINGS["guidance_scale"].default
    adapter_weight: float = SETTINGS["adapter_weight"].default
    guidance_stop: float = SETTINGS["guidance_stop"].default
    bit_depth: int = SETTINGS["bit_depth"].default
    reword: bool = SETTINGS["reword"].default
    sent_prompt: str = SETTINGS["sent_prompt"].default
    strength: float = SETTINGS["strength"].default
    mask_cells: str = SETTINGS["mask_cells"].default

    def __post_init__(self) -> None:
        for name in (entry.name for entry in fields(self) if entry.name in SETTINGS):
            object.__setattr__(self, name, SETTINGS[name].check(getattr(self, name)))
        if self.sent_prompt and not self.reword:
            raise RequestError("is there, but reword is false; leave it out", field="sent_prompt")

    @property
    def model_prompt(self) -> str:
        """What the model reads: the prompt as typed, or what was made of it."""
        return self.sent_prompt or self.prompt

    @property
    def image_settings(self) -> dict[str, Any]:
        """These settings alone, by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(ImageSettings)}


# Which base model and which LoRA: not of a request, but of every command that makes images, and of the page.
MODEL_OPTIONS = (
    Setting(
        "model", "name", "Model", 'a name that "models" lists, a folder in diffusers format, or owner/name[@revision] '
        "of the Hugging Face Hub (default: $CXR_MODEL, else embedded)",
        "embedded", flag="--model", metavar="NAME|DIR|ID", variable="CXR_MODEL",
    ),
    Setting(
        "adapter", "name", "LoRA", 'a name that "adapter list" prints, local:FILE, hub:owner/name/FILE, none, or '
        "default, the model's own; several with their weights as clinical:0.8,local:FILE:0.5 (default: $CXR_ADAPTER)",
        "default", flag="--adapter", metavar="NAME", variable="CXR_ADAPTER",
    ),
)  # fmt: skip
