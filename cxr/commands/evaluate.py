"""The ``evaluate`` command: folders of images against folders of real ones; ``report`` measures as it does."""

from __future__ import annotations

import argparse

from cxr.commands.evaluate_models import add_model_actions
from cxr.commands.options import Commands, add_command, add_path
from cxr.commands.report_options import add_report_options, measure, read_options
from cxr.request.errors import RequestError

DESCRIPTION = """\
Measure a folder of generated images against a folder of real ones, without network.

Writes REPORT/report.html, report.md and report.json: distances, detail, diversity, prompt fidelity, copies
and failures, each with the number of images, an interval, and what real films get in its place. What the
folders do not allow is left out, and the report says so.
"""
EPILOG = """\
folders:
  Images of any size, and a metadata.csv or metadata.jsonl. Real images: file_name, findings, age, sex,
  view, patient_id. Generated images: file_name and prompt (or text); what `generate` wrote is right.

extractors:
  small, residual, dense
             this project's own, always there; the first two are used unless others are named
  rad-dino, clip, inception, xrv
             published by others; named without being in place they say what to put where
  Other packages add theirs as entry points of the group cxr_studio.extractors.

several models, and human readers:
  python -m cxr evaluate compare A B C --reference DIR --output DIR
  python -m cxr evaluate utility A B --training DIR --reference DIR --output DIR
  python -m cxr evaluate study A --reference DIR --output study.html
"""
FOLDERS = {
    "generated": "images in question",
    "reference": "real images the generator has not seen",
    "baseline": "the same prompts, made without LoRA",
    "prompted": "images for prompt fidelity (default: the generated ones)",
    "prompted-baseline": "the same prompts, made without LoRA",
    "diversity": "several images of each prompt (default: the generated ones)",
    "probes": "images of prompts that deny a finding or name a side (default: the prompted ones)",
    "training": "real images the generator has learnt from; needed to look for copies",
    "control": "images of a LoRA over-trained on purpose, which the copy check must flag",
}
REQUIRED = ("generated", "reference", "output")


def add_evaluate_parser(commands: Commands) -> None:
    parser = add_command(commands, "evaluate", _evaluate, "measure generated images", DESCRIPTION, EPILOG)
    for name, text in FOLDERS.items():
        add_path(parser, f"--{name}", "DIR", text)
    add_report_options(parser, required=False)
    add_model_actions(parser)


def _evaluate(arguments: argparse.Namespace) -> int:
    from cxr.evaluate.from_folders import read_sets

    if missing := [f"--{name}" for name in REQUIRED if getattr(arguments, name) is None]:
        raise RequestError(
            f"the following arguments are required: {', '.join(missing)}; see python -m cxr evaluate --help"
        )
    options = read_options(arguments)
    folders = {name: getattr(arguments, name) for name in (name.replace("-", "_") for name in FOLDERS)}
    return measure(read_sets(folders), options, arguments)
