"""The actions of ``evaluate`` beyond one folder: several models beside one another, and pages for human readers."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.commands.options import Commands, add_command, add_path, check_numbers, say_progress
from cxr.commands.report_options import add_tools, say_written, tools_of
from cxr.request.errors import RequestError

STUDY_IMAGES = 30


def add_model_actions(parser: argparse.ArgumentParser) -> None:
    """Add ``compare``, ``utility`` and ``study``."""
    actions = parser.add_subparsers(title="instead of one folder", metavar="WHAT")
    _add_compare(actions)
    _add_utility(actions)
    _add_study(actions)


def _add_compare(commands: Commands) -> None:
    summary = "several models in one table, with tests of their differences"
    parser = add_command(commands, "compare", _compare, summary)
    _add_models(parser)
    add_path(parser, "--training", "DIR", "what the models have learnt from")
    add_path(parser, "--output", "DIR", "folder for the comparison", required=True)
    parser.add_argument("--utility", action="store_true", help="also train classifiers on the images; takes minutes")
    add_tools(parser)


def _add_utility(commands: Commands) -> None:
    summary = "what generated images add when few real ones are there to learn from"
    parser = add_command(commands, "utility", _utility, summary)
    _add_models(parser)
    add_path(parser, "--training", "DIR", "labelled real images to learn from", required=True)
    parser.add_argument(
        "--counts",
        type=int,
        nargs="+",
        metavar="N",
        help="numbers of real images to learn from (default: 100 300 1000)",
    )
    add_path(parser, "--output", "DIR", "folder for the tables", required=True)


def _add_study(commands: Commands) -> None:
    parser = add_command(commands, "study", _study, "a page for blinded readers; --readings reads what they send back")
    add_path(parser, "generated", "DIR", "images in question")
    add_path(parser, "--reference", "DIR", "real images", required=True)
    add_path(parser, "--output", "FILE.html", "where to write the page", required=True)
    parser.add_argument("--count", type=int, default=STUDY_IMAGES, help="of each kind (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and the order")


def _add_models(parser: argparse.ArgumentParser) -> None:
    add_path(parser, "models", "DIR", "images of each model; its name is the folder's", nargs="+")
    add_path(parser, "--reference", "DIR", "real images no model has seen", required=True)


def _compare(arguments: argparse.Namespace) -> int:
    from cxr.evaluate import compare_folders, write_comparison

    found = compare_folders(
        _models(arguments), arguments.reference, tools_of(arguments), arguments.training, utility=arguments.utility
    )
    return say_written(write_comparison(found, arguments.output))


def _utility(arguments: argparse.Namespace) -> int:
    from cxr.evaluate import read_set, write_comparison
    from cxr.evaluate.few_real import COUNTS, compare_few_real

    made = {name: read_set(folder) for name, folder in _models(arguments).items()}
    real = read_set(arguments.training), read_set(arguments.reference)
    found = compare_few_real(made, *real, arguments.counts or COUNTS, say=say_progress)
    return say_written(write_comparison(found, arguments.output, "few_real"))


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
    return say_written([arguments.output])
