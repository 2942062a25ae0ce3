"""What a judge read off images beside what they should show, and which images are compared for each attribute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr.labels.targets import ATTRIBUTES, GROUPS, LABELS, attribute_scores, attribute_targets
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.arrays import Array, Flags

ABNORMAL, VIEW = LABELS.index("abnormal"), LABELS.index("PA")

FINDING_COLUMNS = [ATTRIBUTES.index(name) for name in FINDINGS]


@dataclass(frozen=True)
class Reading:
    """What one judge read off N images, and what was asked for (or is known of them).

    Args:
        seen: [N, len(ATTRIBUTES)], logits.
        asked: [N, len(ATTRIBUTES)]: 1 yes, 0 no, NaN not said.
        years_seen: [N].
        years_asked: [N], NaN where not said.
        clusters: [N], the prompt (or the patient) of each.
    """

    seen: Array
    asked: Array
    years_seen: Array
    years_asked: Array
    clusters: NDArray[np.str_]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.seen)

    def take(self, rows: NDArray[np.intp]) -> Reading:
        """Some of the images."""
        years = self.years_seen[rows], self.years_asked[rows]
        return Reading(self.seen[rows], self.asked[rows], *years, self.clusters[rows])


def make_reading(scores: Array, targets: NDArray[np.floating], clusters: Sequence[str]) -> Reading:
    """Put together what `cxr.judges.judge.scores_of` and `targets_of` gave for the same images."""
    return Reading(
        attribute_scores(scores),
        attribute_targets(targets),
        np.asarray(scores[:, -1], np.float64),
        np.asarray(targets[:, -1], np.float64),
        np.asarray(clusters, dtype=np.str_),
    )


def comparisons(reading: Reading) -> Iterator[tuple[int, list[tuple[Flags, Flags]]]]:
    """For each attribute, which images are to show it and which are not: column, pairs of flags [N], one for each view.

    Findings are compared within a view, as prompts are balanced by view and real films are not: the sickest are lying.
    Images of one finding at most count, and what is not to show a finding is a normal image: a prompt for an effusion
    does not ask for the absence of a mass. Views without both kinds are left out.
    """
    single = (reading.asked[:, FINDING_COLUMNS] == 1).sum(axis=1) <= 1
    every = np.ones(len(reading), bool)
    views = [reading.asked[:, VIEW] == 1, reading.asked[:, VIEW] == 0, np.isnan(reading.asked[:, VIEW])]
    for column, name in enumerate(ATTRIBUTES):
        positive, negative = reading.asked[:, column] == 1, reading.asked[:, column] == 0
        if name in FINDINGS or name in GROUPS or column == ABNORMAL:
            positive, negative = positive & single, negative & (reading.asked[:, ABNORMAL] == 0)
        pairs = [(positive & view, negative & view) for view in ([every] if column == VIEW else views)]
        if pairs := [pair for pair in pairs if pair[0].any() and pair[1].any()]:
            yield column, pairs
