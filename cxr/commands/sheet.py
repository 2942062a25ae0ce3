"""The ``sheet`` command: folders of images, or a grid of settings, as one labelled picture."""

from __future__ import annotations

import argparse

from cxr.commands.options import (
    Commands,
    add_command,
    add_model_options,
    add_path,
    check_numbers,
    check_sources,
    say_progress,
    say_result,
)
from cxr.models.presets import request_defaults
from cxr.request.errors import GenerationError, RequestError
from cxr.request.setting import parse_number
from cxr.request.settings import GRID_AXES, MAX_GRID_IMAGES

DESCRIPTION = """\
Draw the images of one or more folders as one labelled PNG; equal prompts of several folders
stand together. Or make a grid: words of a prompt, guidance, LoRA weight, steps and seeds crossed.
"""
EPILOG = f"""\
a grid:
  python -m cxr sheet --grid "A {{30|80}}-year-old man with {{pneumonia|a pleural effusion}}" \\
    --vary guidance_scale=1,1.5,3 --vary seed=1,2 --output grid.png
  --vary takes {", ".join(GRID_AXES[:-1])} and {GRID_AXES[-1]}; the last one that changes goes
  across, the others and the prompts go down. At most {MAX_GRID_IMAGES} images; its size is printed first.

exit codes:
  0 the sheet is written, 1 the model failed to make some of its images, 2 wrong input or nowhere to write,
  130 and 143 stopped by Ctrl-C and SIGTERM; nothing is written then
"""


def add_sheet_parser(commands: Commands) -> None:
    summary = "draw folders of images, or a grid of settings, as one sheet"
    parser = add_command(commands, "sheet", _sheet, summary, DESCRIPTION, EPILOG)
    parser.usage = 'python -m cxr sheet (DIR ... | --grid "PROMPT" [--vary NAME=V,V ...]) --output FILE.png [options]'
    add_path(parser, "folders", "DIR", 'what "generate" wrote', nargs="*")
    add_path(parser, "--output", "FILE.png", "the picture to write")
    parser.add_argument(
        "--columns", type=int, default=6, metavar="N", help="largest number of images in a row (default %(default)s)"
    )
    parser.add_argument("--grid", metavar="PROMPT", help="a prompt; {small|large} are alternatives")
    parser.add_argument(
        "--vary", action="append", default=[], metavar="NAME=V,V", help="with --grid: a setting and its values"
    )
    parser.add_argument("--dry-run", action="store_true", help="with --grid: only print its size and how long it takes")
    add_model_options(parser)


def _sheet(arguments: argparse.Namespace) -> int:
    check_numbers(arguments, {"columns": (1, None)})
    if bool(arguments.folders) == (arguments.grid is not None):
        raise RequestError("give either folders or --grid PROMPT; see python -m cxr sheet --help")
    if arguments.output is None and not arguments.dry_run:
        raise RequestError("--output is missing; name the picture to write")
    if arguments.grid is not None:
        return _make_grid(arguments)
    if arguments.vary or arguments.dry_run:
        raise RequestError("--vary and --dry-run only work with --grid")
    from cxr.folders.sheet import contact_sheet, rows_of_folders

    contact_sheet(rows_of_folders(arguments.folders, arguments.columns), arguments.output)
    return 0


def _make_grid(arguments: argparse.Namespace) -> int:
    from cxr.dataset.estimate import estimate
    from cxr.dataset.grid import GridStore, build_grid, describe_grid, draw_grid
    from cxr.folders.sheet import save_sheet
    from cxr.generate.model import get_model
    from cxr.generate.progress import SOME_FAILED, Progress
    from cxr.generate.stop_signal import stop_on_signals
    from cxr.generate.worker import Worker

    plan = build_grid(arguments.grid, read_axes(arguments.vary), request_defaults(arguments.model))
    check_sources(arguments.model, arguments.adapter)
    model = get_model(arguments.model, arguments.adapter)
    said = describe_grid(plan, model.prompt_form, model.info.resolution)
    if arguments.dry_run:
        say_result(f"{said}; about {max(1, round(estimate(plan, model).seconds)):,} s")
        return 0
    say_progress(said)
    store = GridStore(plan)
    with stop_on_signals() as stop, Progress(len(plan.images)) as progress:
        Worker(model, progress, stop.event).run([store])
    for index, reason in sorted(store.failures.items()):
        say_progress(f"image {index} failed: {reason}")
    if stop.event.is_set() and len(store.pixels) + len(store.failures) < len(plan.images):
        return 128 + stop.number
    if not store.pixels:
        raise GenerationError("no image could be made")
    save_sheet(draw_grid(plan, store.pixels), arguments.output)
    say_result(str(arguments.output))
    return SOME_FAILED if store.failures else 0


def read_axes(texts: list[str]) -> dict[str, list[float]]:
    """Values of each setting, from "guidance_scale=1,1.5".

    Raises:
        RequestError: a setting is unknown or named twice, or a value is not a number.
    """
    axes: dict[str, list[float]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if name not in GRID_AXES or name in axes:
            problem = "appears twice" if name in axes else "cannot vary"
            raise RequestError(f"--vary {text}: {name} {problem}; use {', '.join(GRID_AXES)}, each once")
        axes[name] = read_values(values, name)
    return axes


def read_values(text: str, name: str) -> list[float]:
    """Numbers, separated by commas.

    Raises:
        RequestError: there is none, or something else.
    """
    try:
        return [parse_number(value) for value in text.split(",")]
    except ValueError as error:
        raise RequestError(f"is “{text}”; use numbers separated by commas", field=name) from error
