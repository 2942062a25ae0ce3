"""The command line, ``python -m cxr COMMAND``: which commands there are, and what their arguments are checked for.

Arguments are checked before anything heavy is imported, so that help and messages come at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from cxr import __version__
from cxr.commands.adapter import add_adapter_parsers
from cxr.commands.bench_dataset import add_dataset_bench_options, run_dataset_bench
from cxr.commands.bench_gpu import add_gpu_bench_options, run_gpu_bench_command
from cxr.commands.dataset import add_dataset_parsers
from cxr.commands.deploy import add_deploy_parser
from cxr.commands.evaluate import add_evaluate_parsers
from cxr.commands.export import add_export_parser
from cxr.commands.models import add_models_parser
from cxr.commands.restore import add_restore_parser
from cxr.compiler.cli import add_prompt_parser
from cxr.generate.prompt_table import PromptTable, parse_number, read_prompt_table, renamed
from cxr.models.presets import Defaults, find_preset, request_defaults
from cxr.request.errors import CxrError, RequestError
from cxr.request.generation_request import (
    MAX_ADAPTER_WEIGHT,
    MAX_GUIDANCE_SCALE,
    MAX_NUM_IMAGES,
    MAX_NUM_INFERENCE_STEPS,
    GenerationRequest,
)
from cxr.request.messages import say
from cxr.request.recipe import SYNTHETIC_NOTICE
from cxr.train.cli import add_train_parser

WRONG_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count
UNREAD = 141  # 128 + SIGPIPE: "| head" has seen enough

DEFAULTS = {field.name: field.default for field in dataclasses.fields(GenerationRequest)}
# What the request calls its values, and what the user typed.
OPTIONS = {
    "prompt": "PROMPT",
    "negative_prompt": "--negative-prompt",
    "seed": "--seed",
    "num_images": "--count",
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance-scale",
    "adapter_weight": "--adapter-weight",
    "guidance_stop": "--guidance-stop",
}

OF_MODEL = {field.name for field in dataclasses.fields(Defaults)}

DESCRIPTION = f"CXR Studio: clinical text in, chest radiographs out.\n{SYNTHETIC_NOTICE}"
EPILOG = """\
examples:
  python -m cxr generate "A 55-year-old man with pneumonia" --output out
  python -m cxr generate "normal chest x-ray" --count 4 --seed 7 --output normal
  python -m cxr generate --prompts prompts.csv --output dataset

Wrong input ends with one line on standard error and exit code 2.
"""
GENERATE_DESCRIPTION = """\
Make images from a prompt, or from each row of a CSV file.

Writes DIR/<index>_<seed>.png, lossless and grey, each with its whole recipe inside, and one line
per image in DIR/metadata.jsonl. Image k of a prompt is made from seed + k and from nothing else.
Running it again into the same folder continues: what is finished stays, what is missing is made.
"""
GENERATE_EPILOG = """\
CSV files:
  UTF-8 with a header row that names at least "prompt"; "seed", "count" and "negative_prompt" may
  follow. What a row leaves empty comes from the options above; a row without a seed takes --seed
  plus the number of its first image.

