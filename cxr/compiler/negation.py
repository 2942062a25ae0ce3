"""Which findings a sentence affirms, denies, doubts, supposes or calls history: cues and how far they reach.

The cues follow NegEx (Chapman et al., J Biomed Inform 2001) and ConText (Harkema et al., 2009). A denial holds through
the bare items of a list to the end of the sentence, and stops where an item states something of its own: with a side,
a grade, an article or a verb. A doubt holds over a list as long as the list goes on with "or" or "and".
"""

from __future__ import annotations

from collections.abc import Sequence

from cxr.compiler.phrases import Tag
from cxr.compiler.records import Certainty
from cxr.compiler.sentences import MODIFIERS, is_heading

CLAUSE_ENDS = {"comma", "break", "exception", "means"}
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
CUES = {*MEANINGS, "negation either way", "doubt either way"}
SEPARATORS = CLAUSE_ENDS | {"and", "or", "versus"}
REACH = 40  # tags; no cue reaches farther, so that the time grows with the length of the text only
HEADS = {"finding", "abnormality", "normal", "symptom"}  # what a cue before it speaks of
NAMING = {*HEADS, "unknown", "elsewhere", "structure", "circumstance"}  # what an item of a list names
ADJECTIVES = {*MODIFIERS, "acute", "descriptor", "status", "filler", "article"}
# What makes an item of a list a statement of its own; a grade or side alone does not where "or" ends the list.
STATING = {"article", "verb", "status", "normal", "affirmation", "is", "negated before", "doubted before", "enlarged"}
VERBS_INSIDE = {"is", "are"}  # "heart is enlarged" is one phrase
PLAINLY_NORMAL = {"normal", "unremarkable"}
OTHER_TOPICS = {"PA", "AP", "lateral", "view", "portable", "erect", "semi-erect", "supine", "decubitus", "number"}


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
            if not (kind in ("doubt", "supposition") and current in ("absent", "supposed")):
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
    _read_procedures(tags, result)
    _read_normal_predicates(tags, result)
    return result


def _kind(tags: Sequence[Tag], index: int) -> str:
    kind = tags[index].kind.removesuffix(" either way")
    follows = tags[index + 1].kind if index + 1 < len(tags) else ""
    if kind == "history just before":
        named = next((tag.kind for tag in tags[index + 1 :] if tag.kind not in (*MODIFIERS, "descriptor")), "")
        return "history" if named == "finding" else kind
    if kind == "negated before" and follows == "is" and not tags[index].value:
        return "negation"  # "Negative: effusion, edema"
    return kind


def _ends_reach(tags: Sequence[Tag], index: int, current: Certainty, heading: bool) -> bool:
    kind = tags[index].kind
    ahead = tags[index + 1 : index + REACH]
    if kind in ("break", "exception"):
        return True
    if kind == "affirmation":
        return bool(ahead) and ahead[0].kind in ("finding", "is", *MODIFIERS)
    if current == "present":
        return False
    if kind == "comma":
        return not _list_goes_on(tags, index, current, heading)
    return kind == "and" and (_begins_something_new(ahead))


def _list_goes_on(tags: Sequence[Tag], comma: int, current: Certainty, heading: bool) -> bool:
    """Whether what a cue says holds for the item behind a comma."""
    item = _item(tags, comma + 1)
    kinds = {tag.kind for tag in item} | {"verb" for tag in item if VERBS_INSIDE & set(tag.words.lower().split())}
    if not item:  # ", or", ", and"
        return True
    if heading and tags[comma].phrase in ",-":
        return "is" not in kinds and not kinds & {"verb", "affirmation"}
    if _is_adjective(tags, comma):
        return True
    if kinds & (STATING if current == "absent" else {"verb", "affirmation", "is"}) or _is_other_topic(item):
        return _is_predicate_of_list(tags, comma) and current == "absent"
    ahead = _list_ahead(tags, comma)
    if current == "supposed":
        return False
    if "or all" in ahead:
        return True
    if "or" in ahead and (current != "possible" or "finding" in ahead[ahead.index("or") :]):
        return not {"side", "severity"} <= kinds or current != "absent"
    for link in ("and", "versus"):
        if link in ahead and NAMING & set(ahead[ahead.index(link) :]) and not MODIFIERS & set(ahead):
            return current != "possible" or "finding" in ahead[ahead.index(link) :]
    return current == "absent" and not kinds & {"side", "severity"} and not _has_place_behind(item)


def _item(tags: Sequence[Tag], start: int) -> list[Tag]:
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
        if tag.kind in ("break", "exception", "normal", *CUES, "negated before", "doubted before"):
            break
        ahead.append(tag.kind)
    return ahead


