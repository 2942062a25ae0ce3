"""Radiographs by what they may be used for: split by patient and never by image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from cxr.request.errors import RequestError

if TYPE_CHECKING:
    from cxr.labels.radiograph import Radiograph

# Of the patients: held out from everybody, and set apart for judges. The commands agree on them unless told otherwise.
VALIDATION_SHARE, JUDGING_SHARE = 0.15, 0.25


class Split(NamedTuple):
    """Radiographs by what they may be used for; no patient is in two of the lists.

    Args:
        training: what the generator and its guide learn from.
        judging: what judges of the generator learn from; empty if none are set apart.
        held_out: what nothing learns from: validation, and the reference that generated images are compared with.
    """

    training: list[Radiograph]
    judging: list[Radiograph]
    held_out: list[Radiograph]


def split_by_patient(
    records: Sequence[Radiograph],
    validation_share: float = 0.05,
    judging_share: float = 0.0,
    *,
    purpose: str = "patient",
) -> Split:
    """Split records so that no patient is on two sides.

    The side is a hash of the patient id: it stays the same when folders are added or records reordered, and whoever
    is held out at one share is held out at every larger one.

    Args:
        records: any number of radiographs.
        validation_share: expected share of patients held out, 0 to 1.
        judging_share: expected share of patients set apart for judges, 0 to 1.
        purpose: part of the hash; another word makes an independent split.
    Raises:
        RequestError: the shares leave no patient to train on.
    """
    if min(validation_share, judging_share) < 0 or not validation_share + judging_share < 1:
        raise RequestError(
            f"the shares held out and for judges are {validation_share} and {judging_share}; use 0 or more each, "
            "below 1 together"
        )
    split = Split([], [], [])
    for record in records:
        position = _position(record.patient_id, purpose)
        if position < validation_share:
            split.held_out.append(record)
        elif position < validation_share + judging_share:
            split.judging.append(record)
        else:
            split.training.append(record)
    return split


def leave_out(records: Sequence[Radiograph], fold: int, num_folds: int) -> Split:
    """Hold out every ``num_folds``-th patient; over all folds each patient is held out once.

    Args:
        records: any number of radiographs.
        fold: which of them, from 0.
        num_folds: two or more.
    """
    split = Split([], [], [])
    for record in records:
        is_out = int(_position(record.patient_id, "fold") * num_folds) == fold
        (split.held_out if is_out else split.training).append(record)
    return split


def _position(patient_id: str, purpose: str) -> float:
    """A hash of the patient, from 0 to below 1."""
    digest = hashlib.sha256(f"{purpose} {patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
