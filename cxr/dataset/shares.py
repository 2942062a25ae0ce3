"""Numbers of a plan, and counts divided by shares."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

from cxr.request.errors import RequestError
from cxr.request.messages import shown

MAX_SHARE = 1_000_000_000  # sums of larger ones would overflow

Value = TypeVar("Value")
Shares = Mapping[Value, float]


def share_out(shares: Shares[Value], count: int, rng: random.Random) -> list[Value]:
    """Each value as often as its share of the count says, in random order."""
    numbers = apportion(list(shares.values()), count)
    drawn = [value for value, number in zip(shares, numbers, strict=True) for _ in range(number)]
    rng.shuffle(drawn)
    return drawn


def apportion(shares: Sequence[float], count: int) -> list[int]:
    """Divide a count by shares, exactly; what does not divide goes to the largest remainders (Hamilton's method)."""
    total = math.fsum(shares)
    exact = [share / total * count for share in shares]
    whole = [math.floor(value) for value in exact]
    order = sorted(range(len(shares)), key=lambda k: (whole[k] - exact[k], k))
    for k in order[: count - sum(whole)]:
        whole[k] += 1
    return whole


def check_share(share: object, name: str) -> float:
    """A share of a count.

    Raises:
        RequestError: it is not a number of 0 or more; the message begins with the name.
    """
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= MAX_SHARE:
        raise RequestError(f"{name} is {shown(share)}; use a number of 0 or more, at most {MAX_SHARE:,}")
    return share


def check_whole(value: object, name: str, low: int = 0, high: int | None = None) -> int:
    """A whole number of a plan.

    Raises:
        RequestError: it is not a whole number, or is outside the range; the message begins with the name.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        allowed = f"of {low} or more" if high is None else f"from {low} to {high:,}"
        raise RequestError(f"{name} is {shown(value)}; use a whole number {allowed}")
    return value
