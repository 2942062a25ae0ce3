"""``python -m cxr restore``: the command that makes an image again, read out of the image."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr.models.presets import PRESETS
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import say
from cxr.request.recipe import Recipe

FOLDER = "MODEL_FOLDER"
DESCRIPTION = "Print the command that makes an image again. The image is a PNG that this program wrote."


def add_restore_parser(commands: Any, options: Mapping[str, str]) -> None:
    """Add the command to the command line.

    Args:
        commands: where to add it.
        options: of ``generate``, by the field of the request.
    """
    parser = commands.add_parser("restore", help="print the command that makes an image again", description=DESCRIPTION)
    parser.add_argument("picture", metavar="FILE.png", help="an image with its recipe")
    parser.set_defaults(run=lambda arguments: _restore(Path(arguments.picture), options))


def command_line(recipe: Recipe, request: GenerationRequest, options: Mapping[str, str]) -> str:
    """The command, for a shell.

    Args:
        recipe: of the image.
        request: the same, checked.
        options: of ``generate``, by the field of the request.
    """
    words = []
    if request.negative_prompt:
        words += ["--negative-prompt", request.negative_prompt]
    for name in ("seed", "num_inference_steps", "guidance_scale", "guidance_stop", "adapter_weight"):
        words += [options[name], str(getattr(request, name))]
    words += ["--model", _model(recipe), "--adapter", recipe.adapter]
    words += ["--output", "restored"]
    # A prompt that begins with a dash is no option.
    words = [*words, "--", request.prompt] if request.prompt.startswith("-") else [request.prompt, *words]
    return shlex.join(["python", "-m", "cxr", "generate", *words])


def _model(recipe: Recipe) -> str:
    return recipe.model_source if recipe.model in PRESETS or recipe.model_source != recipe.model else FOLDER


def _restore(path: Path, options: Mapping[str, str]) -> int:
    from cxr.images.recipe_file import read_recipe_file, request_of  # pillow and numpy take a moment to import

    recipe = read_recipe_file(path, path.parent)
    say(sys.stdout, command_line(recipe, request_of(recipe), options))
    if _model(recipe) == FOLDER:
        say(sys.stderr, f"{FOLDER} stands for the folder of the model {recipe.model}")
    return 0
