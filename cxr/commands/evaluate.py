"""The ``evaluate``, ``report`` and ``sweep`` commands: which options there are and what they start."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.commands.options import Commands, add_command, add_model_options, say_progress, say_result
from cxr.labels.split import JUDGING_SHARE, VALIDATION_SHARE

if TYPE_CHECKING:
    from cxr.evaluate.comparison import Sets
    from cxr.evaluate.evaluation import Options

EVALUATE = """\
Measure a folder of generated images against a folder of real ones, without network.

Writes REPORT/report.html, report.md and report.json: distances, diversity, prompt fidelity, copies and
failures, each with the number of images, an interval, and rows to compare with. What the folders do
not allow is left out, and the report says so.
"""
EVALUATE_EPILOG = """\
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
REPORT = """\
Make a model's own report again: make the images from the fixed prompts, then measure them against patients
that neither the model nor the judges have seen. Images that are in WORK already are not made again.
"""
SWEEP = """\
Try settings side by side: guidance, where it ends, steps, weight of the LoRA. Measured by the extractor small
beside training patients, so that neither the judges nor the reference of a report choose anything.
"""
DEFAULT_EXTRACTORS = ("small", "residual")  # never one alone: what only one extractor finds is doubtful
SHARES = {"validation": VALIDATION_SHARE, "judging": JUDGING_SHARE}


def add_evaluate_parsers(commands: Commands) -> None:
    """Add ``evaluate``, ``report`` and ``sweep`` to the other commands."""
    evaluate = add_command(commands, "evaluate", _evaluate, "measure generated images", EVALUATE, EVALUATE_EPILOG)
    for name, text in (("generated", "images in question"), ("reference", "real images the generator has not seen")):
        evaluate.add_argument(f"--{name}", type=Path, required=True, metavar="DIR", help=text)
    for name, text in (
        ("baseline", "the same prompts, made without LoRA"),
        ("prompted", "images for prompt fidelity (default: the generated ones)"),
        ("prompted-baseline", "the same prompts, made without LoRA"),
        ("diversity", "several images of each prompt (default: the generated ones)"),
        ("training", "real images the generator has learnt from; needed to look for copies"),
        ("control", "images of a LoRA over-trained on purpose, which the copy check must flag"),
    ):
        evaluate.add_argument(f"--{name}", type=Path, metavar="DIR", help=text)
    _add_common(evaluate)
    report = add_command(commands, "report", _report, "make a model's own report again", REPORT)
    _add_model_and_data(report)
    report.add_argument("--control", type=Path, metavar="DIR", help="images of a LoRA over-trained on purpose")
    _add_common(report)
    sweep = add_command(commands, "sweep", _sweep, "try settings side by side", SWEEP)
    _add_model_and_data(sweep)
    sweep.add_argument("--output", type=Path, required=True, metavar="FILE.json", help="where to write the figures")


def _add_model_and_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="folder of real images; may be repeated",
    )
    for name, share in SHARES.items():
        parser.add_argument(f"--{name}-share", type=float, default=share, help="of the patients (default %(default)s)")
    parser.add_argument("--work", type=Path, required=True, metavar="WORK", help="folder for the images")
    add_model_options(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
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
    from cxr.evaluate.comparison import Sets
    from cxr.evaluate.sets import read_set

    options = _options(arguments)
    names = (
        *("generated", "reference", "baseline", "prompted", "prompted_baseline"),
        *("diversity", "training", "control"),
    )
    folders = {name: getattr(arguments, name) for name in names}
    sets: dict[str, Any] = {name: folder and read_set(folder) for name, folder in folders.items()}
    return _measure(Sets(**sets), options, arguments)


def _report(arguments: argparse.Namespace) -> int:
    from cxr.evaluate.own_report import Model, make_sets
    from cxr.folders.radiographs import read_folders
    from cxr.labels.split import split_by_patient

    options = _options(arguments)  # first: a mistake in them should not cost the time that images take
    split = split_by_patient(read_folders(arguments.data), arguments.validation_share, arguments.judging_share)
    model = Model(arguments.model, arguments.adapter)
    return _measure(make_sets(model, split, arguments.work, arguments.control, say_progress), options, arguments)


def _sweep(arguments: argparse.Namespace) -> int:
    from cxr.evaluate.own_report import Model
    from cxr.evaluate.sweep import GRID, run_sweep
    from cxr.folders.radiographs import read_folders
    from cxr.labels.split import split_by_patient
    from cxr.metrics.result import to_json, write_file

    split = split_by_patient(read_folders(arguments.data), arguments.validation_share, arguments.judging_share)
    result = run_sweep(Model(arguments.model, arguments.adapter), split.training, arguments.work, GRID, say_progress)
    write_file(arguments.output, to_json(result))
    return 0


def _options(arguments: argparse.Namespace) -> Options:
    from cxr.evaluate.evaluation import Options, read_sweep

    return Options(arguments.sensitivity, arguments.utility, arguments.sweep and read_sweep(arguments.sweep))


def _measure(sets: Sets, options: Options, arguments: argparse.Namespace) -> int:
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
