"""Arms that take turns, and how many times as long one takes as another, with the spread over the rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from cxr.models.devices import seconds
from cxr.request.errors import RequestError

MAX_RUNS = 100

Arm = TypeVar("Arm")


@dataclass(frozen=True)
class Spread:
    """The median of some figures, and the lowest and highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """That of figures, at least one."""
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, spec: str) -> str:
        """“1.27 (1.20–1.31)”, each figure by the given format."""
        return f"{self.median:{spec}} ({self.low:{spec}}–{self.high:{spec}})"


def interleaved(
    arms: Mapping[Arm, Callable[[], object]], runs: int, device: torch.device
) -> dict[Arm, tuple[float, ...]]:
    """Seconds of each arm in each round; every round runs all of them, after one that only warms up.

    So heat and other programs' load fall on all arms alike.

    Args:
        arms: what is timed, by its name.
        runs: rounds.
        device: where it runs.
    """
    rounds = [{arm: seconds(work, device) for arm, work in arms.items()} for _ in range(1 + runs)]
    return {arm: tuple(taken[arm] for taken in rounds[1:]) for arm in arms}


def ratio(values: Sequence[float], to: Sequence[float]) -> Spread:
    """How many times as long one arm took as another, round by round."""
    return Spread.of([value / other for value, other in zip(values, to, strict=True)])


def check_runs(runs: int) -> None:
    """Refuse a number of rounds that is none.

    Raises:
        RequestError: it is outside 1 to `MAX_RUNS`.
    """
    if not 1 <= runs <= MAX_RUNS:
        raise RequestError(f"is {runs}; use a whole number from 1 to {MAX_RUNS}", field="runs")
