"""Lists of findings: whether what a cue says of one item holds for the next."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from cxr.prompts.phrases import (
    CLAUSE_ENDS,
    CUE_KINDS,
    CUES_BEHIND,
    DESCRIPTIVE,
    MODIFIERS,
    NAMING,
    REACH,
    SEPARATORS,
    STATEMENTS,
    Tag,
)
from cxr.prompts.records import Certainty

# What makes an item of a list a statement of its own; a grade or side alone does not where "or" ends the list.
STATING = {"article", "verb", "status", "normal", "affirmation", "is", "negated before", "doubted before", "enlarged"}
BEGUN = {"doubt", "doubt either way", "history", "supposition", "number"}  # an item that begins so is not denied
OWN_DENIALS = 3  # so many items with a "no" of their own make a bare last one a statement
STATING_ALWAYS = {"article", "verb", "affirmation", "is"}
ADJECTIVES = MODIFIERS | DESCRIPTIVE | {"filler", "article"}
PLURAL_VERBS = {"are", "were", "have"}
NOWADAYS = {"now", "and now", "presents with"}
WATCHING = ("monitor", "watch", "screen", "surveillance", "prevent", "prophylaxis")
PREDICATIVE = ("ed", "ous")
VERBS_INSIDE = {"is", "are"}
OTHER_TOPICS = {"PA", "AP", "lateral", "view", "portable", "erect", "semi-erect", "supine", "decubitus", "number"}


def list_goes_on(tags: Sequence[Tag], comma: int, current: Certainty, heading: bool) -> bool:
    """Whether what a cue says holds for the item behind a comma.

    Args:
        tags: of the sentence.
        comma: its place.
        current: what the cue says.
        heading: the cue heads the list with a colon.
    """
    item = item_at(tags, comma + 1)
    kinds = _kinds_of(item)
    if _closes_bracket(tags, comma):
        return False
    if not item or is_adjective(tags, comma):  # ", or"; "no large, loculated effusion"
        return True
    heading = heading and tags[comma].phrase in (",", "-", ";")
    stating = STATING if current == "absent" and not heading else STATING_ALWAYS
    begun = next((tag.kind for tag in item if tag.kind != "filler"), "")
    if kinds & stating or begun in BEGUN or (_is_other_topic(item) and not heading):
        parallel = kinds & stating == {"article"} and _is_parallel(tags, comma)
        return current == "absent" and (parallel or _is_predicate_of_list(tags, comma))
    if (
        any(tag.phrase == "without" for tag in item) and "finding" in kinds
    ):  # "mass without effusion, nodule without edema"
        return False
    if len(item) == len(tags) - comma - 1 and _each_denied(tags, comma):
        return False
    if current == "absent" and not heading and _is_adjective_alone(tags, comma, item):
        return False
    if {"side", "severity"} <= kinds:  # "no pneumothorax, small left effusion or atelectasis"
        return False
    if heading:
        return True
    return _goes_on_to_link(tags, comma, current, kinds)


def _each_denied(tags: Sequence[Tag], comma: int) -> bool:
    """Whether each item so far has a "no" of its own: "no A, no B, no C, D" denies no D."""
    starts = [0, *(index + 1 for index, tag in enumerate(tags[:comma]) if tag.kind == "comma")]
    return len(starts) >= OWN_DENIALS and all(tags[index].kind == "negation" for index in starts)


def _kinds_of(item: Sequence[Tag]) -> set[str]:
    """The kinds of an item's tags, and what phrases hold inside: the verb of "heart is enlarged", the side of "RLL"."""
    inside = {"side" for tag in item if tag.side}
    if any(tag.phrase in STATEMENTS or VERBS_INSIDE & set(tag.words.lower().split()) for tag in item):
        inside.add("verb")
    return inside | {tag.kind for tag in item}


def _goes_on_to_link(tags: Sequence[Tag], comma: int, current: Certainty, kinds: set[str]) -> bool:
    """Whether "or" or "and" ends the list, or whether the next item is bare and none of a new topic."""
    ahead = _list_ahead(tags, comma)
    if "or all" in ahead:
        return True
    for link in ("or", "and", "versus"):
        rest = ahead[ahead.index(link) :] if link in ahead else []
        if NAMING & set(rest) and (link == "or" or not MODIFIERS & set(ahead)):
            return current != "possible" or "finding" in rest
    if kinds & {"side", "severity"} or _has_place_behind(item_at(tags, comma + 1)):
        return False
    if current == "past":  # "h/o CHF, TB, now effusion"
        return any(tag.kind == "break" and tag.phrase in NOWADAYS for tag in tags[comma:])
    if current == "supposed":
        cues = [tag.phrase for tag in tags[:comma] if tag.kind == "supposition"]
        return bool(cues) and cues[-1].startswith(WATCHING)
    return current == "absent"


