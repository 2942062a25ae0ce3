"""``python -m cxr restore``: the command that makes an image again, read out of the image."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from cxr.commands.options import Commands, add_command, say_progress, say_result
from cxr.models.presets import PRESETS, prompt_form_of
from cxr.prompts.rewording import to_type_again
from cxr.request.model_info import EARLIER_FOLDER, EARLIER_WEIGHTS, where_to_find
from cxr.request.recipe import Recipe
from cxr.request.settings import SETTINGS

FOLDER = "MODEL_FOLDER"
DESCRIPTION = "Print the command that makes an image again. The image is a PNG that this program wrote."


def add_restore_parser(commands: Commands) -> None:
    """Add the command to the others."""
    parser = add_command(commands, "restore", _restore, "print the command that makes an image again", DESCRIPTION)
    parser.add_argument("picture", type=Path, metavar="FILE.png", help="an image with its recipe")


def command_line(recipe: Recipe) -> str:
    """The command, for a shell."""
    words, typed = [], to_type_again(recipe, prompt_form_of(recipe.model))
    for name, value in typed.image_settings.items():
        flag = SETTINGS[name].flag
        if flag and isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif flag and name != "prompt" and value != "":
            words += [flag, str(value)]
    words += ["--model", _model(recipe), "--adapter", recipe.adapter]
    words += ["--output", "restored"]
    # A prompt that begins with a dash is no option.
    words = [*words, "--", typed.prompt] if typed.prompt.startswith("-") else [typed.prompt, *words]
    return shlex.join(["python", "-m", "cxr", "generate", *words])


def _model(recipe: Recipe) -> str:
    if recipe.model_revision in EARLIER_WEIGHTS:
        return EARLIER_FOLDER
    return recipe.model_source if recipe.model in PRESETS or recipe.model_source != recipe.model else FOLDER


def _restore(arguments: argparse.Namespace) -> int:
    from cxr.images.recipe_file import read_recipe_file

    recipe = read_recipe_file(arguments.picture, arguments.picture.parent)
    say_result(command_line(recipe))
    for name, value in recipe.image_settings.items():
        if SETTINGS[name].flag is None and name != "sent_prompt" and value != SETTINGS[name].default:
            say_progress(f"generate has no option for {name}, which is {value} in the image")
    if found := where_to_find(recipe.model_revision):
        say_progress(found)
    if _model(recipe) == FOLDER:
        say_progress(f"{FOLDER} stands for the folder of the model {recipe.model}")
    return 0
