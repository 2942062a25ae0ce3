"""The ``judge`` stage of the ``train`` command: one or several networks, joined and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.request.errors import DataError, RequestError

if TYPE_CHECKING:
    import torch

    from cxr.labels.radiograph import Radiograph
    from cxr.labels.split import Split
    from cxr.train.loop_settings import LoopSettings

THRESHOLD_SHARE = 0.15  # of the patients of a judge of one network: it sets its thresholds on them
MAX_MEMBERS = 20
JUDGE, RELIABILITY = "judge.safetensors", "reliability.json"


def train_judge(
    values: Mapping[str, Any], split: Split, settings: LoopSettings, out_dir: Path, device: torch.device
) -> None:
    """Train the networks of a judge one after the other, join them, and measure them on held-out patients.

    Args:
        split: whose held-out patients nothing is learnt from and no threshold is set on.
        settings: of each network; the seeds count up from this one.
        out_dir: training continues from what is here.
        device: where to train.
    Raises:
        RequestError, DataError: there are too few patients for so many networks, or the votes are on other films.
    """
    from cxr.models.devices import shared_state
    from cxr.train.judge_task import JudgeTask
    from cxr.train.loop import is_finished, train
    from cxr.train.setup import Setup

    records = split.judging if values["judging_share"] else split.training
    folds = _folds(records, values["members"])
    votes = _read_votes(values["readers"], [*records, *split.held_out])  # first: a mistake must not cost a training
    folders = [out_dir / f"member-{number}" for number in range(len(folds))] if len(folds) > 1 else [out_dir]
    for number, (fold, folder) in enumerate(zip(folds, folders, strict=True)):
        own = replace(settings, seed=settings.seed + number)
        setup = Setup(fold.training, fold.held_out, own, device)
        train(JudgeTask(setup, values["network"], degraded=values["degraded"]), own, folder, device)
        if not is_finished(folder, own):
            return  # stopped; the same command goes on
    if shared_state().is_main_process:
        _measure(folders, folds, split.held_out, out_dir, votes)


def _folds(records: list[Radiograph], members: int) -> list[Split]:
    from cxr.labels.split import leave_out, split_by_patient

    if not 1 <= members <= MAX_MEMBERS:
        raise RequestError(f"--members is {members}; use 1 to {MAX_MEMBERS}")
    folds = [split_by_patient(records, THRESHOLD_SHARE, purpose="threshold")]
    if members > 1:
        folds = [leave_out(records, number, members) for number in range(members)]
    if not all(fold.training and (fold.held_out or members == 1) for fold in folds):
        patients = len({record.patient_id for record in records})
        raise DataError(f"{patients} patients to learn from are too few for --members {members}; name more data")
    return folds


def _read_votes(table: Path | None, records: list[Radiograph]) -> dict[str, tuple[str, ...]]:
    from cxr.judges.reader_votes import read_by, read_majorities

    votes = read_majorities(table) if table is not None else {}
    if table is not None and not read_by(records, votes):
        raise DataError(f"{table} holds votes on none of the films in --data; name the table of these films")
    return votes


def _measure(
    folders: list[Path],
    folds: list[Split],
    held_out: list[Radiograph],
    out_dir: Path,
    votes: dict[str, tuple[str, ...]],
) -> None:
    """Write what the judge is worth on held-out patients, and what each network of a mean is on those it left out."""
    import numpy as np

    from cxr.images.atomic import write_whole
    from cxr.judges.judge import load_judge
    from cxr.judges.reader_votes import read_by
    from cxr.judges.reliability import measure_scores, read_films
    from cxr.metrics.result import to_json
    from cxr.train.judge_task import join_members

    records, scores = [], []
    figures: dict[str, object] = {}
    if len(folders) > 1:
        found = join_members([folder / JUDGE for folder in folders], folds, out_dir / JUDGE)
        records, scores = found.records, [found.scores]
    judge = load_judge(out_dir / JUDGE)
    if records:
        figures["cross_fitted"] = measure_scores(scores[0], records, judge.thresholds)
    if held_out:
        scores.append(read_films(judge, held_out))
        figures |= {"judge_sha256": judge.sha256, **measure_scores(scores[-1], held_out, judge.thresholds)}
    if seen := read_by([*records, *held_out], votes):
        read = np.concatenate(scores)[list(seen)]
        figures["readers"] = measure_scores(read, list(seen.values()), judge.thresholds)
    write_whole(out_dir / RELIABILITY, to_json(figures))
