"""The ``generate`` command: images from one prompt or from a list of prompts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cxr.commands.options import (
    Commands,
    add_command,
    add_model_options,
    add_path,
    add_settings,
    check_sources,
    say_progress,
    settings_of,
)
from cxr.generate.prompt_table import PromptTable, read_prompt_table
from cxr.request.errors import RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import shown_names
from cxr.request.settings import FLAGS, SETTINGS

DESCRIPTION = """\
Make images from a prompt, or from each row of a CSV file.

Writes DIR/<index>_<seed>.png, lossless and grey, each with its whole recipe inside, and one line
per image in DIR/metadata.jsonl. Image k of a prompt is made from seed + k and from nothing else.
Running it again into the same folder continues: what is finished stays, what is missing is made.
"""
EPILOG = """\
CSV files:
  UTF-8 with a header row that names at least "prompt"; "seed", "count" and "negative_prompt" may
  follow. What a row leaves empty comes from the options above; a row without a seed takes --seed
  plus the number of its first image.

pictures to begin from:
  Any PNG, JPEG or DICOM file; it is fitted into the model's square. Its hash goes into the recipes,
  its name and pixels do not, and the images say that they are derived from a picture. With --mask
  or --mask-cells only that region is made anew, in cells of 1/16 of the picture's side.

exit codes:
  0 all images are there, 1 the model failed to make some, 2 wrong input or nowhere to write,
  130 and 143 stopped by Ctrl-C and SIGTERM; finished images are kept
"""
OPTIONS = tuple(name for name in FLAGS if name != "prompt")


def add_generate_parser(commands: Commands) -> None:
    summary = "make images from a prompt or from a CSV of prompts"
    parser = add_command(commands, "generate", _generate, summary, DESCRIPTION, EPILOG)
    parser.usage = 'python -m cxr generate ("PROMPT" | --prompts FILE.csv) --output DIR [options]'
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help=f"{SETTINGS['prompt'].help}, in quotes")
    add_path(parser, "--prompts", "FILE.csv", "a list of prompts instead of one")
    add_path(parser, "--output", "DIR", "folder to write to, or to continue", required=True)
    add_settings(parser, *OPTIONS)
    add_path(parser, "--mask", "FILE", "picture in which the region to make anew is white")
    add_model_options(parser)


def _generate(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    _read_beginning(arguments, settings)
    if (arguments.prompt is None) == (arguments.prompts is None):
        raise RequestError("give either a PROMPT or --prompts FILE.csv; see python -m cxr generate --help")
    table = _read_requests(arguments, settings)
    if table.unused_columns:
        names = shown_names(name or "one without a name" for name in table.unused_columns)
        say_progress(f"note: columns that are not used: {names}")

    check_sources(arguments.model, arguments.adapter)
    from cxr.generate.into_folder import generate_into_folder

    return generate_into_folder(table.requests, arguments.output, arguments.model, arguments.adapter, table.sources)


def _read_beginning(arguments: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Put the picture to begin from into the settings, and its mask as cells."""
    path, mask = arguments.init_image, arguments.mask
    if path is None:
        if mask or arguments.strength is not None:
            name = "mask" if mask else "strength"
            raise RequestError("only works with --init-image; name the picture to begin from", field=name)
        return
    if mask and arguments.mask_cells:
        raise RequestError("names the region a second time; use --mask or --mask-cells", field="mask")
    from cxr.images.init_picture import read_init_picture, read_mask

    settings["init_image"] = read_init_picture(Path(path), path)
    if mask:
        settings["mask_cells"] = read_mask(mask, settings["init_image"], str(mask))


def _read_requests(arguments: argparse.Namespace, settings: dict[str, Any]) -> PromptTable:
    """The requests that the arguments ask for: one, or those of a table."""
    if arguments.prompts is None:
        return PromptTable((GenerationRequest(arguments.prompt, **settings),), ("",), ())
    GenerationRequest("any", **settings)  # else a wrong option would be blamed on the first row
    return read_prompt_table(arguments.prompts, settings)
