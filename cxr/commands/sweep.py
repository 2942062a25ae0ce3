"""The ``sweep`` command: settings side by side."""

from __future__ import annotations

import argparse

from cxr.commands.options import Commands, add_command, add_path, say_progress
from cxr.commands.report import add_model_and_data, split_patients

DESCRIPTION = """\
Try settings side by side: guidance, where it ends, steps, weight of the LoRA. Measured by the extractor small
beside training patients, so that neither the judges nor the reference of a report choose anything.
"""


def add_sweep_parser(commands: Commands) -> None:
    parser = add_command(commands, "sweep", _sweep, "try settings side by side", DESCRIPTION)
    add_model_and_data(parser)
    add_path(parser, "--output", "FILE.json", "where to write the figures", required=True)


def _sweep(arguments: argparse.Namespace) -> int:
    from cxr.evaluate.own_report import Model
    from cxr.evaluate.sweep import run_sweep
    from cxr.images.atomic import write_whole
    from cxr.metrics.result import to_json

    training, model = split_patients(arguments).training, Model(arguments.model, arguments.adapter)
    write_whole(arguments.output, to_json(run_sweep(model, training, arguments.work, say_progress)))
    return 0
