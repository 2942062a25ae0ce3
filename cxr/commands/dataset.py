"""The ``dataset`` command: a labelled data set from a plan."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from cxr.commands.options import (
    Commands,
    add_command,
    add_model_options,
    add_path,
    add_settings,
    dataset_options_of,
    say_result,
)
from cxr.models.presets import request_defaults
from cxr.request.errors import RequestError
from cxr.request.messages import duration
from cxr.request.settings import DATASET_OPTIONS

if TYPE_CHECKING:
    from cxr.dataset.plan import Plan

DESCRIPTION = """\
Make a labelled data set from a plan: a cohort table, a list of prompts, or a grid of settings.

If it is killed, the same command continues; at most the image in hand is lost. The same
job runs in many processes, on one machine or many that share a folder, and gives the same bytes:

  accelerate launch -m cxr dataset plan.yaml --output DIR              a process for each GPU
  torchrun --nproc-per-node 8 -m cxr dataset plan.yaml --output DIR    8 processes without a GPU
"""
EPILOG = """\
a plan (YAML; `examples/plan.yaml` shows every part):
  cohort:                          each entry: findings, sex, age, view, side, count
    - findings: [Effusion, Edema]  a list: each of them gets the whole count
      sex: {F: 50, M: 50}          a table of shares: divides the count
      age: NIH                     years, a range such as 40-60, or ages as in NIH ChestX-ray14
      view: PA
      side: left                   or right, of findings that have one; nowhere in particular if it is missing
      count: 250
  prompts: [...]                   texts, or {prompt, count, seed}
  pairs:                           patients with one seed and two images: as drawn, and with something changed
    - {findings: Mass, count: 10, counterfactual: {findings: No Finding}}     or another age, sex or view
  grid: {prompt: [...], guidance_scale: [1, 2, 4], seed: [1, 2]}
  settings: {num_inference_steps: 8, bit_depth: 16}
  split: {train: 0.8, test: 0.2}   by synthetic patient
  seed: 0
  A CSV file with the columns of a cohort, or with a column prompt, is a plan, too.

exit codes:
  0 all images are there, 1 some could not be made with any of their seeds, 2 wrong input or nowhere to
  write, 130 and 143 stopped by Ctrl-C and SIGTERM
"""


def add_dataset_parser(commands: Commands) -> None:
    parser = add_command(commands, "dataset", _dataset, "make a labelled data set from a plan", DESCRIPTION, EPILOG)
    add_path(parser, "plan", "PLAN", ".yaml or .csv")
    add_path(parser, "--output", "DIR", "folder of the data set; continued if begun")
    parser.add_argument("--dry-run", action="store_true", help="only say what it would make and take")
    add_model_options(parser)
    add_settings(parser, *DATASET_OPTIONS)


def _dataset(arguments: argparse.Namespace) -> int:
    from cxr.dataset.plan_file import read_plan

    options = dataset_options_of(arguments)
    plan = read_plan(arguments.plan, defaults=request_defaults(arguments.model))
    if arguments.dry_run:
        return _dry_run(plan, arguments, options["num_threads"])
    if arguments.output is None:
        raise RequestError("--output is missing; name the folder of the data set, or use --dry-run")
    from cxr.dataset.make import Options, run_dataset

    return run_dataset(plan, arguments.output, Options(arguments.model, arguments.adapter, **options))


def _dry_run(plan: Plan, arguments: argparse.Namespace, num_threads: int) -> int:
    import torch

    from cxr.dataset.estimate import describe_plan, estimate
    from cxr.generate.model import load_model

    for line in describe_plan(plan):
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
    torch.set_num_threads(num_threads)
    taken = estimate(plan, load_model(arguments.model, arguments.adapter))
    each_s = taken.seconds / taken.num_images
    say_result(f"about {duration(taken.seconds)} in one process here ({each_s:.2f} s an image)")
    say_result(f"about {taken.size_bytes / 1e6:,.1f} MB on disk")
    return 0