def _is_adjective(tags: Sequence[Tag], comma: int) -> bool:
    """Whether the item before a comma is an adjective of what follows: "no large, loculated effusion"."""
    for index in range(comma - 1, max(-1, comma - REACH), -1):
        if tags[index].kind in SEPARATORS or tags[index].kind in CUES:
            return index < comma - 1
        if tags[index].kind not in ADJECTIVES:
            return False
    return False


def _is_other_topic(item: Sequence[Tag]) -> bool:
    """Whether an item speaks of the patient or the image: the list of findings has ended."""
    kinds = {tag.kind for tag in item}
    return "finding" not in kinds and (bool(kinds & OTHER_TOPICS) or kinds <= {"filler"} or kinds == {"circumstance"})


def _is_predicate_of_list(tags: Sequence[Tag], comma: int) -> bool:
    """Whether the verb of the last item ("edema are seen", "or edema is seen") is that of the whole list."""
    item = _item(tags, comma + 1)
    verbs = [tag.phrase for tag in item if tag.kind == "verb"]
    others = {tag.kind for tag in item} & (STATING - {"verb"}) - {"negated before"}
    return not others and verbs in (["are"], ["were"]) and item[0].kind == "finding"


def _has_place_behind(item: Sequence[Tag]) -> bool:
    """Whether an item says where its finding is: "consolidation at the base"."""
    kinds = [tag.kind for tag in item]
    return "place" in kinds and "location" in kinds[kinds.index("place") :]


def _begins_something_new(ahead: Sequence[Tag]) -> bool:
    """After "and": whether the next finding has a side, severity or article of its own, or is a normal part."""
    for tag in ahead:
        if tag.kind in ("side", "severity", "article", "normal", "structure", "status"):
            return True
        if tag.kind in ("finding", "abnormality", "comma", "break"):
            return False
    return False


def _speaks_of_what_follows(tags: Sequence[Tag], index: int) -> bool:
    for tag in tags[index + 1 : index + REACH]:
        if tag.kind in CLAUSE_ENDS:
            break
        if tag.kind in HEADS:
            return True
    return not any(tag.kind == "finding" for tag in tags[max(0, index - REACH) : index])


def _apply_backwards(
    tags: Sequence[Tag],
    index: int,
    result: list[Certainty],
    meaning: Certainty,
    *,
    last_only: bool = False,
) -> None:
    """Give the findings before a cue its meaning, back to where the clause began; over a list, if it is one."""
    in_list = tags[index].value == "list" or (index > 0 and tags[index].phrase.startswith(("are ", "were ", "have ")))
    last_only |= tags[index].value == "item"
    foreign = tags[index].kind == "foreign negation" and bool(_item(tags, index + 1))  # "..., kein Erguss" denies that
    named = foreign  # "described on CT, but not seen here": no thing is named since the comma
    for place in range(index - 1, max(-1, index - REACH), -1):
        kind = tags[place].kind
        if kind in ("exception", "means", *CUES) or (kind == "break" and named):
            return
        if kind == "comma" and named and not (in_list and _is_bare(tags, place)):
            return
        named = named or kind in NAMING
        in_list = in_list or kind in ("and", "or")
        if kind == "finding":
            if not (meaning == "possible" and result[place] == "supposed"):  # "if pneumonia is suspected"
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
    return "finding" in kinds and not {*MODIFIERS, "affirmation", "negated before"} & set(kinds)


def _read_procedures(tags: Sequence[Tag], result: list[Certainty]) -> None:
    """What was operated on is past: "resection of a mass", "hernia repair", "transplant for fibrosis"."""
    for index, tag in enumerate(tags):
        if tag.kind != "procedure":
            continue
        before = index - 1 - (index > 1 and tags[index - 1].kind == "verb")  # "the mass was resected"
        if before >= 0 and tags[before].kind == "finding":
            result[before] = "past"
        elif index + 1 < len(tags) and tags[index + 1].phrase in ("of", "for"):
            for place, other in enumerate(tags[index + 2 : index + REACH], index + 2):
                if other.kind in CLAUSE_ENDS:
                    break
                if other.kind == "finding":
                    result[place] = "past"


def _read_normal_predicates(tags: Sequence[Tag], result: list[Certainty]) -> None:
    """A finding that is called normal is denied: "vascular engorgement appears within limits of normal"."""
    for index, tag in enumerate(tags):
        if tag.kind == "normal" and PLAINLY_NORMAL & set(tag.phrase.split()):
            place = index - 1
            while place > 0 and tags[place].kind in ("filler", "verb", "status", "descriptor"):
                place -= 1
            verb_between = any(other.kind == "verb" for other in tags[place + 1 : index])
            if verb_between and tags[place].kind == "finding":
                result[place] = "absent"
