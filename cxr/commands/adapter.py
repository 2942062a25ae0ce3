"""The ``adapter`` command: list LoRAs, show a card, convert a pickle."""

from __future__ import annotations

import argparse

from cxr.commands.options import Commands, add_command, add_path, say_progress, say_result

DESCRIPTION = """\
List the LoRAs that can be used, show what one says about itself, or convert one to safetensors.

NAME is one that "adapter list" prints, or local:PATH of a file or folder.
"""
CONVERT = """\
Convert a LoRA that torch.save wrote (.bin, .pt, .pth, .ckpt) to safetensors.

The file is read without running anything of it, in a process with 1 GB of memory and 60 seconds.
Only dictionaries of floating-point tensors are accepted; the result is checked like any LoRA.
"""
EPILOG = """\
examples:
  python -m cxr adapter list
  python -m cxr adapter show clinical
  python -m cxr adapter convert lora.bin --output lora.safetensors
  python -m cxr generate "normal chest x-ray" --output out \\
      --adapter clinical:0.8,local:lora.safetensors:0.5
"""


def add_adapter_parsers(commands: Commands) -> None:
    """Add ``adapter`` and its alias ``adapters`` to the other commands."""
    adapter = add_command(commands, "adapter", _list, "list, show or convert LoRAs", DESCRIPTION, EPILOG)
    actions = adapter.add_subparsers(title="actions", metavar="ACTION")
    add_command(actions, "list", _list, "list the LoRAs that can be used")
    show = add_command(actions, "show", _show, "show the card of a LoRA")
    show.add_argument("adapter", metavar="NAME", help='a name that "adapter list" prints, or local:PATH')
    convert = add_command(actions, "convert", _convert, "convert a pickle to safetensors", CONVERT)
    add_path(convert, "file", "FILE", "what torch.save wrote")
    add_path(convert, "--output", "FILE.safetensors", "the file to write", required=True)
    add_command(commands, "adapters", _list, 'same as "adapter list"', "List the usable LoRAs.")


def _list(arguments: argparse.Namespace) -> int:
    from cxr.lora.find import LORA_ROOT, list_adapters

    adapters = list_adapters()
    if not adapters:
        say_progress(f"no LoRA in {LORA_ROOT}")
    for info in adapters:
        facts = f"{info.name}: rank {info.rank}, alpha {info.lora_alpha:g}, {info.size_bytes / 1e6:.1f} MB"
        say_result("; ".join([f"{facts}, for {info.base_model}, licence {info.license}", *info.notes]))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from cxr.lora.facts import card_rows
    from cxr.lora.find import describe_adapters

    for info in describe_adapters(arguments.adapter):
        say_result(f"LoRA {info.name}")
        for what, fact in card_rows(info):
            say_result(f"{what}: {fact}")
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from cxr.lora.from_pickle import convert_adapter

    file = convert_adapter(arguments.file, arguments.output)
    silent = " and ".join(file.components_without_alpha)
    note = f"; no alpha in the file for {silent}: the rank is used" if silent else ""
    say_result(f"{arguments.output}: {file.num_tensors:,} tensors, sha256:{file.sha256}{note}")
    return 0
