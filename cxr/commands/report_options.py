"""What the commands that measure images share: how it is measured, and where the report goes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.commands.options import add_path, say_progress, say_result

if TYPE_CHECKING:
    from cxr.evaluate.evaluation import Options
    from cxr.evaluate.sets import Sets
    from cxr.evaluate.tools import Tools


def add_report_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the options of both commands that write a report: where it goes, and what it measures."""
    add_path(parser, "--output", "REPORT", "folder for the report", required=required)
    add_tools(parser)
    parser.add_argument("--sensitivity", action="store_true", help="also degrade real images step by step")
    parser.add_argument("--utility", action="store_true", help="also train classifiers on the images; takes minutes")
    add_path(parser, "--sweep", "FILE.json", "what 'sweep' wrote, to show with it")
    add_path(parser, "--readings", "FILE.json", "what readers of a study sent back; may be repeated", action="append")
    add_path(
        parser,
        "--audit",
        "JUDGE.safetensors",
        "a judge that shares no patient with the model: does it find what the others find?",
    )


def add_tools(parser: argparse.ArgumentParser) -> None:
    """Add what distances are computed on, and where features are kept."""
    parser.add_argument(
        "--extractor",
        action="append",
        metavar="NAME",
        help="what distances are computed on; may be repeated (`evaluate --help` names all)",
    )
    add_path(parser, "--cache", "DIR", "where features are kept (default: the user's cache)")
    parser.add_argument("--no-cache", action="store_true", help="keep no features")


def read_options(arguments: argparse.Namespace) -> Options:
    """What is to be measured.

    Raises:
        CxrError: the file of the sweep or of the auditing judge cannot be read.
    """
    from cxr.evaluate.evaluation import Options, read_sweep
    from cxr.judges.judge import load_judge

    sweep = arguments.sweep and read_sweep(arguments.sweep)
    auditor = load_judge(arguments.audit) if arguments.audit is not None else None
    return Options(arguments.sensitivity, arguments.utility, sweep, tuple(arguments.readings or ()), auditor)


def tools_of(arguments: argparse.Namespace) -> Tools:
    """What measures, as the options of `add_tools` say."""
    from cxr.evaluate import default_tools
    from cxr.evaluate.extractors.extractor import default_cache

    cache = None if arguments.no_cache else arguments.cache or default_cache()
    return default_tools(arguments.extractor or (), cache, say_progress)


def measure(sets: Sets, options: Options, arguments: argparse.Namespace) -> int:
    """Measure, write the report, and say where it lies."""
    from cxr.evaluate import evaluate, write_report

    found = evaluate(sets, tools_of(arguments), options)
    return say_written(write_report(found.report, arguments.output, found.pictures))


def say_written(paths: list[Path]) -> int:
    """Say which files were written, plots and pictures left out."""
    for path in paths:
        if path.parent.name not in {"plots", "pictures"}:
            say_result(str(path))
    return 0
