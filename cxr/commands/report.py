"""The ``report`` command: a model's own report, made again."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cxr.commands.options import Commands, add_command, add_model_options, add_path, say_progress
from cxr.commands.report_options import add_report_options, measure, read_options
from cxr.labels.split import JUDGING_SHARE, VALIDATION_SHARE

if TYPE_CHECKING:
    from cxr.labels.split import Split

DESCRIPTION = """\
Make a model's own report again: make the images from the fixed prompts, then measure them against patients
that neither the model nor the judges have seen. Images that are in WORK already are not made again.
"""
SHARES = {"validation": VALIDATION_SHARE, "judging": JUDGING_SHARE}


def add_report_parser(commands: Commands) -> None:
    parser = add_command(commands, "report", _report, "make a model's own report again", DESCRIPTION)
    add_model_and_data(parser)
    add_path(parser, "--control", "DIR", "images of a LoRA over-trained on purpose")
    add_report_options(parser)


def add_model_and_data(parser: argparse.ArgumentParser) -> None:
    """Add which model is measured beside which patients."""
    add_path(parser, "--data", "DIR", "folder of real images; may be repeated", action="append", required=True)
    for name, share in SHARES.items():
        parser.add_argument(f"--{name}-share", type=float, default=share, help="of the patients (default %(default)s)")
    add_path(parser, "--work", "WORK", "folder for the images", required=True)
    add_model_options(parser)


def split_patients(arguments: argparse.Namespace) -> Split:
    """The patients of the folders of real images, as training has split them.

    Raises:
        DataError: a folder cannot be read.
    """
    from cxr.folders.radiographs import read_folders
    from cxr.labels.split import split_by_patient

    return split_by_patient(read_folders(arguments.data), arguments.validation_share, arguments.judging_share)


def _report(arguments: argparse.Namespace) -> int:
    from cxr.evaluate.own_report import Model, make_sets

    options = read_options(arguments)  # first: a mistake in them should not cost the time that images take
    model = Model(arguments.model, arguments.adapter)
    sets = make_sets(model, split_patients(arguments), arguments.work, arguments.control, say_progress)
    return measure(sets, options, arguments)
