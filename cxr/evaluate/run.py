"""Folders -> one report."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from cxr.evaluate.comparison import Sets, check_sets
from cxr.evaluate.pages.write import to_plain
from cxr.evaluate.parts import SEED, Parts, Tools, library_versions
from cxr.evaluate.pictures import draw_closest_pairs, draw_examples
from cxr.evaluate.sections import distances
from cxr.evaluate.sections.goals import check_goals
from cxr.request.errors import DataError

FORMAT = 1


@dataclass(frozen=True)
class Options:
    """What is measured only when asked for, since it takes minutes.

    Args:
        sensitivity: distances of real images that are made worse step by step.
        utility: classifiers trained on the images.
        sweep: figures of other settings, from `read_sweep`, to be shown with the report.
    """

    sensitivity: bool = False
    utility: bool = False
    sweep: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Outcome:
    """A report, and the pictures that go with it: name -> [H, W] uint8."""

    report: dict[str, Any]
    pictures: dict[str, NDArray[np.uint8]]


def evaluate(sets: Sets, tools: Tools, options: Options = Options()) -> Outcome:
    """Measure everything that the given sets allow.

    Raises:
        DataError: as `check_sets`, or an image cannot be read.
    """
    check_sets(sets)
    parts = Parts(sets, tools)
    rows = [parts.measure("distances", functools.partial(parts.distances, one), one.id) for one in tools.extractors]
    copies = parts.measure("copies", parts.copies)
    report: dict[str, Any] = {
        "format": FORMAT,
        "title": f"Evaluation of {_subject(sets)}",
        "generated": sets.generated.describe(),
        "reference": sets.reference.describe(),
        "training": sets.training.describe() if sets.training is not None else None,
        "distances": rows,
        "rank_agreement": rank_agreement(rows),
        "sensitivity": parts.measure("sensitivity", parts.sensitivity) if options.sensitivity else [],
        "diversity": parts.measure("diversity", parts.diversity),
        "fidelity": parts.measure("fidelity", parts.fidelity),
        "copies": copies,
        "utility": parts.measure("utility", parts.utility) if options.utility else None,
        "failures": parts.measure("failures", parts.failures),
        "sweep": options.sweep,
        "versions": library_versions(),
    }
    if len(sets.generated) < distances.EXPLORATORY or len(sets.reference) < distances.EXPLORATORY:
        parts.notes.insert(0, f"Exploratory: fewer than {distances.EXPLORATORY:,} images of each kind.")
    report["goals"] = to_plain(check_goals(to_plain(report)))
    report["notes"] = parts.notes
    pictures = {"examples": draw_examples(sets.generated, sets.reference, SEED)}
    if copies is not None and sets.training is not None:
        pictures["closest_pairs"] = draw_closest_pairs(copies["pairs"], sets.generated, sets.training)
    return Outcome(report, pictures)


def _subject(sets: Sets) -> str:
    """Who made the images, or where that is unknown or mixed the name of their folder."""
    model, adapter = (sets.generated.recipe.get(name) for name in ("model", "adapter"))
    if not isinstance(model, str):
        return sets.generated.folder.resolve().name
    return f"{model} with the LoRA {adapter}" if isinstance(adapter, str) and adapter != "none" else model


def rank_agreement(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Do two extractors put the sets in the same order by KD? The mean rank correlation of all pairs of extractors.

    Source:
        Spearman (1904). None with one extractor, or with fewer than three rows.
    """
    orders = [[row["metrics"][0]["value"] for row in entry["rows"]] for entry in rows]
    if len(orders) < 2 or len(orders[0]) < 3:
        return None
    return float(np.mean([spearmanr(first, second).statistic for first, second in combinations(orders, 2)]))


def read_sweep(path: Path) -> Any:
    """What ``python -m cxr sweep`` wrote.

    Raises:
        DataError: it is not that.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not found["points"]:
            raise ValueError("it holds no points")
        return found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not what python -m cxr sweep wrote: {error}") from error
