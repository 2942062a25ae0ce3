"""Folders in, figures out: what the command line and other programs call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr.evaluate.compare import compare_models
from cxr.evaluate.evaluation import Evaluation, Options, evaluate
from cxr.evaluate.extractors.registry import load_extractors
from cxr.evaluate.measurements import Tools
from cxr.evaluate.sets import Sets, read_set
from cxr.judges.judge import JUDGES, load_embedded
from cxr.metrics.result import JsonObject

DEFAULT_EXTRACTORS = ("small", "residual")  # never one alone: what only one extractor finds is doubtful


def default_tools(
    extractors: Sequence[str] = DEFAULT_EXTRACTORS,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Tools:
    """The extractors named, this project's judges, and where features are kept.

    Args:
        extractors: of `cxr.evaluate.extractors.registry.NAMES`, or of a plug-in.
        cache: folder of features and results; None keeps nothing.
        say: called with one line at each part.
    Raises:
        RequestError: an extractor is unknown.
        DataError: a file is missing.
    """
    judges = {name: load_embedded(name) for name in JUDGES}
    return Tools(load_extractors(extractors or DEFAULT_EXTRACTORS), judges, cache, say)


def evaluate_folder(
    generated: Path | str,
    reference: Path | str,
    tools: Tools | None = None,
    options: Options | None = None,
    **others: Path | str | None,
) -> Evaluation:
    """What ``python -m cxr evaluate`` measures.

    Args:
        generated: folder of the images in question.
        reference: folder of real films that the generator has not seen.
        tools: what measures; `default_tools` if None.
        options: what takes minutes.
        others: further folders by the fields of `Sets`: baseline, prompted, prompted_baseline, diversity, probes,
            training, control.
    Raises:
        TypeError: `Sets` has no such field.
        DataError: a folder cannot be read, or the comparison would mean nothing.
    """
    folders = {"generated": generated, "reference": reference, **others}
    sets: dict[str, Any] = {name: read_set(Path(folder)) for name, folder in folders.items() if folder is not None}
    return evaluate(Sets(**sets), tools or default_tools(), options or Options())


def compare_folders(
    models: Mapping[str, Path | str],
    reference: Path | str,
    tools: Tools | None = None,
    training: Path | str | None = None,
    *,
    utility: bool = False,
) -> JsonObject:
    """What ``python -m cxr evaluate compare`` measures: `compare_models` on folders.

    Args:
        models: name -> folder of its images.
        reference: folder of real films that no model has seen.
        tools: what measures; `default_tools` if None.
        training: folder of what the models have learnt from.
        utility: also train classifiers on the images.
    Raises:
        RequestError, DataError: as `compare_models`.
    """
    sets = {name: read_set(Path(folder)) for name, folder in models.items()}
    known = read_set(Path(training)) if training is not None else None
    return compare_models(sets, read_set(Path(reference)), tools or default_tools(), known, utility=utility)
