"""Folders in, figures out: what the command line and other programs call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr.evaluate.compare import compare_models
from cxr.evaluate.evaluation import Evaluation, Options, evaluate
from cxr.evaluate.image_set import read_set
from cxr.evaluate.sets import Sets
from cxr.evaluate.tools import Tools, default_tools
from cxr.metrics.result import JsonObject


def read_sets(folders: Mapping[str, Path | str | None]) -> Sets:
    """What folders hold, by the fields of `Sets`; None where a set is left out.

    Raises:
        TypeError: `Sets` has no such field.
        DataError: a folder cannot be read.
    """
    sets: dict[str, Any] = {name: read_set(Path(folder)) for name, folder in folders.items() if folder is not None}
    return Sets(**sets)


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
    sets = read_sets({"generated": generated, "reference": reference, **others})
    return evaluate(sets, tools or default_tools(), options or Options())


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
