"""What several commands share: the options that the table of settings describes, checks, and lines for the user.

``CXR_MODEL`` and ``CXR_ADAPTER`` are the defaults of every command that makes images. They are not those of ``verify``
and ``detect``, whose images name their own model, of ``deploy``, which sets a Space up, and of ``train lora``, which
trains for a base.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from cxr.models.presets import find_preset, request_defaults
from cxr.request.errors import CxrError, RequestError
from cxr.request.messages import say
from cxr.request.setting import Setting, parse_number
from cxr.request.settings import DATASET_OPTIONS, FLAGS, MODEL_OPTIONS, SETTINGS

ALL_FLAGS = FLAGS | {name: option.flag for name, option in DATASET_OPTIONS.items() if option.flag}
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    description: str = "",
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command; the parsed arguments carry ``run``, which is called with them and gives the exit code.

    Args:
        summary: one line for the list of commands.
        description: for its own help, line by line as it stands; else the summary.
        epilog: what follows its options.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=description or summary,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_settings(parser: argparse.ArgumentParser, *names: str, context: str = "") -> None:
    """Add the options of settings; one that is not given is None, as its default may be the model's.

    Args:
        names: of the settings, which have flags.
        context: goes before the help, "with --dataset: " for example.
    """
    for name in names:
        setting = SETTINGS[name] if name in SETTINGS else DATASET_OPTIONS[name]
        assert setting.flag, f"{name} has no option"
        kind: dict[str, Any] = {"type": _number, "metavar": setting.metavar}
        if setting.kind == "switch":
            # A switch that is off by default needs no option to turn it off.
            kind = {"action": argparse.BooleanOptionalAction if setting.default else "store_true"}
        elif setting.kind in ("text", "cells", "picture"):
            kind["type"] = str
        parser.add_argument(setting.flag, dest=name, default=None, help=context + _help_of(setting), **kind)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--model`` and ``--adapter``, whose defaults the environment may say."""
    for option in MODEL_OPTIONS:
        default = os.environ.get(option.variable or "") or option.default
        parser.add_argument(option.flag or "", metavar=option.metavar, default=default, help=option.help)


def add_path(parser: argparse.ArgumentParser, name: str, metavar: str, text: str, **more: Any) -> None:
    """Add an argument that names a file or a folder.

    Args:
        name: the argument's, or the option's with its dashes.
        metavar: what stands for it in the help.
        more: further arguments for argparse.
    """
    parser.add_argument(name, type=named_path, metavar=metavar, help=text, **more)


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every setting that the command has an option for: what was typed, else what the model is used with.

    Raises:
        ModelError: the model is unknown.
    """
    defaults = {name: setting.default for name, setting in SETTINGS.items()} | request_defaults(arguments.model)
    typed = {name: getattr(arguments, name) for name in SETTINGS if name != "prompt" and name in arguments}
    return {name: defaults[name] if value is None else value for name, value in typed.items()}


def dataset_options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every one of `DATASET_OPTIONS`: what was typed, else its default.

    Raises:
        RequestError: a value is outside its range.
    """
    typed = {name: getattr(arguments, name) for name in DATASET_OPTIONS}
    return {
        name: option.default if typed[name] is None else option.check(typed[name])
        for name, option in DATASET_OPTIONS.items()
    }


def described(error: CxrError) -> str:
    """The message of an error, in which a value has the name of its option."""
    field = error.field or ""
    return error.described({field: ALL_FLAGS.get(field) or "--" + field.replace("_", "-")})


def check_sources(model: str, adapter: str) -> None:
    """Refuse a wrong model or LoRA at once, as far as that is possible without importing torch.

    Raises:
        CxrError: the model is unknown; the LoRA is unknown, unreadable or unsafe.
    """
    find_preset(model)
    if adapter not in {"default", "none"}:
        from cxr.lora.find import describe_adapters

        describe_adapters(adapter)


def check_numbers(arguments: argparse.Namespace, ranges: Mapping[str, tuple[int, int | None]]) -> None:
    """Check whole numbers of options that are not settings of a request.

    Args:
        ranges: lowest and highest value by the name of the argument; None where any larger number is allowed.
    Raises:
        RequestError: one is outside its range.
    """
    for name, (low, high) in ranges.items():
        value = getattr(arguments, name)
        if value is None or (low <= value and (high is None or value <= high)):
            continue
        raise RequestError(f"is {value}; use {low:,} " + ("or more" if high is None else f"to {high:,}"), field=name)


def say_result(text: str) -> None:
    """One line on standard output."""
    say(sys.stdout, text)


def say_progress(text: str) -> None:
    """One line on standard error."""
    say(sys.stderr, text)


def named_path(text: str) -> Path:
    """A file or a folder as the command line names it.

    Raises:
        ArgumentTypeError: the name is empty, as that of a variable that is not set; the current folder is not meant.
    """
    if not text:
        raise argparse.ArgumentTypeError("is empty; name a file or a folder")
    return Path(text)


def _help_of(setting: Setting) -> str:
    if setting.kind in ("text", "picture"):
        return setting.help
    if setting.kind == "cells":
        return f"{setting.help}; {setting.range}"
    if setting.kind == "switch":
        return f"{setting.help} (default yes)" if setting.default else setting.help
    allowed = "" if setting.varies else f", {setting.range}"
    suits = ", or what suits the model" if setting.by_model else ""
    return f"{setting.help}{allowed} (default {setting.default}{suits})"


def _number(text: str) -> int | float:
    try:
        return parse_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
