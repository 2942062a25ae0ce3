"""How often a judge is right on real radiographs of patients no network has learnt from: measured, kept, read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.images.squares import read_squares
from cxr.judges.judge import Judge, read_labels
from cxr.judges.networks import SIZE
from cxr.labels.radiograph import Radiograph
from cxr.labels.targets import LABELS, NEAR_YEARS, targets_of
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.agreement import JUDGEABLE_AUROC, weighted_auroc, weighted_share
from cxr.metrics.arrays import Array
from cxr.metrics.intervals import middle, weightings

NO_AGE = {"mae": math.nan, "within_10": math.nan}
MIN_POSITIVE_FILMS = 25  # films that show a finding; an AUROC of fewer says little


@dataclass(frozen=True)
class Reliability:
    """What the judge reaches on real radiographs of patients it has not seen.

    Args:
        judge_sha256: of the judge's file.
        num_images: real images that it was tested on.
        balanced_accuracy: by label; NaN where it was not measured.
        judgeable: labels that a verdict on a single image can be relied on for.
        age_within_10: share of ages within `cxr.labels.targets.NEAR_YEARS`.
    """

    judge_sha256: str
    num_images: int
    balanced_accuracy: Mapping[str, float]
    judgeable: frozenset[str]
    age_within_10: float


class LabelScore(TypedDict):
    """How often a judge is right about one label.

    Args:
        balanced_accuracy: NaN without a threshold.
        auroc: NaN without films of both kinds.
        auroc_interval: its two ends.
        num_positive: films that show the label.
        num_negative: films that do not.
        judgeable: whether a verdict on a single image can be relied on.
    """

    balanced_accuracy: float
    auroc: float
    auroc_interval: list[float]
    num_positive: int
    num_negative: int
    judgeable: bool


class MeanScore(TypedDict):
    """Mean AUROC over some findings, with its interval and the number of findings."""

    value: float
    interval: list[float]
    num_findings: int


class JudgeScores(TypedDict):
    """How far what was read off real radiographs agrees with what is known of them.

    Args:
        num_images: radiographs.
        num_patients: whose they are.
        labels: by label.
        age: "mae" in years and "within_10", the share within `NEAR_YEARS`.
        mean_auroc: over "all" findings that are there and over the "frequent" ones, of `MIN_POSITIVE_FILMS` films.
    """

    num_images: int
    num_patients: int
    labels: dict[str, LabelScore]
    age: dict[str, float]
    mean_auroc: dict[str, MeanScore]


def read_films(judge: Judge, records: Sequence[Radiograph]) -> NDArray[np.float64]:
    """What a judge reads off radiographs: [N, len(LABELS) + 1], as `read_labels`."""
    return read_labels(judge.network, read_squares([record.path for record in records], SIZE))


def measure_scores(
    scores: NDArray[np.float64], records: Sequence[Radiograph], thresholds: NDArray[np.float64]
) -> JudgeScores:
    """How far what was read off real radiographs agrees with what is known of them, on all films and in all views.

    Unlike prompt fidelity (`cxr.judges.readings.comparisons`): a receipt is about one image of whatever kind, and
    published figures are of this kind, too.

    Args:
        scores: [N, len(LABELS) + 1], as `read_labels` gives them.
        records: N real radiographs.
        thresholds: [len(ATTRIBUTES)], fixed beforehand.
    """
    targets, patients = targets_of(records), np.array([record.patient_id for record in records])
    weights = weightings(patients)
    areas = np.full((len(weights), len(LABELS)), np.nan)
    labels: dict[str, LabelScore] = {}
    for column, name in enumerate(LABELS):
        known = ~np.isnan(targets[:, column])
        seen, there, counts = scores[known, column], targets[known, column] > 0, weights[:, known]
        areas[:, column] = weighted_auroc(seen, there, counts)
        right = [weighted_share(flags, side, counts[:1]) for flags, side in _sides(seen, there, thresholds[column])]
        area = float(areas[0, column])
        labels[name] = {
            "balanced_accuracy": float(np.mean(right)) if right else math.nan,
            "auroc": area,
            "auroc_interval": list(middle(areas[1:, column])),
            "num_positive": int(there.sum()),
            "num_negative": int((~there).sum()),
            "judgeable": bool(np.isfinite(area) and area >= JUDGEABLE_AUROC),
        }
    errors = np.abs(scores[:, -1] - targets[:, -1])[~np.isnan(targets[:, -1])]
    age = {"mae": float(errors.mean()), "within_10": float((errors <= NEAR_YEARS).mean())} if len(errors) else NO_AGE
    return {
        "num_images": len(records),
        "num_patients": len(set(patients)),
        "labels": labels,
        "age": age,
        "mean_auroc": {
            "all": _mean_auroc(areas, labels, 1),
            "frequent": _mean_auroc(areas, labels, MIN_POSITIVE_FILMS),
        },
    }


def _sides(
    seen: Array, there: NDArray[np.bool_], threshold: float
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """What is read right, and among which films, for those that show a label and those that do not."""
    return [(seen >= threshold, there), (seen < threshold, ~there)] if math.isfinite(threshold) else []


def _mean_auroc(areas: Array, labels: Mapping[str, LabelScore], min_films: int) -> MeanScore:
    """Mean AUROC over the findings that so many films show; resamples that lose all films of one are left out."""
    columns = [k for k, name in enumerate(LABELS) if name in FINDINGS and labels[name]["num_positive"] >= min_films]
    if not columns:
        return {"value": math.nan, "interval": [math.nan, math.nan], "num_findings": 0}
    means = areas[:, columns].mean(axis=1)
    return {"value": float(means[0]), "interval": list(middle(means[1:])), "num_findings": len(columns)}


def read_reliability(text: str) -> Reliability:
    """Read the JSON that ``python -m cxr train judge`` wrote.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is something else.
    """
    content = json.loads(text)
    labels = content["labels"].items()
    return Reliability(
        content["judge_sha256"],
        int(content["num_images"]),
        {name: _number(row["balanced_accuracy"]) for name, row in labels},
        frozenset(name for name, row in labels if row["judgeable"] is True),
        _number(content["age"]["within_10"]),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
