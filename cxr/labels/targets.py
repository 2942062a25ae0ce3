"""What can be read off a radiograph, and how it is written down as numbers: 1 yes, 0 no, NaN unknown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.labels.vocabulary import FINDINGS, PromptLabels

LABELS = ("PA", "male", "abnormal", *FINDINGS)  # each yes or no; the age comes after them
# Findings that radiographs hardly tell apart, and that reports name as one; seen if either is.
GROUPS = {"Consolidation or Pneumonia": ("Consolidation", "Pneumonia"), "Mass or Nodule": ("Mass", "Nodule")}
ATTRIBUTES = (*LABELS, *GROUPS)
AGE_SCALE = 25.0  # years; brings the age to about unit size
AGE_CENTRE = 47.0
NEAR_YEARS = 10.0  # an age read off an image counts as the one asked for within so many years


def targets_of(records: Sequence[PromptLabels]) -> NDArray[np.float32]:
    """What is known of radiographs, or asked for by prompts.

    Returns:
        [N, len(LABELS) + 1]: 1 yes, 0 no, NaN unknown; last the age in years.
    """
    return np.array([_row(record) for record in records], np.float32).reshape(len(records), len(LABELS) + 1)


def scaled_targets(records: Sequence[PromptLabels]) -> NDArray[np.float32]:
    """As `targets_of`, the age scaled to about unit size, as networks predict it."""
    targets = targets_of(records)
    targets[:, -1] = (targets[:, -1] - AGE_CENTRE) / AGE_SCALE
    return targets


def attribute_targets(targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """[N, at least len(LABELS)] as `targets_of` gives them -> [N, len(ATTRIBUTES)]: 1 yes, 0 no, NaN unknown."""
    return _with_groups(targets, lambda members: members.max(axis=1))


def attribute_scores(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logits [N, at least len(LABELS)] -> [N, len(ATTRIBUTES)]; a group's is that of seeing any of its findings."""

    def either(members: NDArray[np.float64]) -> NDArray[np.float64]:
        # With independent findings P(none) is the product of 1 - p: a sum of softplus in logarithms.
        log_none = -np.logaddexp(0, members).sum(axis=1)
        logits_of_any: NDArray[np.float64] = np.log(-np.expm1(np.minimum(log_none, -1e-12))) - log_none
        return logits_of_any

    return _with_groups(logits, either)


def _with_groups(
    columns: NDArray[np.floating], join: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    labels = np.asarray(columns, np.float64)[:, : len(LABELS)]
    joined = [join(labels[:, [LABELS.index(name) for name in names]]) for names in GROUPS.values()]
    return np.column_stack([labels, *joined])


def _row(record: PromptLabels) -> list[float]:
    findings, nan = record.findings, float("nan")
    row = [yes_or_no(record.view, "PA"), yes_or_no(record.sex, "M")]
    row.append(nan if findings is None else float(bool(findings)))
    row += [nan if findings is None or name in record.unknown else float(name in findings) for name in FINDINGS]
    return [*row, nan if record.age is None else float(record.age)]


def yes_or_no(value: str | None, yes: str) -> float:
    """1 if a value is the one that counts as yes, 0 if it is another, NaN if it is unknown."""
    return float("nan") if value is None else float(value == yes)
