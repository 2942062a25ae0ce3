"""Sentences in which changes, probabilities, comparisons and the other side have tags of their own.

Their words hold cues that deny nothing ("no increase in") or that deny only together ("low probability of").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cxr.prompts.lexicon import CUES
from cxr.prompts.phrases import DESCRIPTIVE, MODIFIERS, NAMING, SEPARATORS, Tag
from cxr.prompts.references import resolve

CHANGES, PROBABILITY, LOW = (frozenset(CUES["groups"][name]) for name in ("changes", "probability", "low"))
BEFORE_CHANGE = DESCRIPTIVE | {"filler", "abnormality", "severity", "unknown", "enlarged"}
OTHER_SIDES = (["left", "right"], ["right", "left"])
DENIALS = {"negation", "negated before", "negation either way"}
STATING = DENIALS | {"severity", "doubt"}  # of a side of its own
BEFORE_FINDING = MODIFIERS | {"finding", "descriptor"}
# "Old granuloma", not "old woman"; "no prior pneumonia", not "no prior film".
OTHERWISE_BEFORE_FINDING = {
    "old": "status",
    "no prior": "negation",
    "no previous": "negation",
    "non": "negation",
    "cannot be": "negation",
    "off": "negation",
}
OTHERWISE_BEFORE_FINDING |= dict.fromkeys(("other", "additional", "further"), "status")


def rewrite(sentence: list[Tag]) -> list[Tag]:
    """The sentence with each change, probability and comparison as one tag, findings repeated for other sides."""
    return _with_ellipses(_with_comparisons(_with_changes(_with_probabilities(resolve(sentence)))))


def _with_probabilities(tags: list[Tag]) -> list[Tag]:
    """The sentence with "low pretest probability of", also as "the likelihood of ... is low", as one denial."""
    result = list(tags)
    for index, tag in enumerate(result):
        if tag.phrase.split(" ")[0] in PROBABILITY:
            low = [place for place in range(max(0, index - 3), index) if result[place].phrase in LOW]
            ends_low = result[-1].phrase in LOW and result[-2].kind == "verb"
            if any(tag.kind == "finding" for tag in result[low[-1] : index]) if low else not ends_low:
                continue
            if low or ends_low:
                first = low[-1] if low else index
                words = " ".join(part.words for part in result[first : index + 1])
                denial = Tag("negation", "", tag.phrase, words, start=result[first].start)
                rest = result[index + 1 : -1] if ends_low and not low else result[index + 1 :]
                return [*result[:first], denial, *rest]
    return result


def _with_changes(tags: list[Tag]) -> list[Tag]:
    """The sentence with "no significant increase in" as one status: it denies nothing that is there."""
    result: list[Tag] = []
    for index, tag in enumerate(tags):
        before_finding = index + 1 < len(tags) and tags[index + 1].kind in BEFORE_FINDING
        if before_finding and tag.phrase in OTHERWISE_BEFORE_FINDING:
            tag = replace(tag, kind=OTHERWISE_BEFORE_FINDING[tag.phrase])
        if not index and tag.phrase == "excluding" and any(other.kind == "normal" for other in tags):
            tag = replace(tag, kind="exception")  # "Excluding a nodule, the lungs are clear"
        result.append(tag)
        if len(result) > 1 and result[-2].phrase in ("not", "no longer") and _describes(tags, index):
            words = f"{result[-2].words} {tag.words}"  # "effusion, not loculated"
            result[-2:] = [Tag("descriptor", "", tag.phrase, words, start=result[-2].start)]
        before_place = index + 1 < len(tags) and tags[index + 1].kind == "place"
        if tag.phrase.split(" ")[0] in CHANGES and (before_place or tag.phrase.endswith((" in", " of"))):
            first = len(result) - 1
            while first and result[first - 1].kind in BEFORE_CHANGE:
                first -= 1
            if first and result[first - 1].kind == "negation":
                words = " ".join(part.words for part in result[first - 1 :])
                result[first - 1 :] = [Tag("status", "", "no change", words, start=result[first - 1].start)]
    return result


def _describes(tags: Sequence[Tag], index: int) -> bool:
    """Whether a word describes what stands before it, as no finding follows in its clause."""
    if tags[index].kind not in ("descriptor", "severity", "status", "enlarged"):
        return False
    kinds = [tag.kind for tag in tags[index + 1 :]]
    end = min((kinds.index(kind) for kind in ("comma", "break") if kind in kinds), default=len(kinds))
    before = any(tag.kind == "finding" for tag in tags[:index])
    return before and not {"finding", "abnormality", "normal"} & set(kinds[:end])


def _with_comparisons(tags: list[Tag]) -> list[Tag]:
    """The sentence with each comparison of sides ("left greater than right") as both sides and a descriptor."""
    result: list[Tag] = []
    index = 0
    while index < len(tags):
        tag = tags[index]
        if tag.kind == "comparison" and _compares_findings(tags, index):
            tag = Tag("and", start=tag.start)
        if tag.kind == "comparison":
            first = [result.pop()] if result and result[-1].kind == "side" else []
            length = 1
            while index + length < len(tags) and tags[index + length].kind in ("filler", "place", "article"):
                length += 1
            second = index + length < len(tags) and tags[index + length].kind == "side"
            compared = [*first, *tags[index : index + length + second]]
            if not second:
                compared = [*first, tag]
                length = 1
            words = " ".join(part.words or part.phrase for part in compared)
            if first or second:
                result.append(Tag("side", "bilateral", start=tag.start))
            result.append(Tag("descriptor", "", tag.phrase, words, start=tag.start))
            index += length + second
            continue
        result.append(tag)
        index += 1
    return result


def _compares_findings(tags: Sequence[Tag], index: int) -> bool:
    """Whether a comparison stands between findings: "left effusion > right effusion"."""
    nearby = [tag.kind for tag in tags[max(0, index - 1) : index + 3]]
    return nearby == ["finding", "comparison", "side", "finding"]


def _with_ellipses(tags: list[Tag]) -> list[Tag]:
    """The sentence with the finding named again for its other side: "right effusion, none on the left"."""
    result: list[Tag] = []
    start = 0
    finding, side, denies = None, "", False
    for end in [index for index, tag in enumerate(tags) if tag.kind in SEPARATORS] + [len(tags)]:
        item = tags[start:end]
        sides = [str(tag.value) for tag in item if tag.kind == "side"]
        named = [tag for tag in item if tag.kind in NAMING]
        if named:
            finding, side = (named[-1] if named[-1].kind == "finding" else None), "".join(sides)
            denies = any(tag.kind == "negation" for tag in item)
        elif finding is not None and [side, *sides] in OTHER_SIDES and {tag.kind for tag in item} & STATING:
            denied = any(tag.kind in DENIALS for tag in item)
            kept = [tag for tag in item if tag.kind in (*MODIFIERS, "descriptor", "doubt")]
            item = [*([Tag("negation")] if denied else []), *kept, finding]
        elif finding is not None and denies and tags[start - 1].kind in ("exception", "break"):
            # "No effusion except a trace on the right", "no nodules except one"
            graded = any(tag.kind == "severity" or tag.phrase == "one" for tag in item)
            item = [*(tag for tag in item if tag.kind != "article"), finding] if graded else item
        result += [*item, *tags[end : end + 1]]
        start = end + 1
    return result
