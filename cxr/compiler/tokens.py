"""Prompt -> tagged phrases: the longest phrase of the word lists at each place, in one pass."""

from __future__ import annotations

import re

from cxr.compiler.phrases import FILLERS, INSIDE, PHRASES, SIDE_WORDS, TABLE, Tag
from cxr.compiler.spelling import base_form

_TOKEN = re.compile(r"\d+(?:\.\d+)?[a-z]{0,4}|[a-z]+\d*|[^\w\s]|\n")
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


def tag(text: str) -> list[Tag]:
    """Cut what ``plain_words`` returns into phrases.

    Returns:
        A tag for each phrase, mark and unknown word, in order.
    """
    raw = list(_TOKEN.finditer(text))
    tokens = [base_form(match.group()) for match in raw]
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
    for phrase, found in PHRASES.get(tokens[index], ()):
        if tokens[index : index + len(phrase)] == phrase:
            return found, len(phrase), None
        if found.kind != "finding" or len(phrase) == 1:
            continue
        stretch = tokens[index : index + len(phrase) + 1]  # "elevated right hemidiaphragm", "swallowed a coin"
        for place in range(1, len(stretch) - 1):
            if stretch[place] in INSIDE and stretch[:place] + stretch[place + 1 :] == phrase:
                return found, len(stretch), TABLE[stretch[place]] if stretch[place] in SIDE_WORDS else None
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
    return Tag("filler" if word in FILLERS or not word[0].isalpha() else "unknown")
