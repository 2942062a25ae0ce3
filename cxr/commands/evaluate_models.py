"""The actions of ``evaluate`` beyond one folder: several models beside one another, and pages for human readers."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.commands.options import Commands, add_command, check_numbers, named_path, say_progress
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
    parser.add_argument("--training", type=named_path, metavar="DIR", help="what the models have learnt from")
    parser.add_argument("--output", type=named_path, required=True, metavar="DIR", help="folder for the comparison")
    parser.add_argument("--utility", action="store_true", help="also train classifiers on the images; takes minutes")
    add_tools(parser)


def _add_utility(commands: Commands) -> None:
    summary = "what generated images add when few real ones are there to learn from"
    parser = add_command(commands, "utility", _utility, summary)
    _add_models(parser)
    parser.add_argument(
        "--training", type=named_path, required=True, metavar="DIR", help="labelled real images to learn from"
    )
    parser.add_argument(
        "--counts",
        type=int,
        nargs="+",
        metavar="N",
        help="numbers of real images to learn from (default: 100 300 1000)",
    )
    parser.add_argument("--output", type=named_path, required=True, metavar="DIR", help="folder for the tables")


def _add_study(commands: Commands) -> None:
    parser = add_command(commands, "study", _study, "a page for blinded readers; --readings reads what they send back")
    parser.add_argument("generated", type=named_path, metavar="DIR", help="images in question")
    parser.add_argument("--reference", type=named_path, required=True, metavar="DIR", help="real images")
    parser.add_argument("--output", type=named_path, required=True, metavar="FILE.html", help="where to write the page")
    parser.add_argument("--count", type=int, default=STUDY_IMAGES, help="of each kind (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and the order")


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", type=named_path, nargs="+", metavar="DIR", help="images of each model; its name is the folder's"
    )
    parser.add_argument(
        "--reference", type=named_path, required=True, metavar="DIR", help="real images no model has seen"
    )


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