exit codes:
  0 all images are there, 1 the model failed to make some, 2 wrong input or nowhere to write,
  130 and 143 stopped by Ctrl-C and SIGTERM; finished images are kept
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: one line, without a dump of the usage."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; those of the process when None.
    Returns:
        The exit code: 2 for anything that the user can put right.
    """
    # Read when these libraries are imported: their remarks about optional parts are not for the user.
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    try:
        arguments = build_parser().parse_args(argv)
        return int(arguments.run(arguments))
    except CxrError as error:
        say(sys.stderr, f"error: {error}")
        return WRONG_INPUT
    except KeyboardInterrupt:
        say(sys.stderr, "stopped")
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes standard output once more when it ends, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD


def build_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="python -m cxr", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"CXR Studio {__version__}")
    commands: Any = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_generate(commands)
    add_prompt_parser(commands)
    add_adapter_parsers(commands)
    add_models_parser(commands)
    _add_sheet(commands)
    _add_bench(commands)
    add_train_parser(commands)
    add_dataset_parsers(commands)
    add_export_parser(commands)
    add_restore_parser(commands, OPTIONS)
    add_evaluate_parsers(commands)
    add_deploy_parser(commands)
    return parser


def checked_request(values: dict[str, Any]) -> GenerationRequest:
    """Build a request; its messages then speak of options instead of fields.

    Raises:
        RequestError: a value is outside its range.
    """
    try:
        return GenerationRequest(**values)
    except RequestError as error:
        raise RequestError(renamed(error, OPTIONS)) from error


def check_sources(model: str, adapter: str) -> None:
    """Tell a wrong model or LoRA at once, as far as that is possible without importing torch.

    Raises:
        CxrError: the model is unknown; the LoRA is unknown, unreadable or unsafe.
    """
    find_preset(model)
    if adapter not in {"default", "none"}:
        from cxr.lora.find import describe_adapters

        describe_adapters(adapter)


def _add_generate(commands: Any) -> None:
    parser = commands.add_parser(
        "generate",
        usage='python -m cxr generate ("PROMPT" | --prompts FILE.csv) --output DIR [options]',
        help="make images from a prompt or from a CSV of prompts",
        description=GENERATE_DESCRIPTION,
        epilog=GENERATE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="what the images should show, in quotes")
    parser.add_argument("--prompts", metavar="FILE.csv", help="a list of prompts instead of one")
    parser.add_argument("--output", metavar="DIR", required=True, help="folder to write to, or to continue")
    for field, metavar, text in (
        ("num_images", "N", f"images for each prompt, 1 to {MAX_NUM_IMAGES}"),
        ("seed", "N", "seed of the first image"),
        ("num_inference_steps", "N", f"denoising steps, 1 to {MAX_NUM_INFERENCE_STEPS}"),
        ("guidance_scale", "G", f"how strictly to follow the prompt, 1 to {MAX_GUIDANCE_SCALE:g}"),
        ("adapter_weight", "W", f"strength of the LoRA, 0 (base model alone) to {MAX_ADAPTER_WEIGHT:g}"),
        ("guidance_stop", "S", "share of the steps after which guidance ends, 0 to 1"),
    ):
        default = DEFAULTS[field]
        parser.add_argument(
            OPTIONS[field],
            dest=field,
            type=_number,
            metavar=metavar,
            help=f"{text} (default {default}{', or what suits the model' if field in OF_MODEL else ''})",
        )
    parser.add_argument("--negative-prompt", metavar="TEXT", default="", help="what the images should not show")
    _add_model_options(parser)
    parser.set_defaults(run=_generate)


def _add_sheet(commands: Any) -> None:
    text = (
        "Draw the images of one or more folders as one labelled PNG; equal prompts of several folders stand together."
    )
    parser = commands.add_parser("sheet", help="draw folders of images as one contact sheet", description=text)
    parser.add_argument("folders", nargs="+", metavar="DIR", help='what "generate" wrote')
    parser.add_argument("--output", metavar="FILE.png", required=True, help="the picture to write")
    parser.add_argument("--columns", type=int, default=6, metavar="N", help="most images of a row (default 6)")
    parser.set_defaults(run=_sheet)


def _add_bench(commands: Any) -> None:
    text = "Time the default settings against the pipeline's own defaults, on the same weights in one run."
    parser = commands.add_parser("bench", help="measure the speed on this machine", description=text)
    parser.add_argument("--runs", type=int, metavar="N", help="timed images of each kind (default 3)")
    add_gpu_bench_options(parser)
    add_dataset_bench_options(parser)
    _add_model_options(parser)
    parser.set_defaults(run=_bench)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="NAME|DIR|ID",
        default=os.environ.get("CXR_MODEL") or "embedded",
        help='a name that "models" lists, a folder in diffusers format, or owner/name[@revision] of the Hugging Face '
        "Hub (default: $CXR_MODEL, else embedded)",
    )
    parser.add_argument(
        "--adapter",
        metavar="NAME",
        default=os.environ.get("CXR_ADAPTER") or "default",
        help='a name that "adapter list" prints, local:FILE, hub:owner/name/FILE, none, or default, the model\'s own; '
        "several with their weights as clinical:0.8,local:FILE:0.5 (default: $CXR_ADAPTER)",
    )


def _number(text: str) -> int | float:
    try:
        return parse_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error


def _generate(arguments: argparse.Namespace) -> int:
    values = _given_values(arguments)
    if (arguments.prompt is None) == (arguments.prompts is None):
        raise RequestError("give either a PROMPT or --prompts FILE.csv; see python -m cxr generate --help")
    table = _read_requests(arguments, values)
    if table.unused_columns:
        say(sys.stderr, f"note: columns that are not used: {', '.join(table.unused_columns)}")
    check_sources(arguments.model, arguments.adapter)
    from cxr.generate.into_folder import generate_into_folder

    return generate_into_folder(table.requests, arguments.output, arguments.model, arguments.adapter, table.sources)


def _given_values(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was typed, and where nothing was, what the model is used with."""
    defaults = DEFAULTS | request_defaults(arguments.model)
    given = {field: getattr(arguments, field) for field in OPTIONS if field != "prompt"}
    return {field: defaults[field] if value is None else value for field, value in given.items()}


def _read_requests(arguments: argparse.Namespace, values: dict[str, Any]) -> PromptTable:
    """The requests that the arguments ask for: one, or those of a table."""
    if arguments.prompts is None:
        return PromptTable((checked_request(values | {"prompt": arguments.prompt}),), ("",), ())
    checked_request(values | {"prompt": "any"})  # else a wrong option would be blamed on the first row
    return read_prompt_table(arguments.prompts, values)


def _sheet(arguments: argparse.Namespace) -> int:
    if arguments.columns < 1:
        raise RequestError(f"--columns is {arguments.columns}; use 1 or more")
    from pathlib import Path

    from cxr.folders.sheet import contact_sheet, rows_of_folders

    contact_sheet(
        rows_of_folders([Path(name) for name in arguments.folders], arguments.columns), Path(arguments.output)
    )
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    check_sources(arguments.model, arguments.adapter)
    if arguments.dataset is not None:
        return run_dataset_bench(arguments)
    if arguments.gpu:
        return run_gpu_bench_command(arguments)
    from cxr.bench.defaults import format_bench, run_bench

    try:
        result = run_bench(arguments.model, arguments.adapter, 3 if arguments.runs is None else arguments.runs)
    except RequestError as error:
        raise RequestError(renamed(error, {"runs": "--runs"})) from error
    sys.stdout.write(format_bench(result) + "\n")
    return 0
