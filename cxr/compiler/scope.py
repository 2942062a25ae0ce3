"""Which findings a sentence affirms, denies, doubts or calls history: cues and how far they reach.

The cues and their reach follow NegEx (Chapman et al., J Biomed Inform 2001) and ConText (Harkema et al., 2009): a cue
holds up to the end of its clause, and over a list as long as the list goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

from cxr.compiler.phrases import Tag
from cxr.compiler.records import Certainty

CLAUSE_ENDS = {"comma", "break", "exception", "means"}
CUES = {"negation", "doubt", "history", "negation either way", "doubt either way"}
MEANINGS: dict[str, Certainty] = {"negation": "absent", "doubt": "possible", "history": "past"}
MODIFIERS = {"side", "severity", "location"}
REACH = 40  # tags; no cue reaches farther, so that the time grows with the length of the text only
REQUESTS = {"can", "could", "would", "will", "please"}
COMPARISONS = {
    "change",
    "changes",
    "increase",
    "decrease",
    "worsening",
    "improvement",
    "progression",
    "reduction",
    "enlargement",
}
HEADS = {"finding", "abnormality", "normal", "symptom"}  # what a cue before it speaks of


def split_sentences(tags: Sequence[Tag]) -> list[list[Tag]]:
    """Cut at full stops, line ends and question marks; a question doubts what it ends with, unless it is a request."""
    sentences: list[list[Tag]] = [[]]
    for tag in tags:
        if tag.kind == "question" and not (sentences[-1] and sentences[-1][0].words in REQUESTS):
            sentences[-1].append(Tag("doubted before"))
        if tag.kind in ("sentence", "question"):
            sentences.append([])
        else:
            sentences[-1].append(tag)
    return [_without_comparisons(sentence) for sentence in sentences if sentence]


def _without_comparisons(tags: list[Tag]) -> list[Tag]:
    """The sentence without negations of change: "no significant increase in" denies nothing that is there."""
    result = list(tags)
    for index, tag in enumerate(tags[:-1]):
        if tag.words in COMPARISONS and tags[index + 1].kind == "place":
            first = index
            while first and tags[first - 1].kind in ("acute", "filler", "unknown", "abnormality", "severity"):
                first -= 1
            if first and tags[first - 1].kind == "negation":
                result[first - 1 : index + 1] = [Tag("filler", "", part.words) for part in tags[first - 1 : index + 1]]
    return result


def read_certainties(tags: Sequence[Tag]) -> list[Certainty]:
    """For each tag of one sentence, what the cues make of it."""
    result: list[Certainty] = ["present"] * len(tags)
    current: Certainty = "present"
    heading = False  # "PMH: heart failure, COPD"
    for index, tag in enumerate(tags):
        kind = tag.kind.removesuffix(" either way")
        if kind == "history just before" and index + 1 < len(tags) and tags[index + 1].kind == "finding":
            kind = "history"
        if kind in MEANINGS and (kind == "history" or _speaks_of_what_follows(tags, index)):
            # "No opacity suspicious for pneumonia" doubts nothing.
            current = current if kind == "doubt" and current == "absent" else MEANINGS[kind]
            heading = kind == "history" and index + 1 < len(tags) and tags[index + 1].kind == "is"
        elif kind in MEANINGS or kind in ("negated before", "doubted before"):
            _apply_backwards(tags, index, result, "absent" if kind.startswith("negat") else "possible")
            current = "present"
        elif kind == "versus":
            _apply_backwards(tags, index, result, "possible", last_only=True)
            current = "possible"
        elif kind in ("break", "exception"):
            current, heading = "present", False
        elif current != "present" and _ends_reach(tags, index, heading):
            current = "present"
        result[index] = current
    return result


def _ends_reach(tags: Sequence[Tag], index: int, heading: bool) -> bool:
    if tags[index].kind == "comma":
        return not (heading or _list_goes_on(tags, index))
    return tags[index].kind == "and" and _begins_something_new(tags, index)


def _speaks_of_what_follows(tags: Sequence[Tag], index: int) -> bool:
    for tag in tags[index + 1 : index + REACH]:
        if tag.kind in CLAUSE_ENDS:
            break
        if tag.kind in HEADS:
            return True
    return not any(tag.kind == "finding" for tag in tags[max(0, index - REACH) : index])


def _apply_backwards(
    tags: Sequence[Tag], index: int, result: list[Certainty], meaning: Certainty, *, last_only: bool = False
) -> None:
    """Give the findings before a cue its meaning, back to where the clause began; over a list, if it is one."""
    in_list = False
    for place in range(index - 1, max(-1, index - REACH), -1):
        kind = tags[place].kind
        if kind in ("break", "exception", "means", *CUES) or (
            kind == "comma" and not (in_list and _is_bare(tags, place))
        ):
            return
        in_list = in_list or kind in ("and", "or")
        if kind == "finding":
            result[place] = meaning
            if last_only:
                return


def _is_bare(tags: Sequence[Tag], comma: int) -> bool:
    """Whether between this comma and the one before it a finding stands without side, severity and place."""
    kinds = []
    for tag in reversed(tags[max(0, comma - REACH) : comma]):
        if tag.kind in CLAUSE_ENDS:
            break
        kinds.append(tag.kind)
    return "finding" in kinds and not MODIFIERS & set(kinds)


def _list_goes_on(tags: Sequence[Tag], comma: int) -> bool:
    """Whether the list around a comma ends with "or X", or with "and X" where no item says more than its name."""
    ahead = []
    for tag in tags[comma + 1 : comma + REACH]:
        if tag.kind in ("break", "exception", "normal", *CUES, "negated before", "doubted before"):
            break
        ahead.append(tag.kind)
    for link in ("or", "and", "versus"):
        if link in ahead and "finding" in ahead[ahead.index(link) :] and (link != "and" or not MODIFIERS & set(ahead)):
            return True
    return False


def _begins_something_new(tags: Sequence[Tag], index: int) -> bool:
    """After "and": whether the next finding has a side, severity or article of its own, or is a normal part."""
    for tag in tags[index + 1 : index + REACH]:
        if tag.kind in ("side", "severity", "article", "normal", "structure"):
            return True
        if tag.kind in ("finding", "abnormality", "comma", "break"):
            return False
    return False
