"""Findings of other parts of the body: an edema of the leg, a fracture of the hip, a cancer of the colon."""

from __future__ import annotations

from collections.abc import Sequence

from cxr.prompts.kinds import MODIFIERS
from cxr.prompts.phrases import Tag
from cxr.prompts.records import Note

ELSEWHERE = "in another part of the body, which a chest radiograph does not show"
# May stand between the part and its finding.
BETWEEN = {*MODIFIERS, "descriptor", "acute", "unknown", "elsewhere", "structure", "is"}
BELOW = {"abdomen", "upper abdomen", "stomach"}  # at the edge of the image
BEHIND = {"place", "article", "filler", *MODIFIERS}  # "edema of the left leg"


def without_other_parts(sentence: Sequence[Tag]) -> tuple[list[Tag], list[Note]]:
    """Take the findings of other parts of the body out of a sentence.

    Returns:
        The sentence, with these as circumstances, and what was taken out in the user's own words.
    """
    result, notes = list(sentence), []
    for index, tag in enumerate(sentence):
        if tag.kind == "finding" and tag.value != ("Support Devices",):
            first = _part_before(sentence, index)
            last = index if first is not None else _part_behind(sentence, index)
            if last is not None:
                notes.append(_take(result, index if first is None else first, last))
    for index, tag in enumerate(result):
        if tag.kind == "elsewhere":
            notes.append(_take(result, index, index))
    return result, notes


def _take(sentence: list[Tag], first: int, last: int) -> Note:
    """Leave circumstances that are told already in the place of some tags, and of a side before them."""
    if first and sentence[first - 1].kind == "side":
        first -= 1
    words = " ".join(tag.words for tag in sentence[first : last + 1] if tag.words)
    for place in range(first, last + 1):
        sentence[place] = Tag("circumstance", "told", start=sentence[place].start)
    return Note(words, ELSEWHERE)


def _part_before(sentence: Sequence[Tag], index: int) -> int | None:
    part = None
    for place in range(index - 1, -1, -1):
        joined = sentence[place].kind == "and" and sentence[place - 1].phrase == "swelling"  # "leg swelling and edema"
        if sentence[place].kind not in BETWEEN and not joined:
            break
        if sentence[place].kind == "elsewhere":
            part = place
    return part


def _part_behind(sentence: Sequence[Tag], index: int) -> int | None:
    if index + 1 >= len(sentence) or not (sentence[index + 1].kind == "place" or sentence[index + 1].phrase == "("):
        return None
    for place in range(index + 1, len(sentence)):
        if sentence[place].kind == "elsewhere" or sentence[place].phrase in BELOW:
            return place
        if sentence[place].kind not in BEHIND and sentence[place].phrase != "(":
            break
    return None
