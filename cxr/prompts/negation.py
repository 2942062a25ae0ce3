"""Which findings a sentence affirms, denies, doubts, supposes or calls history: cues and how far they reach.

The cues follow NegEx (Chapman et al., J Biomed Inform 2001) and ConText (Harkema et al., 2009). A denial holds through
the bare items of a list to the end of the sentence, and stops where an item states something of its own: with a side,
a grade, an article or a verb. A doubt holds over a list as long as the list goes on with "or" or "and".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile, takewhile

from cxr.prompts.lists import PLURAL_VERBS, begins_something_new, is_adjective, is_bare, item_at, list_goes_on
from cxr.prompts.phrases import CLAUSE_ENDS, CUE_KINDS, DESCRIPTIVE, HEADS, MODIFIERS, NAMING, REACH, STATEMENTS, Tag
from cxr.prompts.predicates import DEVICES, read_normal_predicates, read_procedures
from cxr.prompts.records import Certainty
from cxr.prompts.sentences import is_heading

MEANINGS: dict[str, Certainty] = {
    "negation": "absent",
    "foreign negation": "absent",
    "doubt": "possible",
    "history": "past",
    "supposition": "supposed",
}
MEANINGS_BEFORE: dict[str, Certainty] = {
    "negated before": "absent",
    "doubted before": "possible",
    "history before": "past",
    "supposed before": "supposed",
}
NOUN_DENIALS = {"no", "without"}  # a noun follows these, known or not
AFTERWARDS = {"after", "following", "post"}
COMPARING = {"since", "to", "with", "from"}  # "no change since the last film: ..."
PREPOSITIONS = (" for", " of", " out")  # "TB, rule out lupus"
VIEWS = {"PA", "AP", "lateral", "portable", "supine"}
PARTICIPLES = ("ed", "ing", "ble", "ent")  # of "effusion, not depicted"


def read_certainties(tags: Sequence[Tag]) -> list[Certainty]:
    """For each tag of one sentence, what the cues make of it."""
    result: list[Certainty] = ["present"] * len(tags)
    current: Certainty = "present"
    heading = foreign = False  # "PMH: heart failure, COPD"
    recommended = False  # "CT to look for a nodule"
    for index, tag in enumerate(tags):
        kind = _kind(tags, index)
        recommended |= kind == "recommendation"
        if kind == "foreign negation" and not any(tag.kind == "finding" for tag in tags[index:]):
            _apply_backwards(tags, index, result, "absent")
        elif kind in MEANINGS and (kind in ("history", "supposition") or _speaks_of_what_follows(tags, index)):
            # "No opacity suspicious for pneumonia" doubts nothing.
            # "Denies a history of pneumonia" speaks of no pneumonia at all.
            if current not in ("absent", "supposed") or kind in ("negation", "foreign negation"):
                current = "supposed" if kind == "doubt" and recommended else MEANINGS[kind]
            heading = is_heading(tags, index)
            foreign |= kind == "foreign negation"
        elif kind in MEANINGS or kind in MEANINGS_BEFORE:
            _apply_backwards(tags, index, result, MEANINGS.get(kind) or MEANINGS_BEFORE[kind])
            current = "present"
        elif kind == "versus":
            _apply_backwards(tags, index, result, "possible", last_only=True)
            current = "possible"
        elif not foreign and _ends_reach(tags, index, current, heading):
            current, heading = "present", False
        result[index] = current
    read_procedures(tags, result)
    read_normal_predicates(tags, result)
    return result


def _kind(tags: Sequence[Tag], index: int) -> str:
    kind = tags[index].kind.removesuffix(" either way")
    follows = tags[index + 1].kind if index + 1 < len(tags) else ""
    if tags[index].phrase == "either" and not any(tag.kind in HEADS for tag in tags[index + 1 : index + REACH]):
        return ""  # "there should not be an effusion either"
    if kind == "negation" and not any(tag.kind == "finding" for tag in item_at(tags, index + 1)) and follows in VIEWS:
        return ""  # "PA, not lateral, edema"
    if kind == "history just before":
        named = next((tag.kind for tag in tags[index + 1 :] if tag.kind not in (*MODIFIERS, "descriptor")), "")
        heads = is_heading(tags, index) and not any(tag.phrase in COMPARING for tag in tags[:index])
        return "history" if named == "finding" or heads else kind
    if kind == "negated before" and follows == "is" and not tags[index].value:
        return "negation"  # "Negative: effusion, edema"
    return kind


def _ends_reach(tags: Sequence[Tag], index: int, current: Certainty, heading: bool) -> bool:
    kind = tags[index].kind
    ahead = tags[index + 1 : index + REACH]
    if kind in ("break", "exception"):
        return not (index and tags[index - 1].kind in CUE_KINDS and kind == "break")  # "never shows"
    if tags[index].phrase == "for" and index and tags[index - 1].value == DEVICES:  # "awaiting a drain for effusion"
        return True
    if current == "absent" and kind == "place" and _is_of_a_device(tags, index):  # "no kinking of the tube"
        return True
    if current == "absent" and tags[index].phrase in AFTERWARDS:  # "no pneumothorax after line placement"
        named = next((tag for tag in ahead if tag.kind in NAMING), None)
        return named is not None and named.value == DEVICES
    if kind == "affirmation":
        return bool(ahead) and ahead[0].kind in ("finding", "is", *MODIFIERS)
    if current == "present":
        return False
    if kind == "finding" and current == "absent" and tags[index - 1].kind == "finding":
        return tags[index].phrase in STATEMENTS  # "no effusion heart enlarged"
    if kind in ("side", "location") and current == "absent" and tags[index - 1].kind == "finding":
        return _leads_to_finding(ahead)  # "no effusion left lower lobe mass"
    if kind == "is":
        return not heading  # "not normal: effusion"
    if kind == "comma":
        return not list_goes_on(tags, index, current, heading)
    return kind == "and" and begins_something_new(ahead)


def _is_of_a_device(tags: Sequence[Tag], index: int) -> bool:
    """Whether what is denied is said of a device that is there: "no malposition of the line"."""
    item = item_at(tags, index + 1)
    named = [tag for tag in item if tag.kind in NAMING]
    return tags[index - 1].kind == "unknown" and item[:1] != named[:1] and bool(named) and named[0].value == DEVICES


def _leads_to_finding(ahead: Sequence[Tag]) -> bool:
    rest = dropwhile(lambda tag: tag.kind in (*MODIFIERS, *DESCRIPTIVE), ahead)
    return next((tag.kind for tag in rest), "") == "finding"


def _speaks_of_what_follows(tags: Sequence[Tag], index: int) -> bool:
    phrase = tags[index].phrase  # "nodule without calcification", but "effusion not discernible"
    forward = phrase in NOUN_DENIALS or phrase.endswith(PREPOSITIONS)
    if phrase == "not" and index and tags[index - 1].kind == "comma":  # "pneumonia, not bronchitis"
        ahead = item_at(tags, index + 1)
        if len(ahead) == 1 and ahead[0].kind == "unknown" and not ahead[0].phrase.endswith(PARTICIPLES):
            return True
    if tags[index].kind == "negation either way" and index:
        clause = _clause_before(tags, index)
        if is_heading(tags, index) and not clause and tags[index + 1].kind == "is":
            return True  # ", negatives: [effusion, edema]"
        if clause and clause[0].kind == "verb" and any(tag.kind == "finding" for tag in clause):
            return False  # "edema is absent and effusion is large"
        if clause and clause[0].kind == "unknown" and not item_at(tags, index + 1):
            return False  # "prosthesis absent, effusion"
    for place, tag in enumerate(tags[index + 1 : index + REACH], index + 1):
        if tag.kind in CLAUSE_ENDS and not (forward and tag.kind == "comma" and is_adjective(tags, place)):
            break
        if tag.kind in HEADS or (tag.kind == "unknown" and forward):
            return True
    return not any(tag.kind == "finding" for tag in tags[max(0, index - REACH) : index])


def _clause_before(tags: Sequence[Tag], index: int) -> list[Tag]:
    """The tags before one, back to where its clause begins, the nearest first."""
    return list(takewhile(lambda tag: tag.kind not in CLAUSE_ENDS, reversed(tags[max(0, index - REACH) : index])))


def _apply_backwards(
    tags: Sequence[Tag], index: int, result: list[Certainty], meaning: Certainty, *, last_only: bool = False
) -> None:
    """Give the findings before a cue its meaning, back to where the clause began; over a list, if it is one."""
    verb = next((tag.phrase for tag in reversed(tags[:index]) if tag.kind != "filler"), "")
    in_list = tags[index].value == "list" or verb in PLURAL_VERBS
    last_only |= tags[index].value == "item"
    # "Described on CT, but not seen here" names nothing since the comma; "..., kein Erguss" does.
    named = tags[index].kind == "foreign negation" and bool(item_at(tags, index + 1))
    for place in range(index - 1, max(-1, index - REACH), -1):
        kind = tags[place].kind
        stops = CUE_KINDS - {"doubt either way"} if meaning == "absent" else CUE_KINDS  # "possible but unlikely"
        if kind in ("exception", "means", "affirmation", *stops) or (kind == "break" and named):
            return
        if kind == "comma" and named and not (in_list and is_bare(tags, place)):
            return
        named = named or kind in NAMING
        in_list = in_list or kind in ("and", "or")
        if kind == "finding":
            if not (meaning == "possible" and result[place] == "supposed"):  # "if pneumonia is suspected"
                result[place] = meaning
            if last_only:
                return
