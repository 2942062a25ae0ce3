"""Findings that are joined share the side, and two readings of one shadow the grade too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, takewhile

from cxr.prompts.attributes import Attributes, stands_before
from cxr.prompts.lexicon import SHADOWS, SIDELESS
from cxr.prompts.phrases import DESCRIPTIVE, MODIFIERS, Tag
from cxr.prompts.records import SHOWN, Certainty

WITH = {"with", "along with", "together with", "accompanied by", "plus"}
PLACES = MODIFIERS | {"place", "structure"}  # "opacity at the right base, probably pneumonia"


def share(tags: Sequence[Tag], certainties: Sequence[Certainty], owned: dict[int, Attributes]) -> None:
    """Let a bare finding have the side of the one that it is joined to, and by "/" and "versus" the grade too.

    "Left atelectasis and effusion", "small left atelectasis/effusion", "left opacity, probably pneumonia".
    """
    places = sorted(owned)
    if side := _heading(tags):
        for place in places:
            if not owned[place].sides and not SIDELESS & set(tags[place].value):
                owned[place].sides = [side]
    for first, second in pairwise(places):
        one, other = owned[first], owned[second]
        link = _link(tags, first, second)
        names = {str(name) for place in (first, second) for name in tags[place].value}
        shared = bool(one.sides) and (link == "cause" or stands_before(tags, first, ("side", "location"), "filler"))
        if not link or not shared or other.sides or other.locations or other.severities or names & SIDELESS:
            continue
        if certainties[first] in SHOWN and certainties[second] in SHOWN:
            other.sides = list(one.sides)
            other.severities = list(one.severities) if link == "same" else []
            if link != "and":
                other.locations, other.location_words = list(one.locations), list(one.location_words)


def _heading(tags: Sequence[Tag]) -> str:
    """The side that heads a sentence with a colon: "Left lung: effusion, atelectasis"."""
    ahead = list(takewhile(lambda tag: tag.kind != "is", tags))
    sides = [str(tag.side or tag.value) for tag in ahead if tag.side or tag.kind == "side"]
    named = {tag.kind for tag in ahead} <= {"side", "location", "structure", "filler"}
    return sides[0] if named and len(sides) == 1 and len(ahead) < len(tags) else ""


def _link(tags: Sequence[Tag], first: int, second: int) -> str:
    """How two findings are joined: "and", "same" (two readings of one thing), "cause"; "" if by nothing."""
    between = [tag for tag in tags[first + 1 : second] if tag.kind not in ("filler", *DESCRIPTIVE)]
    kinds = [tag.kind for tag in between]
    if kinds == ["versus"] or (kinds == ["or"] and between[0].phrase == "/"):
        return "same"
    if kinds in (["and"], ["or"]):
        return "and"
    explained = bool(set(tags[first].value) & SHADOWS)
    causes = [kind for kind in kinds if kind not in PLACES | {"comma"}]
    if kinds == ["break"] and between[0].phrase in WITH:
        return "and"
    if causes in (["means"], ["doubt"], ["doubt either way"]) and (explained or len(causes) == len(kinds)):
        return "cause"
    return ""
