"""The ``evaluate`` command: folders of images against folders of real ones; ``report`` measures as it does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.commands.options import Commands, add_command, check_numbers, say_progress, say_result
from cxr.request.errors import RequestError

if TYPE_CHECKING:
    from cxr.evaluate.evaluation import Options
    from cxr.evaluate.measurements import Tools
    from cxr.evaluate.sets import Sets

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
REQUIRED = ("generated", "reference", "output")
STUDY_IMAGES = 30


def add_evaluate_parser(commands: Commands) -> None:
    """Add the command to the others."""
    parser = add_command(commands, "evaluate", _evaluate, "measure generated images", DESCRIPTION, EPILOG)
    for name, text in (
        ("generated", "images in question"),
        ("reference", "real images the generator has not seen"),
        ("baseline", "the same prompts, made without LoRA"),
        ("prompted", "images for prompt fidelity (default: the generated ones)"),
        ("prompted-baseline", "the same prompts, made without LoRA"),
        ("diversity", "several images of each prompt (default: the generated ones)"),
        ("probes", "images of prompts that deny a finding or name a side (default: the prompted ones)"),
        ("training", "real images the generator has learnt from; needed to look for copies"),
        ("control", "images of a LoRA over-trained on purpose, which the copy check must flag"),
    ):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=text)
    add_report_options(parser, required=False)
    parser.add_argument(
        "--readings", type=Path, action="append", metavar="FILE.json", help="what readers of a study sent back"
    )
    others = parser.add_subparsers(title="instead of one folder", metavar="WHAT")
    _add_compare(others)
    _add_utility(others)
    _add_study(others)


def add_report_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add what both commands that write a report have: where it goes, and what it measures."""
    parser.add_argument("--output", type=Path, required=required, metavar="REPORT", help="folder for the report")
    _add_tools(parser)
    parser.add_argument("--sensitivity", action="store_true", help="also degrade real images step by step")
    parser.add_argument("--utility", action="store_true", help="also train classifiers on the images; takes minutes")
    parser.add_argument("--sweep", type=Path, metavar="FILE.json", help="what 'sweep' wrote, to show with it")
    parser.add_argument(
        "--audit",
        type=Path,
        metavar="JUDGE.safetensors",
        help="a judge that shares no patient with the model: does it find what the others find?",
    )


def read_options(arguments: argparse.Namespace) -> Options:
    """What is to be measured.

    Raises:
        CxrError: the file of the sweep or of the auditing judge cannot be read.
    """
    from cxr.evaluate.evaluation import Options, read_sweep
    from cxr.judges.judge import load_judge

    sweep = arguments.sweep and read_sweep(arguments.sweep)
    readings = tuple(getattr(arguments, "readings", None) or ())
    auditor = load_judge(arguments.audit) if arguments.audit is not None else None
    return Options(arguments.sensitivity, arguments.utility, sweep, readings, auditor)


def measure(sets: Sets, options: Options, arguments: argparse.Namespace) -> int:
    """Measure, write the report, and say where it lies."""
    from cxr.evaluate import evaluate, write_report

    found = evaluate(sets, _tools(arguments), options)
    return _say(write_report(found.report, arguments.output, found.pictures))


def _evaluate(arguments: argparse.Namespace) -> int:
    from cxr.evaluate import Sets, read_set

    if missing := [f"--{name}" for name in REQUIRED if getattr(arguments, name) is None]:
        raise RequestError(
            f"the following arguments are required: {', '.join(missing)}; see python -m cxr evaluate --help"
        )
    options = read_options(arguments)
    names = (
        *("generated", "reference", "baseline", "prompted", "prompted_baseline"),
        *("diversity", "probes", "training", "control"),
    )
    folders = {name: getattr(arguments, name) for name in names}
    sets: dict[str, Any] = {name: folder and read_set(folder) for name, folder in folders.items()}
    return measure(Sets(**sets), options, arguments)


def _add_compare(commands: Commands) -> None:
    summary = "several models in one table, with tests of their differences"
    parser = add_command(commands, "compare", _compare, summary)
    _add_models(parser)
    parser.add_argument("--training", type=Path, metavar="DIR", help="what the models have learnt from")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the comparison")
    parser.add_argument("--utility", action="store_true", help="also train classifiers on the images; takes minutes")
    _add_tools(parser)


def _add_utility(commands: Commands) -> None:
    summary = "what generated images add when few real ones are there to learn from"
    parser = add_command(commands, "utility", _utility, summary)
    _add_models(parser)
    parser.add_argument(
        "--training", type=Path, required=True, metavar="DIR", help="labelled real images to learn from"
    )
    parser.add_argument(
        "--counts",
        type=int,
        nargs="+",
        metavar="N",
        help="numbers of real images to learn from (default: 100 300 1000)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the tables")


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", type=Path, nargs="+", metavar="DIR", help="images of each model; its name is the folder's"
    )
    parser.add_argument("--reference", type=Path, required=True, metavar="DIR", help="real images no model has seen")


def _add_study(commands: Commands) -> None:
    parser = add_command(commands, "study", _study, "one page for blind readers; --readings reads what they send back")
    parser.add_argument("generated", type=Path, metavar="DIR", help="images in question")
    parser.add_argument("--reference", type=Path, required=True, metavar="DIR", help="real images")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.html", help="where to write the page")
    parser.add_argument("--count", type=int, default=STUDY_IMAGES, help="of each kind (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and the order")


def _add_tools(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--extractor",
        action="append",
        metavar="NAME",
        help="what distances are computed on; may be repeated (`evaluate --help` names all)",
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where features are kept (default: the user's cache)")
    parser.add_argument("--no-cache", action="store_true", help="keep no features")


def _tools(arguments: argparse.Namespace) -> Tools:
    from cxr.evaluate import default_tools
    from cxr.evaluate.extractors.extractor import default_cache

    cache = None if arguments.no_cache else arguments.cache or default_cache()
    return default_tools(arguments.extractor or (), cache, say_progress)


def _compare(arguments: argparse.Namespace) -> int:
    from cxr.evaluate import compare_folders, write_comparison

    found = compare_folders(
        _models(arguments), arguments.reference, _tools(arguments), arguments.training, utility=arguments.utility
    )
    return _say(write_comparison(found, arguments.output))


def _utility(arguments: argparse.Namespace) -> int:
    from cxr.evaluate import read_set, write_comparison
    from cxr.evaluate.few_real import COUNTS, compare_few_real

    made = {name: read_set(folder) for name, folder in _models(arguments).items()}
    real = read_set(arguments.training), read_set(arguments.reference)
    found = compare_few_real(made, *real, arguments.counts or COUNTS, say=say_progress)
    return _say(write_comparison(found, arguments.output, "few_real"))


def _models(arguments: argparse.Namespace) -> dict[str, Path]:
    models = {folder.resolve().name: folder for folder in arguments.models}
    if len(models) < len(arguments.models):
        raise RequestError("two folders have the same name, which is the name of the model; rename one")
    return models


def _study(arguments: argparse.Namespace) -> int:
    from cxr.evaluate import read_set
    from cxr.evaluate.reader_study import make_study
    from cxr.images.atomic import write_whole

    check_numbers(arguments, {"count": (1, 1_000)})
    sets = read_set(arguments.generated), read_set(arguments.reference)
    write_whole(arguments.output, make_study(*sets, arguments.count, arguments.seed).encode())
    return _say([arguments.output])


def _say(paths: list[Path]) -> int:
    for path in paths:
        if path.parent.name not in {"plots", "pictures"}:
            say_result(str(path))
    return 0
