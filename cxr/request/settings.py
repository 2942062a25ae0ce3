"""The one table of settings: what a request may say, within which ranges, and what each face calls it.

Requests and recipes are checked by it. The command line, the page, the API, plans, lists of prompts and reports read
it. To add a setting, add a row to `SETTINGS` and a line to `ImageSettings`, and use it where images are made; nothing
else has to know of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from cxr.request.errors import RequestError

MAX_PROMPT_CHARACTERS = 2_000
MAX_NUMBER_CHARACTERS = 40
MAX_SEED = 2**53 - 1  # the largest integer that JSON and JavaScript keep exactly
# Control characters and halves of characters; line breaks and tabs are ordinary in pasted text.
_CONTROL = re.compile(r"[^\t\n\r -~\xa0-\ud7ff\ue000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the table.

    Args:
        name: of the field of a request and of a recipe, the API's parameter and a plan's key.
        kind: of its value.
        label: on the page.
        help: what it is, for users of the command line and of the API.
        default: where nobody says another value.
        low: lowest value of a number.
        high: highest value of a number.
        notes: what an end of the range means, by the value.
        choices: all values of a choice.
        step: between two values on the page.
        flag: option of ``generate``; None where it has none.
        metavar: what stands for the value in the help of the command line.
        column: in a CSV of prompts; None where it has none.
        before: value of images that were made before the setting existed; None for settings as old as recipes.
        in_api: whether it is a parameter of ``/generate``.
        by_model: whether a model may have a default of its own.
        varies: whether images that are made together may have different values.
        required: whether a text must not be empty.
    """

    name: str
    kind: Literal["text", "whole number", "number", "choice"]
    label: str
    help: str
    default: Any = None
    low: float = 0
    high: float = 0
    notes: Mapping[float, str] | None = None
    choices: tuple[int, ...] = ()
    step: float = 1
    flag: str | None = None
    metavar: str | None = None
    column: str | None = None
    before: Any = None
    in_api: bool = True
    by_model: bool = False
    varies: bool = False
    required: bool = False

    @property
    def range(self) -> str:
        """The allowed values in words: "1 (no guidance) to 20"."""
        if self.kind == "text":
            return f"at most {MAX_PROMPT_CHARACTERS:,} characters"
        if self.kind == "choice":
            return " or ".join(map(str, self.choices))
        notes = self.notes or {}
        ends = [f"{end:,g} ({notes[end]})" if end in notes else f"{end:,g}" for end in (self.low, self.high)]
        return " to ".join(ends) if self.high < MAX_SEED else f"{self.low:g} to 2**53 - 1"

    def check(self, value: object, high: float | None = None) -> Any:
        """The value, whatever kind of number it came as, as a plain str, int or float.

        Args:
            value: anything.
            high: highest allowed value in place of the setting's own.
        Raises:
            RequestError: it is not of the kind or outside the range; its field is the setting.
        """
        if self.kind == "text":
            return self._check_text(value)
        if self.kind == "choice":
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value not in self.choices:
                raise RequestError(f"is {shown(value)}; use {self.range}", field=self.name)
            return int(value)
        return self._check_number(value, self.high if high is None else high)

    def _check_text(self, value: object) -> str:
        if not isinstance(value, str):
            raise RequestError(f"is {type(value).__name__}; give text", field=self.name)
        if self.required and not value.strip():
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


