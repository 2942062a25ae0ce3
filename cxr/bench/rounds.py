"""Arms that take turns, and how many times as long one takes as another, with the spread over the rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from cxr.models.devices import seconds
from cxr.request.errors import RequestError

MAX_RUNS = 100
PROMPT = "A 55-year-old man with pneumonia"

Arm = TypeVar("Arm")
Stopwatch = Callable[[Callable[[], object]], float]


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


def stopwatch(device: torch.device, *, counts_processor: bool = False) -> Stopwatch:
    """What measures the seconds of some work.

    Args:
        counts_processor: the processor's own seconds, of this process and of those that it has started: with one
            thread about what the clock would say on an idle machine.
    """
    return _processor_seconds if counts_processor else partial(seconds, device=device)


def _processor_seconds(work: Callable[[], object]) -> float:
    import psutil

    def now() -> float:
        others = [process.cpu_times() for process in psutil.Process().children()]
        return time.process_time() + float(sum(used.user + used.system for used in others))

    began = now()
    work()
    return now() - began


def interleaved(
    arms: Mapping[Arm, Callable[[], object]],
    runs: int,
    watch: Stopwatch,
    before: Mapping[Arm, Callable[[], object]] | None = None,
) -> dict[Arm, tuple[float, ...]]:
    """Seconds of each arm in each round; every round runs all of them, after one that only warms up.

    So heat and other programs' load fall on all arms alike.

    Args:
        arms: what is timed, by its name.
        runs: rounds.
        before: what an arm needs done first, which is not timed.
    """

    def one(arm: Arm, work: Callable[[], object]) -> float:
        if before and arm in before:
            before[arm]()
        return watch(work)

    rounds = [{arm: one(arm, work) for arm, work in arms.items()} for _ in range(1 + runs)]
    return {arm: tuple(taken[arm] for taken in rounds[1:]) for arm in arms}


def ratio(values: Sequence[float], to: Sequence[float]) -> Spread:
    """How many times as long one arm took as another, round by round."""
    return Spread.of([value / other for value, other in zip(values, to, strict=True)])


def beside_goal(value: float, goal: float, *, is_upper_limit: bool = False) -> str:
    """What stands behind a figure: its goal, and whether it is reached.

    Args:
        value: the figure.
        goal: to be reached from below.
        is_upper_limit: the goal is to be reached from above.
    """
    is_reached = value <= goal if is_upper_limit else value >= goal
    return f" (goal {goal:g}: {'reached' if is_reached else 'missed'})"


def last_line(output: str, otherwise: str = "no message") -> str:
    """What a process said last, as a rule why it failed."""
    return (output.strip().splitlines() or [otherwise])[-1]


def check_runs(runs: int) -> None:
    """Refuse a number of rounds that is out of range.

    Raises:
        RequestError: it is outside 1 to `MAX_RUNS`.
    """
    if not 1 <= runs <= MAX_RUNS:
        raise RequestError(f"is {runs}; use a whole number from 1 to {MAX_RUNS}", field="runs")
