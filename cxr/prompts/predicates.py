"""What a sentence says of the findings that it names: that they were operated on, or that they are normal."""

from __future__ import annotations

from collections.abc import Sequence

from cxr.prompts.phrases import CLAUSE_ENDS, REACH, Tag
from cxr.prompts.records import Certainty

DEVICES = ("Support Devices",)
BEFORE_NORMAL = {"filler", "verb", "is", "status", "descriptor"}
PLAINLY_NORMAL = {"normal", "unremarkable"}


def read_procedures(tags: Sequence[Tag], result: list[Certainty]) -> None:
    """What was operated on is past: "resection of a mass", "hernia repair", "transplant for fibrosis"."""
    for index, tag in enumerate(tags):
        if tag.kind != "procedure":
            continue
        before = index - 1 - (tags[index - 1].phrase == "been")  # "the mass has been resected"
        before -= before > 0 and tags[before].kind == "verb"
        if before >= 0 and tags[before].kind == "finding":
            removed = tag.phrase == "removal" and tags[before].value == DEVICES
            result[before] = "absent" if removed else "past"
        elif index + 1 < len(tags) and tags[index + 1].phrase in ("of", "for"):
            for place, other in enumerate(tags[index + 2 : index + REACH], index + 2):
                if other.kind in CLAUSE_ENDS:
                    break
                if other.kind == "finding":
                    result[place] = "past"


def read_normal_predicates(tags: Sequence[Tag], result: list[Certainty]) -> None:
    """A finding that is called normal is denied: "vascular engorgement appears within limits of normal"."""
    for index, tag in enumerate(tags):
        if tag.kind == "normal" and PLAINLY_NORMAL & set(tag.phrase.split()):
            place = index - 1
            while place > 0 and tags[place].kind in BEFORE_NORMAL and tags[place].phrase != "the":
                place -= 1
            verb_between = any(other.kind in ("verb", "is") for other in tags[place + 1 : index])
            if verb_between and tags[place].kind == "finding":
                result[place] = "absent"
