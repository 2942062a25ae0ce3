"""Prompt -> tagged phrases: the longest phrase of the word lists at each place, in one pass.

No regular expression here repeats a group that can match nothing or the same text in two ways, so that the time grows
with the length of the prompt and with nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from cxr.compiler.lexicon import CUES, finding_phrases

MAX_CHARACTERS = 8_000  # four times what a request may hold; what follows is not read
SHORTEST_PLURAL = 4
TYPO_MIN_LETTERS, TYPO_TWO_MIN_LETTERS = 7, 11

_MARKS = re.compile(r"_{2,}|\[\*\*[^\]\n]{0,60}\*\*\]")
_PUNCTUATION = str.maketrans({"’": "'", "_": " ", '"': " ", "“": " ", "”": " ", "{": " ", "}": " "})
_SPACE = re.compile(r"[^\S\n]+")
_TOKEN = re.compile(r"\d+(?:\.\d+)?[a-z]{0,4}|[a-z]+\d*|[^\w\s]|\n")
_SHORT_FORMS = (
    (re.compile(r"\br ?/ ?o\b"), "rule out"),
    (re.compile(r"\bw ?/ ?o\b"), "without"),
    (re.compile(r"\bb ?/ ?l\b"), "bilateral"),
    (re.compile(r"\bh ?/ ?o\b"), "history of"),
    (re.compile(r"\bs ?/ ?p\b"), "status post"),
    (re.compile(r"\bc ?/ ?o\b|\bc ?/ ?w\b"), " "),
    (re.compile(r"\bw/"), "with "),
    (re.compile(r"\band ?/ ?or\b"), "or"),
    (re.compile(r"\b(ribs?|clavicle|sternum|humerus) ?#(?!\d)"), r"\1 fracture"),
    (re.compile(r"#(?= ?(?:ribs?|clavicle|sternum|humerus)\b)"), "fractured "),
    # Values and signs of tables: "effusion=1, pneumothorax=0", "effusion +, pneumothorax -".
    (re.compile(r"(?<!age)[=:] ?0(?![\w.])"), " none"),
    (re.compile(r"(?<=[a-z]) ?\+(?= ?(?:[,;\n]|$))|(?<=[,;\n(]) ?\+(?=[a-z])|^\+(?=[a-z])"), " "),
    (re.compile(r"(?<=[a-z]) -(?= ?(?:[,;\n]|$))"), " negative"),
    (
        re.compile(
            r"\b(vs|v|pl|approx|dr|mrs?|ms|rt|lt|bilat|mod|sm|eff|pulm|hx|pt|neg|pos|yrs?|mos?|poss|susp|st|prob)\."
        ),
        r"\1",
    ),
    (re.compile(r"(?<=\w)n't\b"), " not"),
    (re.compile(r"'s\b|(?<=[a-z])\.(?=[a-z]\b)"), ""),
    (re.compile(r"(?<![\w+])\+ve\b"), "positive"),
    (re.compile(r"(?<![\w-])-ve\b"), "negative"),
    (re.compile(r"(?<=\d)(?:st|nd|rd|th)\b"), ""),
    (re.compile(r"(?<=[^\W\d_])[-‐‑–](?=[^\W\d_])|(?<=[a-z])-(?=\d)"), " "),
)
# British spellings, and Latin ae and oe.
_BRITISH = (
    ("oede", "ede"),
    ("haem", "hem"),
    ("tumour", "tumor"),
    ("oea", "ea"),
    ("oesoph", "esoph"),
    ("goitre", "goiter"),
    ("paed", "ped"),
    ("isation", "ization"),
    ("ised", "ized"),
)
_BOUNDARIES = {
    **dict.fromkeys(".;\n!|•*", "sentence"),
    **dict.fromkeys(",()[]-–—", "comma"),
    "/": "or",
    "+": "and",
    "&": "and",
    ":": "is",
    "=": "is",
    ">": "compared",
    "<": "compared",
}


@dataclass(frozen=True)
class Tag:
    """One phrase: its kind, what it stands for, and its words as the prompt has them."""

    kind: str
    value: str | tuple[str, ...] = ""
    words: str = ""
    side: str | None = None  # that a location implies


def tidy(text: str) -> str:
    """The prompt without ``___`` marks, control characters and surplus white space; lines stay lines."""
    text = "".join(
        character if unicodedata.category(character) not in ("Cc", "Cs") or character == "\n" else " "
        for character in text[:MAX_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n")
    )
    lines = (_SPACE.sub(" ", _MARKS.sub(" ", line)).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def plain_words(text: str) -> str:
    """Tidied text in small letters, with its short forms written out, for everything that reads it."""
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).lower())
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    text = text.translate(_PUNCTUATION)
    for pattern, words in _SHORT_FORMS:
        text = pattern.sub(words, text)
    return text


def tag(text: str) -> list[Tag]:
    """Cut what ``plain_words`` returns into phrases.

    Returns:
        A tag for each phrase, mark and unknown word, in order.
    """
    raw = list(_TOKEN.finditer(text))
    tokens = [_lemma(match.group()) for match in raw]
    tags: list[Tag] = []
    index = 0
    while index < len(tokens):
        found, length, side = _longest(tokens, index)
        if found is None:
            found = _single(text, raw[index], tokens[index])
        if side is not None:
            tags.append(side)
        words = " ".join(match.group() for match in raw[index : index + length])
        tags.append(Tag(found.kind, found.value, words, found.side))
        index += length
    return tags


def _longest(tokens: list[str], index: int) -> tuple[Tag | None, int, Tag | None]:
    """The longest phrase that begins here, its number of tokens, and a side that stands inside it."""
    for phrase, found in _PHRASES.get(tokens[index], ()):
        if tokens[index : index + len(phrase)] == phrase:
            return found, len(phrase), None
        if found.kind != "finding" or len(phrase) == 1:
            continue
        stretch = tokens[index : index + len(phrase) + 1]  # "elevated right hemidiaphragm", "swallowed a coin"
        for place in range(1, len(stretch) - 1):
            if stretch[place] in _INSIDE and stretch[:place] + stretch[place + 1 :] == phrase:
                return found, len(stretch), _TABLE[stretch[place]] if stretch[place] in _SIDE_WORDS else None
    return None, 1, None


def _single(text: str, match: re.Match[str], word: str) -> Tag:
    if word == "?":
        before = match.start() == 0 or text[match.start() - 1] in " \n,(:;?="
        glued = match.end() < len(text) and (
            text[match.end()].isalpha() or text[match.end() : match.end() + 2].strip().isalpha()
        )
        return Tag("doubt") if before and glued else Tag("question")
    if (
        word == "."
        and text[match.start() - 1 : match.start()].isdigit()
        and text[match.end() : match.end() + 1].isdigit()
    ):
        return Tag("filler")
    if word in _BOUNDARIES:
        return Tag(_BOUNDARIES[word])
    if word[0].isdigit():
        return Tag("number", word)
    return Tag("filler" if word in _FILLERS or not word[0].isalpha() else "unknown")


def _lemma(token: str) -> str:
    """The spelling that the word lists use: American, singular, without a single typing error."""
    if token in _WORDS or not token[0].isalpha():
        return token
    for british, american in _BRITISH:
        token = token.replace(british, american)
    token = _singular(token, _WORDS)
    return token if token in _WORDS or token in _FILLERS else _without_typo(token)


def _singular(word: str, known: set[str]) -> str:
    """The singular, if it is a known word."""
    for ending, other in (("ies", "y"), ("es", ""), ("s", ""), ("es", "is")):
        if len(word) >= SHORTEST_PLURAL and word.endswith(ending) and word[: -len(ending)] + other in known:
            return word[: -len(ending)] + other
    return word


def _without_typo(token: str) -> str:
    """The only finding's word one slip away (two in long words), else the token itself."""
    if token in _MISSING_LETTER:
        return _MISSING_LETTER[token]
    if len(token) < TYPO_MIN_LETTERS or len(token) > 2 * TYPO_TWO_MIN_LETTERS:
        return token
    for form in (token, token.removesuffix("s")):
        for variant in _shortened(form):
            if variant in _TYPOS:
                return _TYPOS[variant]
    return token


