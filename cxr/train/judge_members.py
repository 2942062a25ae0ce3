"""Networks that each left out another part of the patients -> one judge, with thresholds from what each left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr.judges.judge import load_judge
from cxr.judges.networks import MeanNetwork
from cxr.judges.reliability import read_films
from cxr.labels.radiograph import Radiograph
from cxr.labels.split import Split
from cxr.labels.targets import targets_of
from cxr.train.judge_task import choose_thresholds, write_judge


class OutOfFold(NamedTuple):
    """Every film read by the network that has not seen its patient.

    Args:
        records: N films.
        scores: [N, len(LABELS) + 1], as `read_labels` gives them.
    """

    records: list[Radiograph]
    scores: NDArray[np.float64]


def join_members(members: Sequence[Path], folds: Sequence[Split], path: Path) -> OutOfFold:
    """Write the mean of several judges as one judge, with thresholds from what each has not seen.

    Args:
        members: files of judges of one architecture.
        folds: what each learnt from, and left out; together they leave out everybody once.
        path: of the file to write.
    """
    judges = [load_judge(member) for member in members]
    records = [record for fold in folds for record in fold.held_out]
    scores = np.concatenate([read_films(judge, fold.held_out) for judge, fold in zip(judges, folds, strict=True)])
    facts = judges[0].facts | {"members": len(judges), "num_training": len(records), "num_validation": 0}
    patients = sorted({record.patient_id for record in records})
    mean = MeanNetwork([judge.network for judge in judges])
    write_judge(path, mean, facts, choose_thresholds(scores, targets_of(records)), patients)
    return OutOfFold(records, scores)
