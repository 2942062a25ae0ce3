"""The ``evaluate`` subcommand: which options there are and what they start."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.errors import OutputError

if TYPE_CHECKING:
    from cxr.data import Split


def add_evaluate_parser(subparsers: Any) -> None:
    """Add ``evaluate fidelity|copies``; the parsed arguments carry ``run``, called with them."""
    parser = subparsers.add_parser("evaluate", help="measure generated images", description="Measure generated images.")
    measures = parser.add_subparsers(required=True, metavar="fidelity|copies")
    fidelity = _add(measures, "fidelity", "do the images show what their prompts asked for?", _fidelity)
    fidelity.add_argument("--judge", type=Path, required=True, metavar="FILE", help="what 'train judge' wrote")
    fidelity.add_argument("--baseline", type=Path, metavar="DIR", help="the same prompts and seeds, made otherwise")
    copies = _add(measures, "copies", "are images copies of training images?", _copies)
    copies.add_argument("--sheet", type=Path, metavar="FILE.png", help="picture of the closest pairs")


def _add(measures: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = measures.add_parser(name, help=text, description=text.capitalize())
    parser.add_argument("--generated", type=Path, required=True, metavar="DIR", help="what 'generate' wrote")
    parser.add_argument(
        "--data", type=Path, action="append", required=True, metavar="DIR", help="the training folder; may be repeated"
    )
    parser.add_argument("--validation-share", type=float, default=0.05, help="patients held out (default %(default)s)")
    parser.add_argument("--judging-share", type=float, default=0.0, help="patients of judges (default %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.json", help="where to write the figures")
    parser.set_defaults(run=run)
    return parser


def _fidelity(arguments: argparse.Namespace) -> int:
    from cxr.evaluate.fidelity import as_markdown, measure_fidelity
    from cxr.evaluate.judge import load_judge

    held_out = _split(arguments).held_out
    rows = measure_fidelity(load_judge(arguments.judge), arguments.generated, arguments.baseline, held_out)
    _write(arguments.output, json.dumps([asdict(row) for row in rows], indent=2))
    _write(arguments.output.with_suffix(".md"), as_markdown(rows))
    return 0


def _copies(arguments: argparse.Namespace) -> int:
    from cxr.evaluate.memorisation import closest_pairs_sheet, measure_copies

    split = _split(arguments)
    figures, pairs = measure_copies(arguments.generated, split.training, split.held_out)
    _write(arguments.output, json.dumps(asdict(figures), indent=2))
    if arguments.sheet:
        closest_pairs_sheet(pairs, arguments.sheet)
    return 0


def _split(arguments: argparse.Namespace) -> Split:
    from cxr.data import read_folders, split_by_patient

    return split_by_patient(read_folders(arguments.data), arguments.validation_share, arguments.judging_share)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.rstrip() + "\n")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
