"""The one table of settings: what a request may say, within which ranges, and what each face calls it.

Requests and recipes are checked by it. The command line, the page, the API, plans, lists of prompts and reports read
it. To add a setting, add a row to `SETTINGS` and a line to `ImageSettings`, and use it where images are made; nothing
else has to know of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from cxr.request.errors import RequestError
from cxr.request.setting import MAX_SEED, MAX_THREADS, Setting

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
            "mask_cells", "cells", "Region", "cells of the picture to make anew; the others stay", "",
            flag="--mask-cells", metavar="CELLS", before="", in_api=False,
        ),
        Setting(
            "surrounding_prompt", "text", "Around the region",
            "prompt of the picture around the region, which is made from the same seed", "",
            flag="--surrounding-prompt", metavar="TEXT", before="", in_api=False, varies=True,
        ),
    )
}  # fmt: skip
# What images that begin from noise alone do not have, but for a region in a picture that is made beside it.
BEGINNING = ("init_image", "strength", "mask_cells")
REGION = ("mask_cells", "surrounding_prompt")
FULL_SHARE = 0.5  # of the steps guided away from a negative prompt, which then changes nearly all that it ever does
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


def unused_settings(*, begins_from_picture: bool, is_surrounded: bool) -> tuple[str, ...]:
    """Settings that say nothing of an image, by whether it began from a picture or has one that is made around it."""
    if begins_from_picture:
        return ("surrounding_prompt",)
    return ("init_image", "strength") if is_surrounded else (*BEGINNING, "surrounding_prompt")


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
    surrounding_prompt: str = SETTINGS["surrounding_prompt"].default

    def __post_init__(self) -> None:
        for name in (entry.name for entry in fields(self) if entry.name in SETTINGS):
            object.__setattr__(self, name, SETTINGS[name].check(getattr(self, name)))
        if self.sent_prompt and not self.reword:
            raise RequestError("is given, but reword is false; leave it out", field="sent_prompt")
        if self.surrounding_prompt and not self.mask_cells:
            raise RequestError("only applies around a region; name one as well", field="surrounding_prompt")

    @property
    def model_prompt(self) -> str:
        """What the model reads: the prompt as typed, or what was made of it."""
        return self.sent_prompt or self.prompt

    @property
    def is_derived(self) -> bool:
        """Whether the image begins from a picture; requests and recipes each have their own way to say so."""
        return False

    @property
    def negative_share(self) -> float:
        """Share of the steps that are guided away from the negative prompt; 1 without one, which misses nothing."""
        if not self.negative_prompt.strip():
            return 1.0
        return 0.0 if self.guidance_scale == 1 else self.guidance_stop

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
        "default, the model's own; several with their weights as clinical:0.8,local:FILE:0.5 "
        "(default: $CXR_ADAPTER, else default)",
        "default", flag="--adapter", metavar="NAME", variable="CXR_ADAPTER",
    ),
)  # fmt: skip
# How a data set is made, whatever its plan says.
_GATE = "make images again if a small network does not see in them what was asked for"
_OF_DATASETS = (
    Setting("gate", "switch", _GATE.capitalize(), _GATE, False, flag="--gate"),
    Setting(
        "max_attempts", "whole number", "Seeds", "seeds that an image may take", 4, 1, 100,
        flag="--max-attempts", metavar="N",
    ),
    Setting(
        "num_threads", "whole number", "Threads", "CPU threads of each process; another number changes the last bits",
        1, 1, MAX_THREADS, flag="--threads", metavar="N",
    ),
)  # fmt: skip
DATASET_OPTIONS: Mapping[str, Setting] = {setting.name: setting for setting in _OF_DATASETS}
# Values of the settings that are varied over a sheet; the last one changes fastest.
GRID_AXES = ("guidance_scale", "adapter_weight", "num_inference_steps", "seed")
MAX_GRID_IMAGES = int(SETTINGS["num_images"].high)
