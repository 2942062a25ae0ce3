"""The ``sheet`` command: folders of images as one labelled picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.commands.options import Commands, add_command, check_numbers

DESCRIPTION = """\
Draw the images of one or more folders as one labelled PNG; equal prompts of several folders
stand together.
"""


def add_sheet_parser(commands: Commands) -> None:
    """Add the command to the others."""
    parser = add_command(commands, "sheet", _sheet, "draw folders of images as one contact sheet", DESCRIPTION)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help='what "generate" wrote')
    parser.add_argument("--output", type=Path, metavar="FILE.png", required=True, help="the picture to write")
    parser.add_argument("--columns", type=int, default=6, metavar="N", help="most images of a row (default 6)")


def _sheet(arguments: argparse.Namespace) -> int:
    check_numbers(arguments, {"columns": (1, None)})
    from cxr.folders.sheet import contact_sheet, rows_of_folders

    contact_sheet(rows_of_folders(arguments.folders, arguments.columns), arguments.output)
    return 0
