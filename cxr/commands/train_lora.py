"""``train lora`` serves two kinds of models: which options belong to which, and how the choice is made.

The small model is known by its folder: what the base stage wrote holds it as ``model/``. Any other ``--model`` is a
full-size Stable Diffusion, and so are the options of this module.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from cxr.models.presets import find_preset
from cxr.request.errors import RequestError
from cxr.train.full_lora.settings import PRECISIONS, VALIDATION_PROMPTS, FullLoraSettings

DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(FullLoraSettings)}
GUIDES = ("guide", "guide_weight")

DESCRIPTION = """\
The findings, on top of a trained base.

The small model that ships with this program: --model is the --out folder of train base, which holds
the model as model/; a --guide makes it learn what the findings change.

A full-size Stable Diffusion 1.x, 2.x or XL: --model is a preset's name or a folder in diffusers
format. Needs images with labels, or with a column caption, text or prompt in metadata.csv; then the
other columns are file_name and patient_id. Started again, also after a kill, it goes on from its
last checkpoint.
"""

# Option, type, what it is; the default is the settings' own.
_OPTIONS: tuple[tuple[str, Any, str], ...] = (
    ("--gradient-accumulation-steps", int, "batches of one optimizer step"),
    ("--warmup-steps", int, "steps in which the rate rises"),
    ("--rank", int, "width of the LoRA"),
    ("--lora-alpha", float, "strength of the LoRA, times 1 / rank (default: the rank)"),
    ("--resolution", int, "side of the images in pixels (default: what the model was made for)"),
    ("--min-snr-gamma", float, "weights of the noise levels, 0 for none (default: 5 where the schedule allows it)"),
    ("--caption-dropout", float, "share of empty captions"),
    ("--captions-per-image", int, "wordings of an image's labels"),
    ("--mixed-precision", str, f"{', '.join(PRECISIONS)}; the frozen weights take it too on a GPU"),
    ("--checkpoint-every", int, "steps between checkpoints"),
    ("--validation-images", int, "images of each validation prompt, 0 for none"),
    ("--license", str, "id of the LoRA's licence for its card (default: that of the base model)"),
    ("--training-data", str, "where the images come from, for the card"),
)


def add_full_lora_options(stage: argparse.ArgumentParser) -> None:
    """Add what only full-size models have; an option that is not given is None."""
    group = stage.add_argument_group("full-size models only")
    for option, kind, text in _OPTIONS:
        default = DEFAULTS[_name(option)]
        told = f"{text} (default {default})" if default not in (None, "") else text
        group.add_argument(option, type=kind, help=told.replace("%", "%%"))
    group.add_argument(
        "--gradient-checkpointing",
        action=argparse.BooleanOptionalAction,
        help="less memory for more time (default: on a GPU)",
    )
    group.add_argument(
        "--validation-prompt",
        dest="validation_prompts",
        action="append",
        metavar="TEXT",
        help=f"what validation images ask for; may be repeated (default: {len(VALIDATION_PROMPTS)} of this program's)",
    )


def is_small_model(model: str) -> bool:
    """Whether ``--model`` is what the base stage wrote: the small model in its subfolder ``model/``."""
    return (Path(model) / "model" / "model_index.json").is_file()


def is_full_size(arguments: argparse.Namespace) -> bool:
    """Whether ``train lora`` is to train for a full-size model; tells of options that do not belong to the choice.

    Raises:
        RequestError: an option of the other kind of model is given.
    """
    model = arguments.model.as_posix()
    own = ("gradient_checkpointing", "validation_prompts", *(_name(option) for option, _, _ in _OPTIONS))
    full = [name for name in own if getattr(arguments, name) is not None]
    small = [name for name in GUIDES if getattr(arguments, name) is not None]
    if is_small_model(model):
        if full:
            raise RequestError(f"{_option(full[0])} is for full-size models, and {model} holds the small one")
        return False
    if small:
        raise RequestError(
            f"{_option(small[0])} is for the small model, whose --model is the --out folder of train base; "
            f"leave it out for {model}"
        )
    return True


def settings_of(arguments: argparse.Namespace) -> FullLoraSettings:
    """The settings that the options ask for, defaults for the others.

    Raises:
        RequestError: a value is outside what is allowed.
    """
    given = {name: getattr(arguments, name) for name in DEFAULTS if getattr(arguments, name, None) is not None}
    if "validation_prompts" in given:
        given["validation_prompts"] = tuple(dict.fromkeys(given["validation_prompts"]))
    return FullLoraSettings(**given)


def run_full_lora(arguments: argparse.Namespace) -> None:
    """Check everything, then train."""
    from cxr.train.full_lora.data import caption_writer, in_form, read_training_data
    from cxr.train.full_lora.folder import read_base_model
    from cxr.train.full_lora.run import train_full_lora

    settings, model = settings_of(arguments), arguments.model.as_posix()
    base, form = read_base_model(model), find_preset(model).prompt_form
    if arguments.validation_prompts is None:
        prompts = tuple(in_form(prompt, form) for prompt in settings.validation_prompts)
        settings = dataclasses.replace(settings, validation_prompts=prompts)
    data = read_training_data(
        arguments.data,
        validation_share=arguments.validation_share,
        judging_share=arguments.judging_share,
        captions_per_image=settings.captions_per_image,
        seed=settings.seed,
        write_caption=caption_writer(form),
    )
    train_full_lora(base, data, settings, arguments.out)


def _name(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _option(name: str) -> str:
    return "--validation-prompt" if name == "validation_prompts" else "--" + name.replace("_", "-")
