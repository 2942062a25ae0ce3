"""The same figures by finding, sex, view and age: a mean over all may hide whom a model draws badly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.judges.judge import Judge
from cxr.judges.prompt_agreement import measure_agreement
from cxr.judges.readings import Reading
from cxr.labels.targets import ATTRIBUTES, LABELS
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.arrays import Flags
from cxr.metrics.kernel import kernel_distance
from cxr.metrics.result import MetricResult, figure_of_share
from cxr.metrics.sample import Sample

MIN_IMAGES = 40  # of a group, on each side
AGE_BANDS = ((0, 18), (18, 40), (40, 60), (60, 80), (80, 200))  # years, the end left out


class Group(TypedDict):
    """The figures of one group of patients.

    Args:
        kind: "view", "sex", "age" or "finding".
        name: of the group.
        metrics: "KD" and "PF", each where there are enough images.
    """

    kind: str
    name: str
    metrics: dict[str, MetricResult]


def groups_of(targets: NDArray[np.floating]) -> Iterator[tuple[str, str, Flags]]:
    """Kind of group, its name, and which images are in it.

    Args:
        targets: [N, len(LABELS) + 1] from `cxr.labels.targets.targets_of`.
    """
    findings = targets[:, [LABELS.index(name) for name in FINDINGS]] == 1
    for label, kind, yes, no in (("PA", "view", "PA", "AP"), ("male", "sex", "male", "female")):
        for name, value in ((yes, 1), (no, 0)):
            yield kind, name, targets[:, LABELS.index(label)] == value
    for low, high in AGE_BANDS:
        name = f"{low} to {high - 1} years" if high < AGE_BANDS[-1][1] else f"{low} years and more"
        yield "age", name, (targets[:, -1] >= low) & (targets[:, -1] < high)
    yield "finding", "none", targets[:, LABELS.index("abnormal")] == 0
    for number, name in enumerate(FINDINGS):
        yield "finding", name, findings[:, number]


def measure_groups(
    generated: tuple[Sample, NDArray[np.floating]],
    reference: tuple[Sample, NDArray[np.floating]],
    readings: Mapping[str, Reading],
    targets: NDArray[np.floating],
    judges: Mapping[str, Judge],
    judgeable: list[str],
) -> list[Group]:
    """KD and PF of each group that both sides have enough images of.

    Args:
        generated: features with their targets.
        reference: of real images, likewise.
        readings: what each judge read off the prompted images; may be empty.
        targets: of the prompted images.
        judges: by name.
        judgeable: attributes that the judges can measure; PF is the mean over them, by the lower judge.
    """
    prompted, real = list(groups_of(targets)), list(groups_of(reference[1]))
    rows: list[Group] = []
    for (kind, name, mine), (_, _, theirs), (_, _, asked) in zip(groups_of(generated[1]), real, prompted, strict=True):
        row: Group = {"kind": kind, "name": name, "metrics": {}}
        if min(mine.sum(), theirs.sum()) >= MIN_IMAGES:
            films, images = reference[0].take(np.flatnonzero(theirs)), generated[0].take(np.flatnonzero(mine))
            if films.codes.any() and images.codes.any():  # of two patients or more, whose codes begin at 0
                row["metrics"]["KD"] = kernel_distance(films, images)
        if readings and judgeable and asked.sum() >= MIN_IMAGES:
            row["metrics"]["PF"] = _fidelity(readings, judges, np.flatnonzero(asked), judgeable)
        if row["metrics"]:
            rows.append(row)
    return rows


def _fidelity(
    readings: Mapping[str, Reading], judges: Mapping[str, Judge], rows: NDArray[np.intp], names: list[str]
) -> MetricResult:
    columns = [ATTRIBUTES.index(name) for name in names]
    values = []
    for name, reading in readings.items():
        found = measure_agreement(reading.take(rows), judges[name].thresholds)
        # Within one sex nothing tells the sexes apart.
        if known := [column for column in columns if np.isfinite(found.pf[0, column])]:
            values.append((found.pf[:, known].mean(axis=1), found.num_independent(known)))
    if not values:
        return MetricResult("PF", np.nan, num_generated=len(rows))
    lower, count = min(values, key=lambda value: float(value[0][0]))
    return figure_of_share("PF", lower, count, num_generated=len(rows))
