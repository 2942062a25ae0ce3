"""Draw training images so that neither a few patients nor the common findings decide what is learnt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from cxr.labels.radiograph import Radiograph
from cxr.labels.vocabulary import FINDINGS

MAX_FILMS = 4  # that a patient counts as: the sickest were seen a hundred times, and in bed, on darker films
NORMAL_SHARE = 0.25  # of the images that show no finding


class FilmDraws:
    """Every image as often, but a patient at most as often as `MAX_FILMS` of them."""

    def __init__(self, records: Sequence[Radiograph]) -> None:
        counts = Counter(record.patient_id for record in records)
        self.weights = torch.tensor([min(1.0, MAX_FILMS / counts[record.patient_id]) for record in records])

    def pick(self, generator: torch.Generator, count: int) -> list[int]:
        """Indices of ``count`` records, some perhaps more than once."""
        indices: list[int] = torch.multinomial(self.weights, count, replacement=True, generator=generator).tolist()
        return indices


class FindingDraws(FilmDraws):
    """A quarter normal; for the rest first a finding, by the square root of its count, then an image with it."""

    def __init__(self, records: Sequence[Radiograph]) -> None:
        super().__init__(records)
        self.normal = _indices([record.findings == () for record in records])
        groups = [_indices([name in (record.findings or ()) for record in records]) for name in FINDINGS]
        self.groups = [group for group in groups if len(group)]
        self.group_weights = torch.tensor([len(group) ** 0.5 for group in self.groups])

    def pick(self, generator: torch.Generator, count: int) -> list[int]:
        return [self._one(generator) for _ in range(count)]

    def _one(self, generator: torch.Generator) -> int:
        group = self.normal
        if not len(group) or float(torch.rand((), generator=generator)) >= NORMAL_SHARE:
            group = self.groups[int(torch.multinomial(self.group_weights, 1, generator=generator))]
        return int(group[torch.multinomial(self.weights[group], 1, generator=generator)])


def _indices(flags: Sequence[bool]) -> Tensor:
    """Where the flags are set: [K] int64."""
    return torch.tensor(flags, dtype=torch.bool).nonzero()[:, 0]