def _closes_bracket(tags: Sequence[Tag], comma: int) -> bool:
    """Whether a bracket closes that opened before the cue: "(no pneumothorax), edema"."""
    if tags[comma].phrase not in (")", "]"):
        return False
    for tag in reversed(tags[max(0, comma - REACH) : comma]):
        if tag.phrase in ("(", "["):
            return False
        if tag.kind in CUE_KINDS:
            return True
    return False


def item_at(tags: Sequence[Tag], start: int) -> list[Tag]:
    """The tags up to the next comma, "and" or the like."""
    item = []
    for tag in tags[start : start + REACH]:
        if tag.kind in SEPARATORS:
            break
        item.append(tag)
    return item


def _list_ahead(tags: Sequence[Tag], comma: int) -> list[str]:
    ahead = []
    for tag in tags[comma + 1 : comma + REACH]:
        if tag.kind in ("break", "exception", "normal", *CUE_KINDS, *CUES_BEHIND):
            break
        ahead.append(tag.kind)
    return ahead


def is_adjective(tags: Sequence[Tag], comma: int) -> bool:
    """Whether the item before a comma, from its cue on, is an adjective of what follows."""
    for index in range(comma - 1, max(-1, comma - REACH), -1):
        if tags[index].kind in SEPARATORS or tags[index].kind in CUE_KINDS:
            return index < comma - 1
        if tags[index].kind not in ADJECTIVES:
            return False
    return False


def _is_adjective_alone(tags: Sequence[Tag], comma: int, item: Sequence[Tag]) -> bool:
    """Whether an item only says how the lungs are, behind a noun that is denied: "no infiltrate, hyperinflated"."""
    alone = len(item) == 1 and item[0].kind == "finding" and item[0].phrase.endswith(PREDICATIVE)
    return alone and not tags[comma - 1].phrase.endswith(PREDICATIVE) and "or" not in _list_ahead(tags, comma)


def _is_other_topic(item: Sequence[Tag]) -> bool:
    """Whether an item speaks of the patient or the image: the list of findings has ended."""
    kinds = {tag.kind for tag in item}
    return "finding" not in kinds and (bool(kinds & OTHER_TOPICS) or kinds <= {"filler"} or kinds == {"circumstance"})


def _is_parallel(tags: Sequence[Tag], comma: int) -> bool:
    """Whether an item with an article is one of several that "or" ends: "no sign of a mass, a nodule or a cavity"."""
    before = takewhile(lambda tag: tag.kind not in CLAUSE_ENDS, reversed(tags[max(0, comma - REACH) : comma]))
    return any(tag.kind == "article" for tag in before) and "or" in _list_ahead(tags, comma)


def _is_predicate_of_list(tags: Sequence[Tag], comma: int) -> bool:
    """Whether the verb of the last item is that of the list: "no effusion, edema are seen", "no A, B, C is seen"."""
    item = item_at(tags, comma + 1)
    kinds = [tag.kind for tag in item if tag.kind != "filler"]
    plural = any(tag.phrase in PLURAL_VERBS for tag in item)
    long = any(tag.kind in ("comma", "or", "and") for tag in tags[max(0, comma - REACH) : comma])
    return kinds in (["finding", "verb"], ["finding", "verb", "affirmation"]) and (plural or long)


def _has_place_behind(item: Sequence[Tag]) -> bool:
    """Whether an item says where its finding is: "consolidation at the base"."""
    kinds = [tag.kind for tag in item]
    return "place" in kinds and "location" in kinds[kinds.index("place") :]


def begins_something_new(ahead: Sequence[Tag]) -> bool:
    """After "and": whether the next finding has a side, severity or article of its own, or is a normal part."""
    for tag in ahead:
        if tag.kind in ("side", "severity", "article", "normal", "structure", "status"):
            return True
        if tag.kind in ("finding", "abnormality", "comma", "break"):
            return False
    return False


def is_bare(tags: Sequence[Tag], comma: int) -> bool:
    """Whether between this comma and the one before it a finding stands without side, severity and place."""
    kinds = []
    for tag in reversed(tags[max(0, comma - REACH) : comma]):
        if tag.kind in CLAUSE_ENDS:
            break
        kinds.append(tag.kind)
    return "finding" in kinds and not {*MODIFIERS, "affirmation", "negated before"} & set(kinds)
