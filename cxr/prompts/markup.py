"""Marks of other writing around a prompt: HTML, XML, Markdown, boxes of forms, dictated punctuation.

Every repetition is bounded, so that the time grows with the length of the prompt only.
"""

from __future__ import annotations

import html
import re

from cxr.prompts.other_programs import PromptParts
from cxr.prompts.records import Note

STRUCK_OUT = "struck out; nothing of it is asked for"

_COMMENT = re.compile(r"<!--[^<>]{0,500}-->")
_STRUCK = re.compile(r"<(del|s|strike)\b[^<>\n]{0,80}>([^<>]{1,300})</\1>|~~([^~\n]{1,300})~~", re.IGNORECASE)
_INLINE = re.compile(
    r"</?(?:b|i|u|a|em|strong|span|font|ins|mark|sup|sub|code|small|big)\b[^<>\n:]{0,80}>", re.IGNORECASE
)
_BLOCK = re.compile(
    r"</?(?:p|div|br|hr|li|ul|ol|h[1-6]|tr|t[dh]|table|tbody|thead|section|body|html)\b[^<>\n:]{0,80}>", re.IGNORECASE
)
_CELL = re.compile(r"</t[dh]>(?=\s{0,9}<t[dh]\b)", re.IGNORECASE)
_ELEMENT = re.compile(r"<([a-z]\w{0,40})>([^<>\n]{1,200})</\1>", re.IGNORECASE)
_TAG = re.compile(
    r"<(?:/[a-z]\w{0,40}|[a-z]\w{0,40}((?: [\w-]{1,40}=(?:'[^'<>\n]{0,80}'|\"[^\"<>\n]{0,80}\")){1,9}) ?/?)>",
    re.IGNORECASE,
)
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]{0,200}[^\s*])\1(?!\w)")
_ROUND_BOX, _ROUND_TICKED = re.compile(r"\( ?(x?) ?\)", re.IGNORECASE), re.compile(r"\( ?x ?\)", re.IGNORECASE)
_CIRCLES = str.maketrans({"○": "[ ]", "●": "[x]"})  # where a line has both; else they are bullets
_CHOICE = "(?:none|no|yes|y|n|absent|present|small|moderate|large|mild|severe|trace|normal|abnormal)"
_CHOICES = re.compile(
    rf"[\[(] ?(?:(?:select|choose|circle) one ?:? ?)?{_CHOICE}(?: ?[/|] ?{_CHOICE}){{1,9}} ?[\])]", re.IGNORECASE
)
_QUOTES = str.maketrans("", "", "'\"")
_SPOKEN = re.compile(r" (?:colon|comma|period|full stop|new (?:line|paragraph))\b", re.IGNORECASE)
_SPOKEN_END = re.compile(r" (?:full stop|new (?:line|paragraph))\b[.,]?", re.IGNORECASE)
_SPOKEN_PERIOD = re.compile(r"(?<!ive)(?<!al)(?<! the)(?<! this)(?<! same) period\b", re.IGNORECASE)
_SPOKEN_COMMA = re.compile(r" comma\b", re.IGNORECASE)
_SPOKEN_COLON = re.compile(r"\b(findings?|impression|indication|history|comparison|conclusion) colon\b", re.IGNORECASE)


def without_markup(text: str) -> PromptParts:
    """Write marks out as the line ends and boxes that they stand for; what is struck out is denied.

    Args:
        text: a tidied prompt.
    """
    marked = "<" in text or "~~" in text
    struck = [" ".join((match.group(2) or match.group(3)).split()) for match in _STRUCK.finditer(text) if marked]
    notes = tuple(Note(words, STRUCK_OUT) for words in struck)
    if marked:
        text = _BLOCK.sub("\n", _CELL.sub(" | ", _INLINE.sub("", _STRUCK.sub(" ", _COMMENT.sub(" ", text)))))
        text = _TAG.sub(_attributes, _ELEMENT.sub(r"\n\1: \2\n", text))
    if "&" in text:
        text = html.unescape(text).replace("\N{NO-BREAK SPACE}", " ")
    if "*" in text:
        text = _EMPHASIS.sub(r"\2", text)
    if "[" in text or "(" in text:
        text = _CHOICES.sub(" ", text)
    if "(" in text and _ROUND_TICKED.search(text):
        text = _ROUND_BOX.sub(r"[\1]", text)
    if "○" in text:
        text = "\n".join(line.translate(_CIRCLES) if "●" in line else line for line in text.split("\n"))
    return PromptParts(_with_spoken_marks(text), "\n".join(struck), notes)


def _attributes(mark: re.Match[str]) -> str:
    """The attributes of a tag: "effusion" and "no" of <finding name="effusion" present="no"/>."""
    return f"\n{(mark.group(1) or '').translate(_QUOTES)}\n"


def _with_spoken_marks(text: str) -> str:
    if not _SPOKEN.search(text):
        return text
    text = _SPOKEN_COLON.sub(r"\1:", _SPOKEN_COMMA.sub(",", _SPOKEN_END.sub(". ", text)))
    return text if "." in text else _SPOKEN_PERIOD.sub(".", text)
