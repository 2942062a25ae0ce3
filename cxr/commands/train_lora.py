"""``train lora`` serves two kinds of models: which options belong to which, and how the choice is made.

The small model is known by its folder: what the base stage wrote holds it as ``model/``. Any other ``--model`` is a
full-size Stable Diffusion, and so are the options of this module.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from cxr.commands.train_stages import flag_of
from cxr.models.presets import find_preset
from cxr.request.errors import RequestError
from cxr.train.full_lora.training_settings import EXTRA, ROWS, VALIDATION_PROMPTS, FullLoraSettings

DEFAULTS: dict[str, object] = {name: row.default for name, row in ROWS.items()}
SMALL_ONLY = ("start_from", "guide", "guide_weight", "earlier_model")

DESCRIPTION = """\
The findings, on top of a trained base.

The small model that ships with this program: --model is the --out folder of train base, which holds
the model as model/; a --guide makes it learn what the findings change.

A full-size Stable Diffusion 1.x, 2.x or XL: --model is a preset's name or a folder in diffusers
format. Needs images with labels, or with a column caption, text or prompt in metadata.csv; then the
other columns are file_name and patient_id. Started again, also after a kill, it goes on from its
last checkpoint.
"""


def add_full_lora_options(stage: argparse.ArgumentParser) -> None:
    """Add what only full-size models have; an option that is not given is None."""
    group = stage.add_argument_group("full-size models only")
    for name in EXTRA:
        row = ROWS[name]
        text = row.metadata["words"] + (f" (default {row.default})" if row.default not in (None, "") else "")
        kind: dict[str, Any] = {"type": row.metadata["option"]}
        if row.metadata["option"] is bool:
            kind = {"action": argparse.BooleanOptionalAction}
        elif row.metadata["option"] is tuple:
            kind = {"action": "append", "dest": name, "metavar": "TEXT"}
            text = f"{row.metadata['words']} (default: {len(VALIDATION_PROMPTS)} of this program's)"
        group.add_argument(_flag(name), help=text.replace("%", "%%"), **kind)


def is_small_model(model: str) -> bool:
    """Whether ``--model`` is what the base stage wrote: the small model in its subfolder ``model/``."""
    return (Path(model) / "model" / "model_index.json").is_file()


def is_full_size(arguments: argparse.Namespace) -> bool:
    """Whether ``train lora`` is to train for a full-size model; and refuse options that do not belong to the choice.

    Raises:
        RequestError: an option of the other kind of model is given.
    """
    model = arguments.model.as_posix()
    full = [name for name in EXTRA if getattr(arguments, name) is not None]
    small = [name for name in SMALL_ONLY if getattr(arguments, name) is not None]
    if is_small_model(model):
        if full:
            raise RequestError(f"{_flag(full[0])} is for full-size models, and {model} holds the small one")
        return False
    if small:
        raise RequestError(
            f"{_flag(small[0])} is for the small model, whose --model is the --out folder of train base; "
            f"leave it out for {model}"
        )
    return True


def full_lora_settings(arguments: argparse.Namespace) -> FullLoraSettings:
    """The settings that the options ask for, defaults for the others.

    Raises:
        RequestError: a value is outside what is allowed.
    """
    values = {name: getattr(arguments, name) for name in DEFAULTS if getattr(arguments, name, None) is not None}
    if "validation_prompts" in values:
        values["validation_prompts"] = tuple(dict.fromkeys(values["validation_prompts"]))
    return FullLoraSettings(**values)


def run_full_lora(arguments: argparse.Namespace) -> None:
    """Check everything, then train."""
    from cxr.train.full_lora.base_model import read_base_model
    from cxr.train.full_lora.data import in_form, read_training_data
    from cxr.train.full_lora.training_run import train_full_lora

    settings, model = full_lora_settings(arguments), arguments.model.as_posix()
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
        form=form,
    )
    train_full_lora(base, data, settings, arguments.out)


def _flag(name: str) -> str:
    return "--validation-prompt" if name == "validation_prompts" else flag_of(name)
