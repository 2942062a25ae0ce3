"""How often a judge is right on real radiographs of patients whom nobody has learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr.evaluate.sections.fidelity import make_reading, measure_agreement
from cxr.images.squares import read_squares
from cxr.judges.judge import Judge, read_labels
from cxr.judges.networks import SIZE
from cxr.labels.radiograph import Radiograph
from cxr.labels.targets import LABELS, targets_of
from cxr.metrics.agreement import JUDGEABLE_AUROC
from cxr.metrics.intervals import middle


def measure_reliability(judge: Judge, records: Sequence[Radiograph]) -> dict[str, Any]:
    """What the receipts of the page show beside each reading.

    Args:
        judge: with its thresholds fixed.
        records: real radiographs of other patients than it was trained on.
    Returns:
        judge_sha256, num_images, num_patients, labels (balanced accuracy, AUROC with interval, counts, judgeable), age.
    """
    scores = read_labels(judge.network, read_squares([record.path for record in records], SIZE))
    patients = [record.patient_id for record in records]
    found = measure_agreement(make_reading(scores, targets_of(records), patients), judge.thresholds)
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
    return {
        "judge_sha256": judge.sha256,
        "num_images": len(records),
        "num_patients": len(set(patients)),
        "labels": labels,
        "age": {"mae": float(found.mae[0]), "within_10": float(found.within[0])},
    }
