"""The command ``models``: the table of base models, with what to know before using one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from cxr.commands.options import Commands, add_command, say_result
from cxr.models.hub.names import ALLOWED_SUFFIXES
from cxr.models.preset_table import PRESETS, Preset
from cxr.request.errors import ModelError
from cxr.request.settings import SETTINGS

DESCRIPTION = """\
List the base models that --model knows by name, or show one of them in full.

Besides these, --model takes a folder in diffusers format and owner/name[@revision] of the Hugging Face Hub.
"""


def add_models_parser(commands: Commands) -> None:
    parser = add_command(commands, "models", _list, "list the base models that can be chosen by name", DESCRIPTION)
    ways = parser.add_subparsers(metavar="show", title="one model")
    show = add_command(ways, "show", _show, "everything that is known about one model")
    show.add_argument("name", metavar="NAME", help="a name of the list")


def describe(preset: Preset) -> Iterator[tuple[str, str]]:
    """What is known about a model, as (name, value) in the order of importance."""
    yield "base", preset.hub_id or "shipped with the program"
    yield "files", _files(preset)
    yield "licence", preset.license
    yield "data terms", preset.data_terms
    yield "gated", preset.gated
    yield "image size", f"{preset.resolution} x {preset.resolution} px" if preset.resolution else "unknown"
    yield "prompt form", preset.prompt_form
    yield "LoRA", preset.default_adapter
    yield "pipeline", preset.family or "unknown"
    yield "scheduler", preset.scheduler or "the model's own"
    for name, value in preset.defaults.items():
        yield SETTINGS[name].label.lower(), f"{value:g}"
    for note in preset.notes:
        yield "note", note
    if preset.unusable:
        yield "not usable", preset.unusable


def _files(preset: Preset) -> str:
    if preset.folder is not None:
        return "checked by their hash"
    which = f"pinned to commit {preset.revision}" if preset.is_pinned else "unpinned: the newest are taken"
    return f"{which}; only {', '.join(ALLOWED_SUFFIXES)} of the parts that its pipeline names"


def _list(_: argparse.Namespace) -> int:
    for preset in PRESETS.values():
        facts = dict(describe(preset))
        pinned = "pinned" if preset.is_pinned else "unpinned"
        text = (
            f"{preset.name}: {facts['base']}, {pinned}, {facts['image size']}, licence {facts['licence']}; "
            f"data: {facts['data terms']}; gated: {preset.gated}; prompt form: {preset.prompt_form}"
        )
        say_result(f"{text}; NOT USABLE: {preset.unusable}" if preset.unusable else text)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    if arguments.name not in PRESETS:
        raise ModelError(f"model {arguments.name!r} is not in the table; it has {', '.join(PRESETS)}")
    say_result(arguments.name)
    for name, value in describe(PRESETS[arguments.name]):
        say_result(f"{name}: {value}")
    return 0
