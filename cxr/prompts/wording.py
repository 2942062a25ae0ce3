"""The text of a prompt before it is cut into phrases: tidied for the eye, written out for the machine.

No regular expression here repeats a group that can match nothing or the same text in two ways, so that the time grows
with the length of the prompt and with nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from cxr.prompts.lexicon import NUMBER_WORDS, TENS

MAX_CHARACTERS = 8_000  # four times what a request may hold; what follows is not read

_MARKS = re.compile(r"_{2,}|\[\*\*[^\]\n]{0,60}\*\*\]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_PUNCTUATION = str.maketrans(
    {"’": "'", "_": " ", '"': " ", "“": " ", "”": " ", "{": "(", "}": ")", "−": "-", "–": "-", "—": "-", "‐": "-"}
    | {
        "‑": "-",
        "。": ".",
        "、": ",",
        "،": ",",
        "；": ";",
        "~": " ",
        "≈": " ",
        "→": ":",
        "➔": ":",
        "⇒": ":",
        "\ufe0f": "",
    }
    | dict.fromkeys("✗✘✖❌🚫⛔👎☐□◻⬜", "[ ]")
    | dict.fromkeys("✓✔✅👍☑☒■◼⬛", "[x]")
)
_SPACE = re.compile(r"[^\S\n]+")


def _with_boxes_read(line: re.Match[str]) -> str:
    """A line that begins with a box to tick, each of which stands before its finding."""
    return _TICKED.sub(", present ", _BOX.sub(", no ", line.group()))


_BOX, _TICKED = re.compile(r"\[ ?\]"), re.compile(r"\[ ?x ?\]", re.IGNORECASE)
_CELLS = "(?:no|yes|none|absent|present|negative|positive|true|false)"
_BONES = "ribs?|clavicle|sternum|humerus"
Forms = tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]


def _compiled(*forms: tuple[str, str | Callable[[re.Match[str]], str]]) -> Forms:
    return tuple((re.compile(pattern, re.IGNORECASE), words) for pattern, words in forms)


# Short forms that need letters or a mark, which few prompts have, and those that need none.
_FORMS_BY_MARK: dict[str, Forms] = {
    "[": _compiled(
        # Boxes, before a line's items or behind them: "[x] effusion [ ] edema", "effusion [x]".
        (r"(?:^|(?<=\n))(?:[-*] ?)?\[ ?x? ?\][^\n]*", _with_boxes_read),
        (r"([,;] ?)\[ ?\] ?(?=[a-z])", r"\1no "),
        (r"([,;] ?)\[ ?x ?\] ?(?=[a-z])", r"\1present "),
        (r"[=:]? ?\[ ?\]", ": none,"),
        (r"[=:]? ?\[ ?x ?\]", ": present,"),
    ),
    "/": _compiled(
        (r"\bn ?/ ?a\b", "unknown"),
        (r"\(? ?\b(?:yes ?/ ?no|y ?/ ?n)\b ?\)? ?[:=] ?", ": "),
        (r"\br ?/ ?o\b(?! ?')", "rule out"),
        (r"\bb ?/ ?l\b", "bilateral"),
        (r"\bh ?/ ?o\b", "history of"),
        (r"\bs ?/ ?p\b", "status post"),
        (r"\bc ?/ ?w\b", "consistent with"),
        (r"\bc ?/ ?o\b", " "),
        (r"\bw/(?! ?o(?:ut)?\b)", "with "),
        (r"\band ?/ ?or\b", "or"),
    ),
    "nt": _compiled(
        (r"\b(is|are|was|were|do|does|did|has|have|had|could|would|should)nt\b", r"\1 not"),
        (r"\bcant\b", "cannot"),
    ),
    "with out": _compiled((r"\bwith out\b", "without")),
    "free ": _compiled((r"(?<=[a-z]) free(?= (?:lung|chest|film|image|radiograph)s?\b)", " absent")),
    ":": _compiled((r": ?(?:null|nan|tbd|not applicable)\b", ": unknown")),
    "": _compiled(
        (rf"(?:(?<!\.)\.{{2,}}|[-=]>) ?(?={_CELLS}\b)", ": "),  # "effusion ..... no", "effusion -> no"
        (r"([^\w\s])\1+", r"\1"),  # "???"
        (r"\? ?(?:a|ans|answer) ?:", "?"),
        (r"\bthere's\b", "there is"),
        (r"\( ?\? ?\)", " possible "),
        (r"(?<=\s)!(?=[a-z])", "no "),
        (r"\.(?:(?<=\bno\.)|(?<=\bwithout\.))(?=[a-z])|\((?:(?<=\bnot\()|(?<=\bnot \())", " "),
        (rf"[, ] {{0,3}}(?:value|status|result|presence|present|count) {{0,3}}[:=] {{0,3}}(?={_CELLS}\b|[01]\b)", ": "),
        (rf",(?<=[a-z],) ?({_CELLS}|[01])(?= ?(?:\n|$))", r": \1"),  # a table with commas
        (r"\bw(?: ?/ ?o(?:ut)?\b|\.?o\b\.?)", "without"),
        (r"(?<!\w)[ø∅](?!\w)", "no"),
        (rf"\b({_BONES}) ?#(?!\d)", r"\1 fracture"),
        (rf"#(?= ?(?:{_BONES})\b)", "fractured "),
        # Values and signs of tables: "effusion=1, pneumothorax=0", "effusion +, pneumothorax (-)".
        (r"(?<=[=:(| ][01])\.0+(?!\d)", ""),
        (r"(?<!age)[=:] ?0(?![\w.])", ": none,"),
        (r"[=:] ?-(?= ?(?:[,;\n]|$))", ": none"),
        (r"[=:] ?\+(?= ?(?:[,;\n]|$))", ": present"),
        (
            r"(^|[,;:\n] ?)(?:!|(?<!,)0 (?!(?:y|yo|m|f|d|(?:year|yr|month|mo|week|wk|day|hour)s?)\b))(?=[a-z])",
            r"\1 no ",
        ),
        (r"(^|[,;.\n]) ?\( ?- ?\) ?(?=[a-z])", r"\1 no "),
        (r"(^|[,;.\n]) ?\( ?\+ ?\) ?(?=[a-z])", r"\1 present "),
        (r"\( ?- ?\)", " none "),
        (r"\( ?\+ ?\)", " "),
        (r"(?<=[a-z]) ?\+(?= ?(?:[,;\n]|$))", " "),
        (r"(?<=[,;\n(]) ?\+(?=[a-z])|^\+(?=[a-z])", " present "),
        (r"(?<=[a-z]) -(?= ?(?:[,;\n]|$))|(?<=[a-z])-(?= ?(?:[,;]|$))", " none"),
        (r"\b(dr|mrs?|ms|vs)\.", r"\1"),
        # Shortened words, unless a new sentence follows.
        (
            r"\b(v|pl|approx|rt|lt|bilat|mod|sm|eff|pulm|hx|pt|neg|pos|yrs?|mos?|poss|susp|st|prob)\."
            r"(?! *(?:(?-i:[A-Z])|\n|$))",
            r"\1",
        ),
        (r"(?<![es]e)(?<=[a-z])-free\b", " absent"),  # "effusion-free"
        (r"\bcan't\b", "cannot"),
        (r"(?<=\w)n't\b", " not"),
        (r"\b(?:no{2,}|nno|n o)\b(?= ?[a-z])", "no"),
        (r"'s\b|(?<=[a-z])\.(?=[a-z]\b)", ""),
        (r"(?<![\w+])\+ve\b", "positive"),
        (r"(?<![\w-])-ve\b", "negative"),
        (r"(?<=\d)(?:st|nd|rd|th|ish)\b", ""),
        (r"(\d) ?1[/⁄]2(?= ?-?(?:year|yr|y|month|mo)s?\b)", r"\1"),  # completed years
        (r"(?<![\d.,])(\d{1,3})[.,]\d{1,2}(?=[ -]?(?:years?|yrs?|y/?o?|months?|mos?|weeks?|wks?|days?)\b)", r"\1"),
        (r"\b(aged?(?: is)?:? ?\d{1,3})[.,]\d{1,2}\b", r"\1"),
        (r"(\d[ -]years?),? (?:and )?\d{1,2}[ -]months?\b", r"\1"),
    ),
}
_FIRST, _NUMBERED = (
    re.compile(r"(?:^|[:\n.;,]) ?1[.)] ?[A-Za-z]"),
    re.compile(r"(?<![^\s:;,.])[1-9][.)] ?(?=[A-Za-z(])"),
)
_ASKED, _UNASKED = (
    re.compile(r"(?<![^\s,;])\+(?!ve\b)(?=[A-Za-z])"),
    re.compile(r"(?<![^\s,;])-(?=[A-Za-z])"),
)  # "+mass -edema"
_GLUED_PLUS, _GLUED_MINUS = re.compile(r"[A-Za-z]\+(?![+\w])"), re.compile(r"(?<=[A-Za-z])-(?=\s|$)")  # "edema- mass+"
_SPELLED = re.compile(
    rf"\b({'|'.join(TENS)})(?:[ -]({'|'.join(list(NUMBER_WORDS)[:9])}))?\b"
    rf"|\b(?<!hundred )(?<!hundred and )({'|'.join(NUMBER_WORDS)})(?=[ -](?:years?|yrs?|months?|weeks?|days?|yo|y)\b)",
    re.IGNORECASE,
)
_HYPHEN = re.compile(r"(?<=[^\W_])-(?=[^\W\d_])|(?<=[a-zA-Z])-(?=\d)")


class _PlainLetters(dict[int, str]):
    """Each character as one small letter without accents, so that its place in the text stays."""

    def __missing__(self, code: int) -> str:
        small = unicodedata.normalize("NFKD", chr(code))[0].lower()
        self[code] = small if len(small) == 1 and small.isascii() else chr(code).lower()[0]
        return self[code]


_PLAIN_LETTERS = _PlainLetters()


def tidy(text: str) -> str:
    """The prompt without ``___`` marks, control characters and surplus white space; lines stay lines."""
    text = _INVISIBLE.sub("", text[:MAX_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n"))
    text = "".join(
        character if unicodedata.category(character) not in ("Cc", "Cs") or character == "\n" else " "
        for character in unicodedata.normalize("NFKC", text)[:MAX_CHARACTERS]
    )
    lines = (_SPACE.sub(" ", _MARKS.sub(" ", line)).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def written_out(text: str) -> str:
    """Tidied text with its short forms and numbers written out, its capitals and accents kept."""
    if not text:  # a prompt without a negative one
        return text
    text = text.translate(_PUNCTUATION)
    if _FIRST.search(text):
        text = _NUMBERED.sub("; ", text)
    if _ASKED.search(text):
        text = _UNASKED.sub("no ", text)
    if _GLUED_PLUS.search(text):
        text = _GLUED_MINUS.sub(" none,", text)
    for mark, forms in _FORMS_BY_MARK.items():
        for pattern, words in forms if mark in text else ():
            text = pattern.sub(words, text)
    return _SPELLED.sub(_in_digits, text)


def plain_letters(text: str) -> str:
    """The same text in small letters without accents and hyphens; every character keeps its place."""
    return _HYPHEN.sub(" ", text).translate(_PLAIN_LETTERS)


def _in_digits(match: re.Match[str]) -> str:
    tens, unit, small = (part and part.lower() for part in match.groups())
    return str(TENS[tens] + NUMBER_WORDS.get(unit, 0) if tens else NUMBER_WORDS[small])
