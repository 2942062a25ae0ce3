"""The word lists as one table of phrases, and the kinds of tags by which the grammar asks for them.

Most kinds are named after the word list that a phrase stands in (``cues.txt``); marks are "comma" (also brackets and
dashes), "is" (a colon or equals sign), "part" (a semicolon, bar or line end), "sentence" and "question".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from cxr.prompts.lexicon import CUES, finding_phrases

SHORTEST_PLURAL = 4
REACH = 40  # tags; nothing is looked for farther away, so that the time grows with the length of the text only

MODIFIERS = frozenset({"side", "severity", "location"})
DESCRIPTIVE = frozenset({"descriptor", "status", "acute"})
CLAUSE_ENDS = frozenset({"comma", "break", "exception", "means"})
SEPARATORS = CLAUSE_ENDS | {"and", "or", "versus"}
HEADS = frozenset({"finding", "abnormality", "normal", "symptom"})  # what a cue before it speaks of
NAMING = HEADS | {"unknown", "elsewhere", "structure", "circumstance", "procedure"}  # what an item of a list names
# What says that a finding is absent, possible, past or only supposed; "either way" before it or behind it.
CUE_KINDS = frozenset(
    {"negation", "foreign negation", "doubt", "history", "supposition", "negation either way", "doubt either way"}
)
CUES_BEHIND = frozenset({"negated before", "doubted before", "supposed before", "history before"})


@dataclass(frozen=True)
class Tag:
    """One phrase of a prompt.

    Args:
        kind: the word list that it stands in, or the kind of a mark: "comma", "is" (a colon), "sentence".
        value: what it stands for.
        phrase: as the word lists have it.
        words: as the prompt has it.
        side: that a location implies.
        corrected: a slip of the keyboard was undone.
        start: its place in the written-out text.
    """

    kind: str
    value: str | tuple[str, ...] = ""
    phrase: str = ""
    words: str = ""
    side: str | None = None
    corrected: bool = False
    start: int = -1


def singular(word: str, known: set[str]) -> str:
    """The singular, if it is a known word."""
    if word.endswith("ss"):  # "mass"
        return word
    for ending, other in (("ies", "y"), ("es", ""), ("s", ""), ("es", "is"), ("omata", "oma")):
        if len(word) >= SHORTEST_PLURAL and word.endswith(ending) and word[: -len(ending)] + other in known:
            return word[: -len(ending)] + other
    return word


def _tables() -> dict[str, Tag]:
    """Every phrase and its tag. Of lists that hold the same phrase the later one has it, but for those below."""
    table: dict[str, Tag] = {}

    def add(phrases: Iterable[str], kind: str, value: str = "", side: str | None = None) -> None:
        table.update({phrase: Tag(kind, value, phrase, side=side) for phrase in phrases})

    add(CUES["elsewhere"]["words"], "elsewhere")
    for section, kind in (("sides", "side"), ("severities", "severity"), ("structures", "structure")):
        for value, phrases in CUES[section].items():
            add(phrases, kind, value)
    for name, phrases in CUES["locations"].items():
        place, _, side = name.partition(" ")
        add(phrases, "location", place, side or None)
    for phrases in CUES["age groups"].values():
        add(phrases, "filler")  # "middle-aged" is not a place in the lung
    for symptom, phrases in CUES["symptoms"].items():
        add(phrases, "symptom", symptom)
    for kind, phrases in CUES["cues"].items():
        add(phrases, kind)
    # These stand before what they mean or after it: "absent effusion", "effusion absent".
    for kind, before in (("negation", "negated before"), ("doubt", "doubted before")):
        add(set(CUES["cues"][kind]) & set(CUES["cues"][before]), f"{kind} either way")
    findings = {phrase: Tag("finding", names, phrase) for phrase, names in finding_phrases().items()}
    pairs = {phrase: phrase.split() for phrase in findings if phrase.count(" ") == 1}
    turned = {f"{second} {first}": findings[phrase] for phrase, (first, second) in pairs.items()}  # "aorta tortuous"
    return turned | table | findings


def _first_word(phrase: str) -> str:
    return phrase.partition(" ")[0]


def _is_statement(phrase: str, tag: Tag) -> bool:
    """Whether a finding's phrase says something of a part of the chest: "heart enlarged", "lungs hyperinflated"."""
    first, _, second = phrase.partition(" ")
    return tag.kind == "finding" and first in PARTS and (second.endswith(("ed", "ous", "ic")) or second in SAID)


PARTS = {word for phrases in CUES["structures"].values() for word in phrases}
SAID = {"big", "large", "larger", "wide", "broad", "flat", "wet", "white", "broken"}
PLURALS = {"bases", "apices"}  # of both lungs
_RAW_TABLE = _tables()
WORDS = {word for phrase in _RAW_TABLE for word in phrase.split()}
WORDS -= {word for word in WORDS if word not in PLURALS and singular(word, WORDS) != word}
TABLE = {
    key: replace(entry, phrase=key)
    for phrase, entry in _RAW_TABLE.items()
    for key in [" ".join(word if word in PLURALS else singular(word, WORDS) for word in phrase.split())]
}
STATEMENTS = {phrase for phrase, tag in _RAW_TABLE.items() if _is_statement(phrase, tag)}
# Words that may stand inside a finding's phrase; the first ones place it.
PLACING = {"left", "right", "lt", "rt", "l", "r", "bilateral", "both", "upper", "lower", "middle"}
INSIDE = PLACING | {"a", "an", "the", "is", "are", "appear", "my", "his", "her"}
# First word -> the numbers of words of the phrases that begin with it, longest first.
LENGTHS = {
    first: sorted({phrase.count(" ") + 1 for phrase in phrases}, reverse=True)
    for first, phrases in groupby(sorted(TABLE, key=_first_word), key=_first_word)
}
FILLERS = set(CUES["fillers"]["words"]) | {
    word
    for section in ("sexes", "age groups")
    for phrases in CUES[section].values()
    for phrase in phrases
    for word in phrase.split()
}
