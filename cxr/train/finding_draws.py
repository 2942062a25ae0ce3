"""Draw training images by what they show, so that rare findings are not learnt last."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cxr.labels.radiograph import Radiograph
from cxr.labels.vocabulary import FINDINGS

NORMAL_SHARE = 0.25  # of the images that show no finding


class FindingDraws:
    """A quarter normal; for the rest first a finding, by the square root of its count, then an image with it."""

    def __init__(self, records: Sequence[Radiograph]) -> None:
        self.normal: list[int] = [index for index, record in enumerate(records) if record.findings == ()]
        groups = {
            name: [index for index, record in enumerate(records) if name in (record.findings or ())]
            for name in FINDINGS
        }
        self.groups = [group for group in groups.values() if group]
        self.weights = torch.tensor([len(group) ** 0.5 for group in self.groups])

    def pick(self, generator: torch.Generator, count: int) -> list[int]:
        """Indices of ``count`` records, some perhaps more than once."""
        return [self._one(generator) for _ in range(count)]

    def _one(self, generator: torch.Generator) -> int:
        group = self.normal
        if not group or float(torch.rand((), generator=generator)) >= NORMAL_SHARE:
            group = self.groups[int(torch.multinomial(self.weights, 1, generator=generator))]
        return group[int(torch.randint(len(group), (), generator=generator))]
