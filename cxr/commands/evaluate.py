"""The ``evaluate`` command: folders of images against folders of real ones; ``report`` measures as it does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.commands.options import Commands, add_command, say_progress, say_result

if TYPE_CHECKING:
    from cxr.evaluate.evaluation import Options
    from cxr.evaluate.sets import Sets

DESCRIPTION = """\
Measure a folder of generated images against a folder of real ones, without network.

Writes REPORT/report.html, report.md and report.json: distances, diversity, prompt fidelity, copies and
failures, each with the number of images, an interval, and rows to compare with. What the folders do
not allow is left out, and the report says so.
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
"""
DEFAULT_EXTRACTORS = ("small", "residual")  # never one alone: what only one extractor finds is doubtful


def add_evaluate_parser(commands: Commands) -> None:
    """Add the command to the others."""
    parser = add_command(commands, "evaluate", _evaluate, "measure generated images", DESCRIPTION, EPILOG)
    for name, text in (("generated", "images in question"), ("reference", "real images the generator has not seen")):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR", help=text)
    for name, text in (
        ("baseline", "the same prompts, made without LoRA"),
        ("prompted", "images for prompt fidelity (default: the generated ones)"),
        ("prompted-baseline", "the same prompts, made without LoRA"),
        ("diversity", "several images of each prompt (default: the generated ones)"),
        ("probes", "images of prompts that deny a finding or name a side (default: the prompted ones)"),
        ("training", "real images the generator has learnt from; needed to look for copies"),
        ("control", "images of a LoRA over-trained on purpose, which the copy check must flag"),
    ):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=text)
    add_report_options(parser)


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add what both commands that write a report have: where it goes, and what it measures."""
    parser.add_argument("--output", type=Path, required=True, metavar="REPORT", help="folder for the report")
    parser.add_argument(
        "--extractor",
        action="append",
        metavar="NAME",
        help="what distances are computed on; may be repeated (`evaluate --help` names all)",
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where features are kept (default: the user's cache)")
    parser.add_argument("--no-cache", action="store_true", help="keep no features")
    parser.add_argument("--sensitivity", action="store_true", help="also degrade real images step by step")
    parser.add_argument("--utility", action="store_true", help="also train classifiers on the images; takes minutes")
    parser.add_argument("--sweep", type=Path, metavar="FILE.json", help="what 'sweep' wrote, to show with it")


def _evaluate(arguments: argparse.Namespace) -> int:
    from cxr.evaluate.sets import Sets, read_set

    options = read_options(arguments)
    names = (
        *("generated", "reference", "baseline", "prompted", "prompted_baseline"),
        *("diversity", "probes", "training", "control"),
    )
    folders = {name: getattr(arguments, name) for name in names}
    sets: dict[str, Any] = {name: folder and read_set(folder) for name, folder in folders.items()}
    return measure(Sets(**sets), options, arguments)


def read_options(arguments: argparse.Namespace) -> Options:
    """What is to be measured.

    Raises:
        CxrError: the file of the sweep cannot be read.
    """
    from cxr.evaluate.evaluation import Options, read_sweep

    return Options(arguments.sensitivity, arguments.utility, arguments.sweep and read_sweep(arguments.sweep))


def measure(sets: Sets, options: Options, arguments: argparse.Namespace) -> int:
    """Measure, write the report, and say where it lies."""
    from cxr.evaluate.evaluation import evaluate
    from cxr.evaluate.extractors.extractor import default_cache
    from cxr.evaluate.extractors.registry import load_extractors
    from cxr.evaluate.measurements import Tools
    from cxr.evaluate.report.write import write_report
    from cxr.judges.judge import JUDGES, load_embedded

    cache = None if arguments.no_cache else arguments.cache or default_cache()
    judges = {name: load_embedded(name) for name in JUDGES}
    tools = Tools(load_extractors(arguments.extractor or DEFAULT_EXTRACTORS), judges, cache, say_progress)
    outcome = evaluate(sets, tools, options)
    for path in write_report(outcome.report, arguments.output, outcome.pictures):
        if path.name.startswith("report"):
            say_result(str(path))
    return 0
