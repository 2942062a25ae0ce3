"""How often a judge is right on real radiographs of patients whom nobody has learnt from: measured, kept, read back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.images.squares import read_squares
from cxr.judges.judge import Judge, read_labels
from cxr.judges.networks import SIZE
from cxr.judges.readings import make_reading, measure_agreement
from cxr.labels.radiograph import Radiograph
from cxr.labels.targets import LABELS, targets_of
from cxr.metrics.agreement import JUDGEABLE_AUROC
from cxr.metrics.intervals import middle


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


def measure_reliability(judge: Judge, records: Sequence[Radiograph]) -> dict[str, Any]:
    """What the receipts of the page show beside each reading.

    Args:
        judge: with its thresholds fixed.
        records: real radiographs of other patients than it was trained on.
    Returns:
        judge_sha256, and what `measure_scores` gives.
    """
    scores = read_labels(judge.network, read_squares([record.path for record in records], SIZE))
    return {"judge_sha256": judge.sha256, **measure_scores(scores, records, judge.thresholds)}


def measure_scores(
    scores: NDArray[np.float64], records: Sequence[Radiograph], thresholds: NDArray[np.float64]
) -> dict[str, Any]:
    """How far what was read off real radiographs agrees with what is known of them.

    Args:
        scores: [N, len(LABELS) + 1], as `read_labels` gives them.
        records: N real radiographs.
        thresholds: [len(ATTRIBUTES)], fixed beforehand.
    Returns:
        num_images, num_patients, labels (balanced accuracy, AUROC with interval, counts, judgeable), age.
    """
    patients = [record.patient_id for record in records]
    found = measure_agreement(make_reading(scores, targets_of(records), patients), thresholds)
    labels = {}
    for column, name in enumerate(LABELS):
        area = float(found.auroc[0, column])
        labels[name] = {
            "balanced_accuracy": float(found.pf[0, column]),
            "auroc": area,
            "auroc_interval": list(middle(found.auroc[1:, column])),
            "num_positive": int(found.num_positive[column]),
            "num_negative": int(found.num_negative[column]),
            "judgeable": bool(np.isfinite(area) and area >= JUDGEABLE_AUROC),
        }
    age = {"mae": float(found.mae[0]), "within_10": float(found.within[0])}
    counts = {"num_images": len(records), "num_patients": len(set(patients))}
    return {**counts, "labels": labels, "age": age}


def read_reliability(text: str) -> Reliability:
    """Read the JSON of what `measure_reliability` found.

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
