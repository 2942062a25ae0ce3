"""Entries of pairs: whose images come in twos, and what the second image changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cxr.dataset.cohort import AgeRange, CohortEntry, read_age, read_entry, read_findings, read_sex, read_view
from cxr.labels.radiograph import NO_FINDING
from cxr.request.errors import RequestError
from cxr.request.messages import shown

CHANGES = ("findings", "sex", "age", "view")  # what may differ between the two images
PAIR_KEYS = ("counterfactual", "region")  # besides those of a cohort


class PairEntry(NamedTuple):
    """One entry of pairs.

    Args:
        patients: who they are, as the first image of each shows them.
        change: labels of the second image that differ, by name.
        in_region: whether it differs only where radiologists mark the findings that change.
    """

    patients: CohortEntry
    change: dict[str, Any]
    in_region: bool


def read_pair_entry(entry: Mapping[str, object], where: str) -> PairEntry:
    """Check one entry of pairs.

    Args:
        entry: as for `read_entry`, and ``counterfactual``: one value each of findings, sex, age or view; No Finding if
            it is missing; and ``region``, true or false.
        where: how messages call the entry.
    Raises:
        RequestError: as `read_entry`, or the counterfactual is not allowed.
    """
    if entry.get("side"):
        raise RequestError(f"{where} has a side, which only entries of a cohort can have")
    changes = entry.get("counterfactual", {"findings": NO_FINDING})
    where_changed = f"{where}: counterfactual"
    if not isinstance(changes, Mapping) or not changes or any(name not in CHANGES for name in changes):
        raise RequestError(f"{where_changed} must be a table of one or more of {', '.join(CHANGES)}")
    readers = {"findings": read_findings, "sex": read_sex, "age": read_age, "view": read_view}
    change: dict[str, Any] = {name: readers[name](value, f"{where_changed} {name}") for name, value in changes.items()}
    if "age" in change:
        age = change["age"]
        if not isinstance(age, AgeRange) or age.low != age.high:
            raise RequestError(f"{where_changed} age is {shown(changes['age'])}; use one age in years, such as 80")
        change["age"] = age.low
    if not isinstance(in_region := entry.get("region", False), bool):
        raise RequestError(f"{where}: region is {shown(in_region)}; use true or false")
    if in_region and change.keys() != {"findings"}:
        raise RequestError(f"{where}: region is true, but not only findings change; other labels show everywhere")
    patients = {name: value for name, value in entry.items() if name not in PAIR_KEYS}
    return PairEntry(read_entry(patients, where), change, in_region)
