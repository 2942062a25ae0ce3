"""Whether two models differ: the figures of each pair of them, tested on the same films and prompts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.measurements import Measurements
from cxr.evaluate.tools import Tools
from cxr.judges.prompt_agreement import PAIRED_RESAMPLES, paired_difference
from cxr.labels.targets import ATTRIBUTES
from cxr.metrics.intervals import holm, two_sided
from cxr.metrics.kernel import mmd, mmd_resamples
from cxr.metrics.result import JsonObject, MetricResult, figure_of


class PairedTest(TypedDict):
    """The difference of one figure of two models, with its p-value, and that corrected for the number of tests."""

    name: str
    first: str
    second: str
    difference: MetricResult
    p: float
    p_holm: NotRequired[float]


def paired_tests(
    measured: Mapping[str, Measurements], tools: Tools, attributes: Mapping[str, list[JsonObject]]
) -> list[PairedTest]:
    """Differences of each pair: KD on the same resamples of real films, AUROC on the prompts that both have.

    Args:
        measured: what measures each model, by its name.
        tools: what measures.
        attributes: of each model, as `cxr.evaluate.fidelity.Fidelity` has them.
    Returns:
        With p-values corrected for their number (Holm).
    """
    found: list[PairedTest] = []
    for first, second in combinations(measured, 2):
        for extractor in tools.extractors:
            real = measured[first].outputs.sample(measured[first].sets.reference, extractor)
            sides = [
                measured[name].outputs.sample(measured[name].sets.generated, extractor) for name in (first, second)
            ]
            values = [
                np.concatenate([[mmd(real, side)], mmd_resamples(real, side, resamples=PAIRED_RESAMPLES)])
                for side in sides
            ]
            count = min(map(len, sides))
            found.append(_test(f"KD by {extractor.name}", first, second, values[0] - values[1], count))
        judgeable = [{row["name"] for row in attributes[name] if row["judgeable"]} for name in (first, second)]
        if columns := [k for k, name in enumerate(ATTRIBUTES) if name in judgeable[0] & judgeable[1]]:
            found += _fidelity_tests(measured[first], measured[second], first, second, columns)
    corrected = holm([test["p"] for test in found])
    for test, p in zip(found, corrected, strict=True):
        test["p_holm"] = p
    return found


def _fidelity_tests(a: Measurements, b: Measurements, first: str, second: str, columns: list[int]) -> list[PairedTest]:
    images = [one.sets.asked for one in (a, b)]
    if not (shared := set(images[0].prompts) & set(images[1].prompts)):
        return []
    tests = []
    for name, judge in a.tools.judges.items():
        readings = [one.outputs.reading(judge, some, some.prompts) for one, some in zip((a, b), images, strict=True)]
        differences = paired_difference(readings[0], readings[1])[:, columns].mean(axis=1)
        tests.append(_test(f"AUROC of what {name} can measure", first, second, differences, len(shared)))
    return tests


def _test(name: str, first: str, second: str, differences: NDArray[np.float64], count: int) -> PairedTest:
    """A difference with its resamples [1 + B], from ``count`` images of the smaller set or prompts of both."""
    figure = figure_of(name, differences, num_generated=count)
    return {"name": name, "first": first, "second": second, "difference": figure, "p": two_sided(differences[1:])}
