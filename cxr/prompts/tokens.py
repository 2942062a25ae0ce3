"""Prompt -> tagged phrases: the longest phrase of the word lists at each place, in one pass."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import takewhile

from cxr.prompts.lexicon import CUES
from cxr.prompts.phrases import FILLERS, INSIDE, LENGTHS, PLACING, TABLE, Tag
from cxr.prompts.spelling import BaseForm, base_form
from cxr.prompts.wording import plain_letters

_LATIN = "a-zß-ɏ"
MAX_INSIDE = 2  # words that may stand inside a phrase
_NUMBER = r"\d+(?:[.,]\d+)?"
_MEASURE = re.compile(rf"{_NUMBER}(?: ?(?:x|by) ?{_NUMBER}){{0,2}} ?(?:cm|mm|ml|cc)\b")
_TOKEN = re.compile(
    rf"{_MEASURE.pattern}|\d+(?:[./]\d+)*%?[a-z]{{0,4}}|[{_LATIN}]+\d*|[^\W\d_{_LATIN}][^\x00-\x7f\s]*|[^\w\s]|\n"
)
_BOUNDARIES = {
    **dict.fromkeys(".!", "sentence"),
    **dict.fromkeys(";\n|•*", "part"),
    **dict.fromkeys(",()[]-", "comma"),
    "/": "or",
    "+": "break",
    "&": "and",
    ":": "is",
    "=": "is",
    ">": "comparison",
    "<": "comparison",
}
# Of scripts without spaces between words: a denial may stand anywhere in them.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff]")
_UNSPACED_DENIALS = tuple(word for word in CUES["cues"]["foreign negation"] if _UNSPACED.match(word))


def tag(text: str) -> list[Tag]:
    """Cut what ``written_out`` returns into phrases.

    Returns:
        A tag for each phrase, mark and unknown word, in order.
    """
    plain = plain_letters(text)
    raw = list(_TOKEN.finditer(plain))
    forms = [base_form(match.group()) for match in raw]
    words = [form.word for form in forms]
    tags: list[Tag] = []
    index = 0
    while index < len(raw):
        found, length, inside = _longest(words, index)
        if found is None:
            found = _single(plain, raw[index], words[index])
        start, end = raw[index].start(), raw[index + length - 1].end()
        tags += [replace(TABLE[word], words="", start=start) for word in inside if word in PLACING]
        tags.append(_placed(found, text[start:end], start, forms[index : index + length]))
        index += length
    return tags


def _placed(tag: Tag, words: str, start: int, forms: list[BaseForm]) -> Tag:
    corrected = any(form.corrected for form in forms)
    if tag.kind in ("AP", "PA") and not words.isascii():
        tag = Tag("unknown", phrase=tag.phrase)  # "på"
    return Tag(tag.kind, tag.value, tag.phrase, words, tag.side, corrected, start)


def _longest(words: list[str], index: int) -> tuple[Tag | None, int, list[str]]:
    """The longest phrase that begins here, its number of tokens, and the words of place that stand inside it."""
    for length in LENGTHS.get(words[index], ()):
        stretch = words[index : index + length]
        if len(stretch) == length and (found := TABLE.get(" ".join(stretch))):
            return found, length, []
        if INSIDE.isdisjoint(stretch):
            continue
        for place in range(
            1, length
        ):  # "elevated right hemidiaphragm", "swallowed a coin", "collapsed left lower lobe"
            inside = list(takewhile(INSIDE.__contains__, words[index + place : index + place + MAX_INSIDE]))
            for count in range(1, min(len(inside), len(words) - index - length) + 1):
                phrase = " ".join(
                    (*words[index : index + place], *words[index + place + count : index + length + count])
                )
                found = TABLE.get(phrase)
                if found and found.kind == "finding":
                    return found, length + count, inside[:count]
    return None, 1, []


def _single(text: str, match: re.Match[str], word: str) -> Tag:
    if word == "?":
        before = match.start() == 0 or text[match.start() - 1] in " \n,(:;?="
        glued = match.end() < len(text) and (
            text[match.end()].isalpha() or text[match.end() : match.end() + 2].strip().isalpha()
        )
        return Tag("doubt", phrase=word) if before and glued else Tag("question", phrase=word)
    if word in _BOUNDARIES:
        return Tag(_BOUNDARIES[word], phrase=word)
    if word[0].isdigit():
        return Tag("status" if _MEASURE.fullmatch(word) else "number", word, word)
    if any(denial in word for denial in _UNSPACED_DENIALS):
        return Tag("foreign negation", phrase=word)
    return Tag("filler" if word in FILLERS or not word[0].isalpha() else "unknown", phrase=word)
