"""Words of a sentence that refer to others: "contralateral", "not the right", "the prior film, which showed"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from cxr.prompts.attributes import CONTRASTS
from cxr.prompts.lexicon import CUES
from cxr.prompts.lists import item_at
from cxr.prompts.phrases import DESCRIPTIVE, MODIFIERS, SEPARATORS, Tag

SHOWING, FORMER, STUDIES = (frozenset(CUES["groups"][name]) for name in ("showing", "former", "studies"))
BEFORE_SHOWING = {",", "which", "that", "the", "a", "this"}
FARTHEST = 8  # tags between a study and what it showed
IN_ASIDES = MODIFIERS | DESCRIPTIVE | {"filler", "verb", "unknown"}  # a clause of these names nothing
BESIDE_SIDE = {"side", "filler", "place", "article"}
RELATIVE_SIDES = frozenset({"contralateral", "ipsilateral"})
REFERRING = SHOWING | CONTRASTS | {"which"}.union(*(CUES["sides"][side] for side in RELATIVE_SIDES))
OTHER_SIDE = {"left": "right", "right": "left"}


def resolve(sentence: Sequence[Tag]) -> list[Tag]:
    """The sentence in which each of these words has the kind or the side that it stands for."""
    if REFERRING.isdisjoint([tag.phrase for tag in sentence]):
        return [*sentence]
    return _with_sides_named(_without_denied_side(_with_former_studies(_without_asides(sentence))))


def _without_asides(tags: Sequence[Tag]) -> list[Tag]:
    """The sentence without the joints of asides: "effusions, which were sought carefully, were not found"."""
    result = list(tags)
    for first, last in pairwise(index for index, tag in enumerate(tags) if tag.phrase == ","):
        if tags[first + 1].phrase == "which" and {tag.kind for tag in tags[first + 2 : last]} <= IN_ASIDES:
            for place in (first, first + 1, last):
                result[place] = replace(tags[place], kind="filler")
    return result


def _with_former_studies(tags: Sequence[Tag]) -> list[Tag]:
    """The sentence in which a former study makes history of what it showed."""
    result = list(tags)
    for index, tag in enumerate(tags):
        if tag.phrase in SHOWING:
            before = [other.phrase for other in tags[max(0, index - FARTHEST) : index]]
            before = [phrase for phrase in before if phrase not in BEFORE_SHOWING][-3:]
            former = len(before) > 1 and before[-2] in FORMER and before[-1] in STUDIES
            if former and (tag.kind != "break" or before[0] in ("on", "in", "at")):
                result[index] = replace(tag, kind="history")
    return result


def _without_denied_side(tags: Sequence[Tag]) -> list[Tag]:
    """The sentence with "not the right" as a description, where it names the left one too."""
    for index, tag in enumerate(tags):
        if tag.phrase in CONTRASTS and not (index and tags[index - 1].kind in SEPARATORS):
            item = item_at(tags, index + 1)
            end = index + 1 + len(item)
            denied = {OTHER_SIDE.get(str(other.value)) for other in item if other.kind == "side"}
            named = {other.value for other in (*tags[:index], *tags[end:]) if other.kind == "side"}
            if denied and denied == named and {other.kind for other in item} <= BESIDE_SIDE:
                words = " ".join(other.words for other in (tag, *item))
                return [*tags[:index], Tag("descriptor", "", tag.phrase, words, start=tag.start), *tags[end:]]
    return [*tags]


def _with_sides_named(tags: Sequence[Tag]) -> list[Tag]:
    """The sentence with "contralateral" and "ipsilateral" as the side that they are, by the one named before."""
    result: list[Tag] = []
    named = ""
    for tag in tags:
        if tag.kind == "side" and tag.value in RELATIVE_SIDES:
            value = OTHER_SIDE.get(named, "") if tag.value == "contralateral" else named
            tag = replace(tag, kind="side" if value in OTHER_SIDE else "unknown", value=value)
        elif tag.side or tag.kind == "side":
            named = tag.side or str(tag.value)
        result.append(tag)
    return result
