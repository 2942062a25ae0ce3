"""The text of a prompt before it is cut into phrases: tidied for the eye, written out for the machine.

No regular expression here repeats a group that can match nothing or the same text in two ways, so that the time grows
with the length of the prompt and with nothing else.
"""

from __future__ import annotations

import re
import unicodedata

MAX_CHARACTERS = 8_000  # four times what a request may hold; what follows is not read

_MARKS = re.compile(r"_{2,}|\[\*\*[^\]\n]{0,60}\*\*\]")
_PUNCTUATION = str.maketrans({"’": "'", "_": " ", '"': " ", "“": " ", "”": " ", "{": " ", "}": " "})
_SPACE = re.compile(r"[^\S\n]+")
_SHORT_FORMS = (
    (re.compile(r"([^\w\s])\1+"), r"\1"),  # "???"
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
