"""``python -m cxr restore``: the command that makes an image again, read out of the image."""

from __future__ import annotations

import argparse
import os
import shlex
from dataclasses import replace
from pathlib import Path

from cxr.commands.options import Commands, add_command, add_path, say_progress, say_result
from cxr.lora.choice import format_adapters, parse_adapters
from cxr.models.compiled import COMPILE_VARIABLE
from cxr.models.openvino.library import ENGINE_VARIABLE, is_installed
from cxr.models.preset_table import PRESETS
from cxr.models.presets import prompt_form_of
from cxr.prompts.rewording import to_type_again
from cxr.request.errors import RequestError
from cxr.request.model_info import EARLIER_ADAPTER, EARLIER_FOLDER, earlier_commit, is_earlier_model, where_to_find
from cxr.request.recipe import COMPILED, OPENVINO, Recipe, needed_picture
from cxr.request.settings import SETTINGS

FOLDER, PICTURE = "MODEL_FOLDER", "PICTURE"
DESCRIPTION = "Print the command that makes an image again. The image is a PNG that this program wrote."


def add_restore_parser(commands: Commands) -> None:
    parser = add_command(commands, "restore", _restore, "print the command that makes an image again", DESCRIPTION)
    add_path(parser, "picture", "FILE.png", "an image with its recipe")
    add_path(parser, "--init-image", "FILE", "the picture that the image began from")


def command_line(recipe: Recipe, init_image: str = PICTURE) -> str:
    """The command, for a shell.

    Args:
        init_image: file of the picture that it began from, if there was one.
    """
    words, typed = [], to_type_again(recipe, prompt_form_of(recipe.model))
    for name, value in typed.image_settings.items():
        flag = SETTINGS[name].flag
        if name in recipe.unused:
            continue
        if flag and isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif flag and name != "prompt" and value != "":
            words += [f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)]
    words += ["--init-image", init_image] if recipe.is_derived else []
    words += ["--model", _model(recipe), "--adapter", _adapter(recipe)]
    words += ["--output", "restored"]
    # A prompt that begins with a dash is not an option.
    words = [*words, "--", typed.prompt] if typed.prompt.startswith("-") else [typed.prompt, *words]
    return _engine(recipe) + " ".join(map(_quoted, ["python", "-m", "cxr", "generate", *words]))


def _quoted(word: str) -> str:
    """A word for a shell, in one line; what a line cannot show as it is stands as bash and zsh read it in $'...'."""
    if word.isprintable() and "  " not in word:
        return shlex.quote(word)
    escapes = {"\\": "\\\\", "'": "\\'"}
    shown = "".join(escapes.get(one, one) if one.isprintable() else f"\\U{ord(one):08x}" for one in word)
    return "$'" + shown.replace("  ", " \\x20") + "'"


def _engine(recipe: Recipe) -> str:
    """What goes before the command where another engine might run the UNet here."""
    if recipe.engine == COMPILED:
        return "" if os.environ.get(COMPILE_VARIABLE) == "1" else f"{COMPILE_VARIABLE}=1 "
    named = os.environ.get(ENGINE_VARIABLE) == recipe.engine
    return f"{ENGINE_VARIABLE}={recipe.engine} " if recipe.device == "cpu" and is_installed() and not named else ""


def _model(recipe: Recipe) -> str:
    if is_earlier_model(recipe.model_revision):
        return EARLIER_FOLDER
    return recipe.model_source if recipe.model in PRESETS or recipe.model_source != recipe.model else FOLDER


def _adapter(recipe: Recipe) -> str:
    """Its LoRAs; one that shipped with earlier weights is not today's LoRA of that name."""
    if earlier_commit(recipe.model_revision, recipe.adapter_sha256) is None:
        return recipe.adapter
    shipped = PRESETS["embedded"].default_adapter
    choices = parse_adapters(recipe.adapter)
    return format_adapters(
        [replace(choice, source=EARLIER_ADAPTER) if choice.source == shipped else choice for choice in choices]
    )


def _restore(arguments: argparse.Namespace) -> int:
    from cxr.images.recipe_file import read_recipe_file

    path = Path(os.path.realpath(arguments.picture))  # it may be a link
    recipe = read_recipe_file(path, path.parent)
    picture = _init_image(arguments, recipe)
    say_result(command_line(recipe, picture))
    for name, value in recipe.image_settings.items():
        if SETTINGS[name].flag is None and name != "sent_prompt" and value != SETTINGS[name].default:
            say_progress(f"generate has no option for {name}, which is {value} in the image")
    if found := where_to_find(recipe.model_revision, recipe.adapter_sha256):
        say_progress(found)
    if _model(recipe) == FOLDER:
        say_progress(f"{FOLDER} stands for the folder of the model {recipe.model}")
    if recipe.engine == OPENVINO and not is_installed():
        say_progress("the image was made by OpenVINO, which is not installed: PyTorch may give different last bits")
    if recipe.is_derived and picture == PICTURE:
        say_progress(f"{needed_picture(recipe)}; name it with --init-image, in place of {PICTURE}")
    return 0


def _init_image(arguments: argparse.Namespace, recipe: Recipe) -> str:
    """The file that was named as the beginning, if it is the right one, or what stands for it."""
    if arguments.init_image is None:
        return PICTURE
    from cxr.images.init_picture import read_init_picture

    if not recipe.is_derived:
        raise RequestError("is not needed: the image did not begin from a picture", field="init_image")
    recipe.request_from(read_init_picture(arguments.init_image, str(arguments.init_image)))
    return str(arguments.init_image)