def _shortened(word: str) -> list[str]:
    """The word with up to one letter left out, up to two if it is long: a slip of either word then makes them equal."""
    count = 2 if len(word) >= TYPO_TWO_MIN_LETTERS else 1
    return [
        "".join(letter for place, letter in enumerate(word) if place not in gaps)
        for missing in range(count + 1)
        for gaps in combinations(range(1, len(word)), missing)  # the first letter is hardly ever wrong
    ]


def _tables() -> dict[str, Tag]:
    """Every phrase and its tag. Of lists that hold the same phrase the later one has it, but for those below."""
    table: dict[str, Tag] = {}

    def add(phrases: Iterable[str], kind: str, value: str = "", side: str | None = None) -> None:
        table.update({phrase: Tag(kind, value, phrase, side) for phrase in phrases})

    for section, kind in (("sides", "side"), ("severities", "severity"), ("structures", "structure")):
        for value, phrases in CUES[section].items():
            add(phrases, kind, value)
    for name, phrases in CUES["locations"].items():
        place, _, side = name.partition(" ")
        add(phrases, "location", place, side or None)
    for phrases in CUES["age groups"].values():
        add(phrases, "filler")  # "middle-aged" is no place in the lung
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


_RAW_TABLE = _tables()
_WORDS = {word for phrase in _RAW_TABLE for word in phrase.split()}
_WORDS -= {word for word in _WORDS if _singular(word, _WORDS) != word}
_TABLE = {" ".join(_singular(word, _WORDS) for word in phrase.split()): entry for phrase, entry in _RAW_TABLE.items()}
_SIDE_WORDS = {"left", "right", "lt", "rt", "l", "r", "bilateral", "both"}
_INSIDE = _SIDE_WORDS | {"a", "an", "the", "is", "are", "appear", "my", "his", "her"}
_PHRASES: dict[str, list[tuple[list[str], Tag]]] = {}
for _phrase, _tag in sorted(_TABLE.items(), key=lambda item: -len(item[0].split())):
    _PHRASES.setdefault(_phrase.split()[0], []).append((_phrase.split(), _tag))
_FILLERS = set(CUES["fillers"]["words"]) | {
    word
    for section in ("sexes", "age groups")
    for phrases in CUES[section].values()
    for phrase in phrases
    for word in phrase.split()
}
_CHECKED_KINDS = {"finding", "side", "severity"}  # a slip in other words costs little
_CHECKED = sorted({word for phrase, entry in _TABLE.items() if entry.kind in _CHECKED_KINDS for word in phrase.split()})
_TYPOS = {
    variant: word
    for word in reversed(_CHECKED)
    if len(word) >= TYPO_MIN_LETTERS
    for variant in reversed(_shortened(word))
    if len(variant) >= TYPO_MIN_LETTERS - 1
}
# Shorter words: other words are too near for more than this.
_MISSING_LETTER = {
    word[:place] + word[place + 1 :]: word
    for word in _CHECKED
    if len(word) == TYPO_MIN_LETTERS - 1
    for place in range(1, len(word))
}
for _word in (*_WORDS, *_FILLERS):
    _TYPOS.pop(_word, None)
    _MISSING_LETTER.pop(_word, None)
