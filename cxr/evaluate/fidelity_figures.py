"""Figures of prompt fidelity from what judges agree on: shared by the rows of attributes and by their summary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cxr.judges.prompt_agreement import Agreement
from cxr.judges.readings import Reading
from cxr.metrics.agreement import JUDGEABLE_AUROC
from cxr.metrics.arrays import Array
from cxr.metrics.result import Facts, MetricResult, figure_of

MIN_REAL_FILMS = 25  # real films that show an attribute; fewer give no ceiling
MIN_CEILING = 0.55  # below, NPF would divide by almost nothing

Readings = Mapping[str, Reading]  # by side: "generated", "real" and, where there is one, "baseline"
Agreements = dict[str, dict[str, Agreement]]  # by side, then by judge


def normalised(pf: Array, ceiling: Array) -> Array:
    """(PF - 0.5) / (C - 0.5); NaN where the ceiling is below `MIN_CEILING`."""
    enough = ceiling >= MIN_CEILING
    return np.where(enough, (pf - 0.5) / np.where(enough, ceiling - 0.5, 1.0), np.nan)


def share_of_ceiling(
    pf: Array, ceiling: Array, results: tuple[MetricResult, MetricResult], result: str
) -> MetricResult:
    """`normalised` with an interval; where one of both is without errors, from the ends of their own intervals.

    Args:
        pf: as measured, then on the resamples.
        ceiling: likewise.
        results: both with their intervals.
        result: name of the figure.
    """
    made, real = results
    counts: Facts = {"num_generated": made.num_generated, "num_reference": real.num_reference}
    share = figure_of(result, normalised(pf, ceiling), **counts)
    if 1 not in (made.value, real.value):
        return share
    low, high = normalised(np.array([made.low, made.high]), np.array([real.high, real.low]))
    return replace(share, low=min(share.low, float(low)), high=max(share.high, float(high)))


def lower_judge(agreements: Mapping[str, Agreement], column: int) -> str:
    """The judge by whom an attribute fares worse; by name where they agree or cannot tell."""
    return min(agreements, key=lambda name: (or_last(float(agreements[name].pf[0, column])), name))


def is_judgeable(real: Mapping[str, Agreement], column: int) -> bool:
    """Whether all judges see an attribute in real films, and there are enough of those to know."""
    return all(
        one.auroc[0, column] >= JUDGEABLE_AUROC
        and min(one.num_positive[column], one.num_negative[column]) >= MIN_REAL_FILMS
        for one in real.values()
    )


def or_last(value: float) -> float:
    """For sorting: what is not known comes last."""
    return value if math.isfinite(value) else math.inf
