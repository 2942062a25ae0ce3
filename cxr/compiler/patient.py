"""Age, age group and sex of the patient."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cxr.compiler.lexicon import CUES

MAX_AGE = 120


def _words(text: str) -> list[str]:
    return text.split()


_UNITS = {word: number for number, word in enumerate(_words("one two three four five six seven eight nine"), 1)}
_TEENS = {
    word: number
    for number, word in enumerate(
        _words("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"), 10
    )
}
_TENS = {
    word: 10 * number for number, word in enumerate(_words("twenty thirty forty fifty sixty seventy eighty ninety"), 2)
}
_SPELLED = re.compile(
    rf"\b(?:({'|'.join(_TENS)})(?: ({'|'.join(_UNITS)}))?|({'|'.join((*_UNITS, *_TEENS))}))"
    r"(?= (?:years?|yrs?|months?|weeks?|days?|yo|y)\b)"
)
_SEX_WORD = r"(?:male|female|man|woman|boy|girl|lady|gentleman|gent|guy|m|f)\b"
_PERSON = r"(?:baby|infant|boy|girl|child|neonate|newborn|toddler|male|female|m\b|f\b)"
_GAP = r"[ ,.-]{0,3}"
# Younger than a year or told in months: the number, and what one is in years.
_YOUNG = (
    (re.compile(rf"\b(\d{{1,3}}){_GAP}(?:months?|mos?|mths?|m/o){_GAP}(?:olds?\b|o\b|of age\b|{_PERSON})"), 12),
    (re.compile(r"\b(\d{1,3}) ?m/?o\b"), 12),
    (re.compile(rf"\b(\d{{1,3}}){_GAP}(?:weeks?|wks?|w/o){_GAP}(?:olds?\b|of age\b|{_PERSON})"), 52),
    (re.compile(rf"\b(\d{{1,3}}){_GAP}(?:days?|d/o|do){_GAP}(?:olds?\b|of (?:age|life)\b|{_PERSON})"), 365),
    (re.compile(rf"\b(\d{{1,2}})/12{_GAP}(?:olds?\b|{_PERSON})"), 12),
    (re.compile(rf"\b(\d{{1,2}})/52{_GAP}(?:olds?\b|{_PERSON})"), 52),
)
_YEARS = (
    re.compile(rf"\b(\d{{1,3}}){_GAP}(?:years?|yrs?|yr|y){_GAP}(?:olds?|of age|o)\b"),
    re.compile(r"\b(\d{1,3}) ?-?(?:yo|y/o|y ?o|y\.o|yom|yof|yr|yrs|yof?|y)(?![a-z])(?! (?:ago|history|smok|pack))"),
    re.compile(r"\b(\d{1,3}) ?y(?:/?o)?[mf]\b"),
    re.compile(
        rf"\b(\d{{1,3}})(?: years?| yrs?)?{_GAP}/?{_GAP}(?:white |black |asian |hispanic |caucasian |old )?{_SEX_WORD}"
    ),
    re.compile(r"\b(?:age|aged|ages)(?: is| of)?[ :=]{1,3}0{0,2}(\d{1,3})(?=y?\b)"),
    re.compile(r"\b(?:male|female|man|woman|m|f) ?/ ?(\d{1,3})\b"),
    re.compile(r"\b(?:male|female|man|woman|m|f),? ?(\d{1,3})(?=y?o? ?(?:[,.;|\n]|$|with|normal|years?))"),
    re.compile(r"\b(?:m|f) ?(\d{2,3})\b"),
    re.compile(r"\b(\d{1,3}) years?(?= ?(?:,|;|\.|$|male|female))(?! (?:ago|history))"),
    re.compile(r"\b(?:she|he|patient|pt) is (\d{1,3})\b"),
)
_YEAR_OLD = re.compile(r"\b(?:years?|yrs?)[ -]old\b")
_BARE = re.compile(r"(?:^|[,;|])[ ]?(\d{1,3})(?=[ ]?(?:[,;|]|$))")
_DECADE = re.compile(
    r"\bin (?:(?:his|her|their|the) )?(?:(?:early|mid|late|mid to late|early to mid)[ -]{1,2})?(\d)0'?s\b"
    r"|\b(\d)0[ -]?something\b"
)
_DECADE_WORD = re.compile(
    r"\b(twent|thirt|fort|fift|sixt|sevent|eight|ninet)ies\b|\b(quadra|quinqua|sexa|septua|octo|nona)genarian\b"
)
_DECADES = {"twent": 2, "thirt": 3, "fort": 4, "fift": 5, "sixt": 6, "sevent": 7, "eight": 8, "ninet": 9}
_DECADES |= {"quadra": 4, "quinqua": 5, "sexa": 6, "septua": 7, "octo": 8, "nona": 9}


@dataclass(frozen=True)
class Patient:
    """Everything that was said about one patient; more than one age or sex contradict each other."""

    ages: tuple[int, ...] = ()
    age_group: str | None = None
    sexes: tuple[str, ...] = ()


def read_patient(text: str) -> Patient:
    """Read age and sex.

    Args:
        text: what ``wording.plain_words`` returned.
    """
    text = _SPELLED.sub(_in_digits, text)
    words = set(re.findall(r"[a-z]+", text))
    sexes = {sex for sex, names in CUES["sexes"].items() if words & set(names)}
    sexes |= {match.group(1).upper() for match in re.finditer(r"\b\d{1,3} ?(?:y|yo|y/o)?[ /]?([mf])\b", text)}
    sexes |= {match.group(1).upper() for match in re.finditer(r"\b([mf])\d{2,3}\b", text)}
    months = [(int(match.group(1)), per_year) for pattern, per_year in _YOUNG for match in pattern.finditer(text)]
    if months:
        number, per_year = months[0]
        group = None if number >= per_year else "neonate" if number / per_year < 1 / 12 else "infant"
        return Patient((number // per_year,), group, tuple(sorted(sexes)))
    ages = {int(match.group(1)) for pattern in _YEARS for match in pattern.finditer(text)}
    ages = {age for age in ages if age <= MAX_AGE}
    if not ages and sexes:
        ages = {age for match in _BARE.finditer(text) if 0 < (age := int(match.group(1))) <= MAX_AGE}
    group = None if ages else _group(text)
    return Patient((0,) if group in ("neonate", "infant") else tuple(sorted(ages)), group, tuple(sorted(sexes)))


def _in_digits(match: re.Match[str]) -> str:
    tens, unit, small = match.groups()
    return str(_TENS[tens] + _UNITS.get(unit, 0) if tens else {**_UNITS, **_TEENS}[small])


def _group(text: str) -> str | None:
    if decade := _DECADE.search(text):
        return f"{decade.group(1) or decade.group(2)}0s"
    if decade := _DECADE_WORD.search(text):
        return f"{_DECADES[decade.group(1) or decade.group(2)]}0s"
    text = _YEAR_OLD.sub(" ", text)  # "___ year old woman" is no old woman
    padded = f" {' '.join(re.findall(r'[a-z]+', text))} "
    for group, names in CUES["age groups"].items():
        if any(f" {name} " in padded for name in names):
            return group
    return None
