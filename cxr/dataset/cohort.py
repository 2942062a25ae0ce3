"""How many images of whom: entries of a cohort -> one row for each image.

An attribute is given in one of three ways. A value is the same for all images. A list is gone through: every
combination of the lists gets the whole count. A table of shares divides the count: exactly, by largest remainders, and
independently of the other attributes.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from cxr.labels.cells import OLDEST, VIEWS
from cxr.labels.radiograph import NO_FINDING
from cxr.request.errors import RequestError
from cxr.vocabulary import FINDINGS, PromptLabels

ALL = "all"
NIH = "NIH"
MAX_COUNT = 1_000_000
KEYS = ("findings", "sex", "age", "view", "count")
# Shares of ages among 9,629 frontal images of NIH ChestX-ray14, by five years of life from the first named on, in
# hundredths of a per cent. A distribution to draw from, no one's data.
NIH_AGES = {
    (5, 9): 124, (10, 14): 276, (15, 19): 407, (20, 24): 426, (25, 29): 429, (30, 34): 563, (35, 39): 740,
    (40, 44): 884, (45, 49): 1429, (50, 54): 1294, (55, 59): 1436, (60, 64): 856, (65, 69): 539, (70, 74): 332,
    (75, 79): 137, (80, 84): 102, (85, 89): 26,
}  # fmt: skip

Choice = tuple[Any, ...]  # the values of one attribute that are gone through
Shares = Mapping[Any, float]


@dataclass(frozen=True)
class AgeRange:
    """Ages from ``low`` to ``high``, both included, in years; all equally likely."""

    low: int
    high: int


@dataclass(frozen=True)
class CohortEntry:
    """One entry: for each attribute the values that are gone through, each of them maybe a table of shares.

    Args:
        findings: each a tuple of NIH names, empty for no finding.
        sex: each "F" or "M".
        age: each an `AgeRange`.
        view: each "PA" or "AP".
        count: images of each combination.
    """

    findings: Choice
    sex: Choice
    age: Choice
    view: Choice
    count: int

    @property
    def total(self) -> int:
        """Images of the whole entry."""
        return self.count * len(self.findings) * len(self.sex) * len(self.age) * len(self.view)


def read_entry(given: Mapping[str, Any], where: str) -> CohortEntry:
    """Check one entry as it stands in a plan.

    Args:
        given: `KEYS`, of which all but ``findings`` and ``count`` may be missing.
        where: how messages call the entry.
    Raises:
        RequestError: a key is unknown or a value is not allowed.
    """
    unknown = [str(key) for key in given if key not in KEYS]
    if unknown:
        raise RequestError(f"{where} has {', '.join(unknown)}; an entry holds {', '.join(KEYS)}")
    if "findings" not in given:
        raise RequestError(f"{where} has no findings; name some of {', '.join(FINDINGS)}, {NO_FINDING}, or {ALL}")
    readers = {"findings": read_findings, "sex": _read_sex, "age": read_age, "view": _read_view}
    defaults = {"sex": {"F": 1, "M": 1}, "age": NIH, "view": {"PA": 1, "AP": 1}}
    values: dict[str, Any] = {}
    for name, read in readers.items():
        values[name] = _choices(given.get(name, defaults.get(name)), read, f"{where}: {name}")
    count = given.get("count", 1)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_COUNT:
        raise RequestError(f"{where}: count is {count!r}; use a whole number from 1 to {MAX_COUNT:,}")
    return CohortEntry(**values, count=count)


def read_findings(value: Any, where: str) -> tuple[str, ...]:
    """Names as the data set spells them: Effusion, or several at once as Edema + Effusion; No Finding is none."""
    by_name = {name.casefold().replace("_", " "): name for name in FINDINGS}
    names = [part.strip().casefold().replace("_", " ") for part in re.split(r"[+|]", value)] if _is_text(value) else []
    if names in ([NO_FINDING.casefold()], ["none"]):
        return ()
    unknown = [name for name in names if name not in by_name]
    if not names or unknown:
        raise RequestError(f"{where} is {value!r}; use {', '.join(FINDINGS)}, {NO_FINDING}, or several joined by +")
    return tuple(name for name in FINDINGS if name in {by_name[part] for part in names})


def read_age(value: Any, where: str) -> AgeRange | Shares:
    """An age, "40-60", or "NIH" for ages as in that data set."""
    if value == NIH:
        return {AgeRange(*years): float(share) for years, share in NIH_AGES.items()}
    found = (
        re.fullmatch(r"(\d{1,3})(?:\s*[-–]\s*(\d{1,3}))?", str(value).strip()) if not isinstance(value, bool) else None
    )
    if found:
        low, high = int(found[1]), int(found[2] or found[1])
        if low <= high <= OLDEST:
            return AgeRange(low, high)
    raise RequestError(f"{where} is {value!r}; use years such as 55 or 40-60, at most {OLDEST}, or {NIH}")


def draw(entries: Sequence[CohortEntry], seed: int) -> list[PromptLabels]:
    """One row for each image, in the order of the entries; the same entries and seed give the same rows."""
    rows: list[PromptLabels] = []
    for number, entry in enumerate(entries):
        cells = product(entry.findings, entry.sex, entry.age, entry.view)
        for place, (findings, sex, age, view) in enumerate(cells):
            chance = random.Random(f"cohort {seed} {number} {place}")
            columns = [list(_shared_out(value, entry.count, chance)) for value in (findings, sex, age, view)]
            for found, who, years, projection in zip(*columns, strict=True):
                rows.append(PromptLabels(found, chance.randint(years.low, years.high), who, projection))
    return rows


def _shared_out(value: Any, count: int, chance: random.Random) -> Iterator[Any]:
    """The value ``count`` times, or the values of a table of shares in random order."""
    if not isinstance(value, Mapping):
        yield from [value] * count
        return
    drawn = [
        key for key, number in zip(value, apportion(list(value.values()), count), strict=True) for _ in range(number)
    ]
    chance.shuffle(drawn)
    yield from drawn


def apportion(shares: Sequence[float], count: int) -> list[int]:
    """Divide a count by shares, exactly; what does not divide goes to the largest remainders (Hamilton's method)."""
    total = math.fsum(shares)
    exact = [share / total * count for share in shares]
    whole = [math.floor(value) for value in exact]
    order = sorted(range(len(shares)), key=lambda k: (whole[k] - exact[k], k))
    for k in order[: count - sum(whole)]:
        whole[k] += 1
    return whole


def _choices(value: Any, read: Any, where: str) -> Choice:
    if value == ALL and read is read_findings:
        return tuple((name,) for name in FINDINGS)
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values:
        raise RequestError(f"{where} is an empty list; name at least one value")
    return tuple(_shares(item, read, where) if isinstance(item, Mapping) else read(item, where) for item in values)


def _shares(table: Mapping[Any, Any], read: Any, where: str) -> Shares:
    shares: dict[Any, float] = {}
    for key, share in table.items():
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < math.inf:
            raise RequestError(f"{where}: the share of {key} is {share!r}; use a number of 0 or more")
        value = read(key, where)
        if isinstance(value, Mapping):
            raise RequestError(f"{where} has {key} inside a table of shares; use it alone")
        shares[value] = shares.get(value, 0.0) + share
    if not math.fsum(shares.values()) > 0:
        raise RequestError(f"{where}: all shares are 0; give at least one value a share")
    return shares


def _read_sex(value: Any, where: str) -> str:
    words = {"f": "F", "female": "F", "m": "M", "male": "M"}
    if _is_text(value) and value.casefold() in words:
        return words[value.casefold()]
    raise RequestError(f"{where} is {value!r}; use F, M, or shares such as {{F: 50, M: 50}}")


def _read_view(value: Any, where: str) -> str:
    if _is_text(value) and value.upper() in VIEWS:
        return str(value.upper())
    raise RequestError(f"{where} is {value!r}; use PA, AP, or shares such as {{PA: 60, AP: 40}}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
