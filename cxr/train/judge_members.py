"""Networks that each left out another part of the patients -> one judge, with thresholds from what each left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxr.images.squares import read_squares
from cxr.judges.judge import load_judge, read_labels
from cxr.judges.networks import SIZE, MeanNetwork
from cxr.judges.reliability import measure_scores
from cxr.labels.split import Split
from cxr.labels.targets import targets_of
from cxr.train.judge_task import choose_thresholds, write_judge


def join_members(members: Sequence[Path], folds: Sequence[Split], path: Path) -> dict[str, Any]:
    """Write the mean of several judges as one judge.

    Args:
        members: files of judges of one architecture.
        folds: what each learnt from, and left out; together they leave out everybody once.
        path: of the file to write.
    Returns:
        What `measure_scores` finds where each film is read by the member that has not seen its patient.
    """
    judges = [load_judge(member) for member in members]
    records = [record for fold in folds for record in fold.held_out]
    scores = np.concatenate([
        read_labels(judge.network, read_squares([record.path for record in fold.held_out], SIZE))
        for judge, fold in zip(judges, folds, strict=True)
    ])  # fmt: skip
    thresholds = choose_thresholds(scores, targets_of(records))
    facts = judges[0].facts | {"members": len(judges), "num_training": len(records), "num_validation": 0}
    patients = sorted({record.patient_id for record in records})
    write_judge(path, MeanNetwork([judge.network for judge in judges]), facts, thresholds, patients)
    return measure_scores(scores, records, np.array([np.nan if t is None else t for t in thresholds]))
