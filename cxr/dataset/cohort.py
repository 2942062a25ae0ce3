"""How many images of whom: entries of a cohort -> one row for each image.

An attribute is given in one of three ways. A value is the same for all images. A list is expanded: every combination of
the lists gets the whole count. A table of shares divides the count: exactly, by largest remainders, and
independently of the other attributes.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from cxr.dataset.shares import Shares, check_share, check_whole, share_out
from cxr.labels.cells import OLDEST, VIEWS
from cxr.labels.radiograph import NO_FINDING
from cxr.labels.vocabulary import FINDINGS, SIDED_FINDINGS, PromptLabels
from cxr.request.errors import RequestError
from cxr.request.messages import shown, shown_names

ALL = "all"
NIH = "NIH"
MAX_COUNT = 1_000_000
KEYS = ("findings", "sex", "age", "view", "side", "count")
# Shares of ages among 9,629 frontal images of NIH ChestX-ray14, by five years of life from the first named on, in
# hundredths of a per cent. A distribution to draw from, no one's data.
NIH_AGES = {
    (5, 9): 124, (10, 14): 276, (15, 19): 407, (20, 24): 426, (25, 29): 429, (30, 34): 563, (35, 39): 740,
    (40, 44): 884, (45, 49): 1429, (50, 54): 1294, (55, 59): 1436, (60, 64): 856, (65, 69): 539, (70, 74): 332,
    (75, 79): 137, (80, 84): 102, (85, 89): 26,
}  # fmt: skip

Value = TypeVar("Value")
Choice = tuple[Value | Shares[Value], ...]  # all values of one attribute
Reader = Callable[[object, str], Value | Shares[Value]]  # of a value as it stands in a plan, and how messages call it


@dataclass(frozen=True)
class AgeRange:
    """Ages from ``low`` to ``high``, both included, in years; all equally likely."""

    low: int
    high: int


@dataclass(frozen=True)
class CohortEntry:
    """One entry: for each attribute its values, each of which may be a table of shares.

    Args:
        findings: each a tuple of NIH names, empty for no finding.
        sex: each "F" or "M".
        age: each an `AgeRange`.
        view: each "PA" or "AP".
        side: each "left", "right" or empty, of those findings that have one.
        count: images of each combination.
    """

    findings: Choice[tuple[str, ...]]
    sex: Choice[str]
    age: Choice[AgeRange]
    view: Choice[str]
    side: Choice[str]
    count: int

    @property
    def total(self) -> int:
        """Images of the whole entry."""
        return self.count * len(self.findings) * len(self.sex) * len(self.age) * len(self.view) * len(self.side)


def read_entry(entry: Mapping[str, object], where: str) -> CohortEntry:
    """Check one entry as it stands in a plan.

    Args:
        entry: `KEYS`, of which all but ``findings`` may be missing.
        where: how messages call the entry.
    Raises:
        RequestError: a key is unknown or a value is not allowed.
    """
    unknown = [str(key) for key in entry if key not in KEYS]
    if unknown:
        raise RequestError(f"{where} has {shown_names(unknown)}; an entry holds {', '.join(KEYS)}")
    if "findings" not in entry:
        raise RequestError(f"{where} has no findings; name some of {', '.join(FINDINGS)}, {NO_FINDING}, or {ALL}")
    named = list(FINDINGS) if entry["findings"] == ALL else entry["findings"]
    findings = _choices(named, read_findings, f"{where}: findings")
    side = _choices(entry.get("side", ""), read_side, f"{where}: side")
    _check_side(side, findings, where)
    return CohortEntry(
        findings,
        _choices(entry.get("sex", {"F": 1, "M": 1}), read_sex, f"{where}: sex"),
        _choices(entry.get("age", NIH), read_age, f"{where}: age"),
        _choices(entry.get("view", {"PA": 1, "AP": 1}), read_view, f"{where}: view"),
        side,
        check_whole(entry.get("count", 1), f"{where}: count", 1, MAX_COUNT),
    )


def read_findings(value: object, where: str) -> tuple[str, ...]:
    """Names as the data set spells them: Effusion, or several at once as Edema + Effusion; No Finding is none."""
    by_name = {name.casefold().replace("_", " "): name for name in FINDINGS}
    parts = re.split(r"[+|]", value) if isinstance(value, str) else []
    names = [part.strip().casefold().replace("_", " ") for part in parts]
    if names in ([NO_FINDING.casefold()], ["none"]):
        return ()
    unknown = [name for name in names if name not in by_name]
    if not names or unknown:
        value = shown_names([repr(value)]) if isinstance(value, str) else shown(value)
        raise RequestError(f"{where} is {value}; use {', '.join(FINDINGS)}, {NO_FINDING}, or several joined by +")
    return tuple(name for name in FINDINGS if name in {by_name[found] for found in names})


def read_age(value: object, where: str) -> AgeRange | Shares[AgeRange]:
    """An age, "40-60", or "NIH" for ages as in that data set."""
    if value == NIH:
        return {AgeRange(*years): float(share) for years, share in NIH_AGES.items()}
    found = re.fullmatch(r"(\d{1,3})(?:\s*[-–]\s*(\d{1,3}))?", str(value).strip())  # "True" is not an age
    if found:
        low, high = int(found[1]), int(found[2] or found[1])
        if low <= high <= OLDEST:
            return AgeRange(low, high)
    raise RequestError(f"{where} is {shown(value)}; use years such as 55 or 40-60, at most {OLDEST}, or {NIH}")


def draw(entries: Sequence[CohortEntry], seed: int) -> list[PromptLabels]:
    """One row for each image, in the order of the entries; the same entries and seed give the same rows."""
    rows: list[PromptLabels] = []
    for number, entry in enumerate(entries):
        cells = product(entry.findings, entry.sex, entry.age, entry.view, entry.side)
        for place, (findings, sex, age, view, side) in enumerate(cells):
            rng = random.Random(f"cohort {seed} {number} {place}")
            columns = (
                _column(findings, entry.count, rng),
                _column(sex, entry.count, rng),
                _column(age, entry.count, rng),
                _column(view, entry.count, rng),
                _column(side, entry.count, rng),
            )
            for found, who, years, projection, place_of in zip(*columns, strict=True):
                sides = tuple((name, place_of) for name in found if place_of and name in SIDED_FINDINGS)
                rows.append(PromptLabels(found, rng.randint(years.low, years.high), who, projection, sides))
    return rows


def _column(value: Value | Shares[Value], count: int, rng: random.Random) -> list[Value]:
    """One attribute of so many images."""
    return share_out(value, count, rng) if isinstance(value, Mapping) else [value] * count


def _choices(value: object, read: Reader[Value], where: str) -> Choice[Value]:
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values:
        raise RequestError(f"{where} is an empty list; name at least one value")
    return tuple(_shares(item, read, where) if isinstance(item, Mapping) else read(item, where) for item in values)


def _shares(table: Mapping[object, object], read: Reader[Value], where: str) -> Shares[Value]:
    shares: dict[Value, float] = {}
    for key, share in table.items():
        part = check_share(share, f"{where}: the share of {shown_names([key])}")
        value = read(key, where)
        if isinstance(value, Mapping):
            raise RequestError(f"{where} has {shown_names([key])} inside a table of shares; use it alone")
        shares[value] = shares.get(value, 0.0) + part
    if not math.fsum(shares.values()) > 0:
        raise RequestError(f"{where}: all shares are 0; give at least one value a share")
    return shares


def read_sex(value: object, where: str) -> str:
    """F or M, or the word."""
    sex = {"f": "F", "female": "F", "m": "M", "male": "M"}.get(str(value).casefold())
    if sex is None:
        raise RequestError(f"{where} is {shown(value)}; use F, M, or shares such as {{F: 50, M: 50}}")
    return sex


def read_view(value: object, where: str) -> str:
    """PA or AP."""
    if str(value).upper() not in VIEWS:
        raise RequestError(f"{where} is {shown(value)}; use PA, AP, or shares such as {{PA: 60, AP: 40}}")
    return str(value).upper()


def read_side(value: object, where: str) -> str:
    """Left or right, as the patient has them, or nothing."""
    side = str(value).casefold()
    if side not in ("left", "right", ""):
        raise RequestError(f"{where} is {shown(value)}; use left, right, or shares such as {{left: 50, right: 50}}")
    return side


def _check_side(side: Choice[str], findings: Choice[tuple[str, ...]], where: str) -> None:
    named = {name for cell in findings for names in (cell if isinstance(cell, Mapping) else [cell]) for name in names}
    if any(side) and named.isdisjoint(SIDED_FINDINGS):
        raise RequestError(f"{where} has a side, but none of {', '.join(SIDED_FINDINGS)}, which can have one")