# In the order of the API's parameters and of the page.
SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            name="prompt",
            kind="text",
            label="Prompt",
            help="what the images should show",
            flag="PROMPT",
            column="prompt",
            varies=True,
            required=True,
        ),
        Setting(
            name="negative_prompt",
            kind="text",
            label="Negative prompt",
            help="what the images should not show",
            default="",
            flag="--negative-prompt",
            metavar="TEXT",
            column="negative_prompt",
            varies=True,
        ),
        Setting(
            name="seed",
            kind="whole number",
            label="Seed of the first image",
            help="seed of the first image",
            default=0,
            low=0,
            high=MAX_SEED,
            flag="--seed",
            metavar="N",
            column="seed",
            varies=True,
        ),
        Setting(
            name="num_inference_steps",
            kind="whole number",
            label="Steps",
            help="denoising steps",
            default=8,
            low=1,
            high=100,
            flag="--steps",
            metavar="N",
            by_model=True,
        ),
        Setting(
            name="num_images",
            kind="whole number",
            label="Images",
            help="images for each prompt",
            default=1,
            low=1,
            high=64,
            flag="--count",
            metavar="N",
            column="count",
        ),
        Setting(
            name="guidance_scale",
            kind="number",
            label="Guidance",
            help="how strictly to follow the prompt",
            default=1.5,
            low=1.0,
            high=20.0,
            notes={1.0: "no guidance"},
            step=0.1,
            flag="--guidance-scale",
            metavar="G",
            by_model=True,
        ),
        Setting(
            name="adapter_weight",
            kind="number",
            label="LoRA weight",
            help="strength of the LoRA",
            default=1.0,
            low=0.0,
            high=2.0,
            notes={0.0: "base model alone"},
            step=0.05,
            flag="--adapter-weight",
            metavar="W",
        ),
        Setting(
            name="guidance_stop",
            kind="number",
            label="Guided",
            help="share of the steps after which guidance ends; fewer guided steps are quicker",
            default=0.7,
            low=0.0,
            high=1.0,
            step=0.05,
            flag="--guidance-stop",
            metavar="S",
            before=1.0,
            by_model=True,
        ),
        Setting(
            name="bit_depth",
            kind="choice",
            label="Grey levels",
            help="bits of the grey levels; 16 keeps what the decoder says between two of the 256 levels",
            default=8,
            choices=(8, 16),
            before=8,
            in_api=False,
        ),
    )
}
# What the faces call a field in their messages.
FLAGS = {name: setting.flag for name, setting in SETTINGS.items() if setting.flag}
LABELS = {name: f"“{setting.label}”" for name, setting in SETTINGS.items()}
COLUMNS = {name: setting.column for name, setting in SETTINGS.items() if setting.column}
# What all images have in common that are made together; settings of a plan are these and the negative prompt.
SHARED = tuple(name for name, setting in SETTINGS.items() if not setting.varies)
API_SETTINGS = tuple(name for name, setting in SETTINGS.items() if setting.in_api)
BY_MODEL = tuple(name for name, setting in SETTINGS.items() if setting.by_model)
PLAN_SETTINGS = ("negative_prompt", *(name for name in SHARED if name != "num_images"))


@dataclass(frozen=True)
class ImageSettings:
    """The settings of one image, checked on creation: what a request and a recipe have in common.

    Args:
        prompt: what the image should show; 1 to 2,000 characters.
        negative_prompt: what it should not show; may be empty.
        seed: 0 to 2**53 - 1.
        num_inference_steps: denoising steps, 1 to 100.
        guidance_scale: 1 (no guidance) to 20.
        adapter_weight: strength of the LoRA, 0 (the base model alone) to 2.
        guidance_stop: share of the steps after which guidance ends, 0 to 1; the steps after it take half the time.
        bit_depth: of the grey levels, 8 or 16; 16 keeps what the decoder says between two of the 256 levels.

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

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name in SETTINGS:
                object.__setattr__(self, field.name, SETTINGS[field.name].check(getattr(self, field.name)))

    @property
    def image_settings(self) -> dict[str, Any]:
        """These settings alone, by name."""
        return {field.name: getattr(self, field.name) for field in fields(ImageSettings)}


@dataclass(frozen=True)
class ModelOption:
    """The choice of a base model or of a LoRA, which every command that makes images and the page offer alike.

    Args:
        name: of the argument of ``load_model``.
        flag: its option.
        metavar: what stands for the value in the help.
        variable: of the environment, where the option is not given.
        fallback: where neither is.
        help: for the command line.
    """

    name: str
    flag: str
    metavar: str
    variable: str
    fallback: str
    help: str

    @property
    def default(self) -> str:
        """What the environment says, or the fallback."""
        return os.environ.get(self.variable) or self.fallback


MODEL_OPTIONS = (
    ModelOption(
        "model",
        "--model",
        "NAME|DIR|ID",
        "CXR_MODEL",
        "embedded",
        'a name that "models" lists, a folder in diffusers format, or owner/name[@revision] of the Hugging Face '
        "Hub (default: $CXR_MODEL, else embedded)",
    ),
    ModelOption(
        "adapter",
        "--adapter",
        "NAME",
        "CXR_ADAPTER",
        "default",
        'a name that "adapter list" prints, local:FILE, hub:owner/name/FILE, none, or default, the model\'s own; '
        "several with their weights as clinical:0.8,local:FILE:0.5 (default: $CXR_ADAPTER, else default)",
    ),
)
