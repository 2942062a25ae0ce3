"""Age, age group and sex of the patient."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from cxr.prompts.lexicon import CUES

MAX_AGE = 120
_DIGIT = re.compile(r"\d")

_SEX_WORD = r"(?:male|female|man|woman|boy|girl|lady|gentleman|gent|guy|m|f)\b"
_PERSON = r"(?:baby|infant|boy|girl|child|neonate|newborn|toddler|male|female|m\b|f\b)"
_GAP = r"[ ,.-]{0,3}"
_AGED = r"\b(?:age|aged)(?: is| of)?[ :=]{1,3}"
_NOT_AGE = r"(?! ?(?:ago|history|after|post|later|gestation|pregnant|premature|preterm))"
_MONTHS, _WEEKS, _DAYS = r"(?:months?|mos?|mths?|m/o)", r"(?:weeks?|wks?|w/o)", r"(?:days?|d/o|do)"


def _young(unit: str, ending: str) -> re.Pattern[str]:
    """A number of months, weeks or days that is an age: "3 months old", "aged 3 months", "baby, 3 months"."""
    number = rf"(\d{{1,3}}){_GAP}{unit}"
    return re.compile(
        rf"\b{number}{_GAP}(?:{ending}|{_PERSON})"
        rf"|(?:{_AGED}|\b{_PERSON},?(?: of)? ){number}\b{_NOT_AGE}"
    )


# Younger than a year or counted in months: the number, and what one is in years.
_YOUNG = (
    (_young(_MONTHS, r"olds?\b|o\b|of age\b"), 12),
    (re.compile(r"\b(\d{1,3}) ?m/?o\b"), 12),
    (_young(_WEEKS, r"olds?\b|of age\b"), 52),
    (_young(_DAYS, r"olds?\b|of (?:age|life)\b"), 365),
    (re.compile(r"\bday (\d{1,3}) of life\b|\b(?:dol|day of life) ?#?(\d{1,3})\b"), 365),
    (re.compile(r"\b(\d{1,3})[ -]?(?:hours?|hrs?)[ -](?:olds?|of (?:age|life))\b"), 8766),
    (re.compile(rf"\b(\d{{1,2}})/12{_GAP}(?:olds?\b|{_PERSON})"), 12),
    (re.compile(rf"\b(\d{{1,2}})/52{_GAP}(?:olds?\b|{_PERSON})"), 52),
)
_RANGE = re.compile(
    rf"\b(\d{{1,3}}) ?(?:-|to|or|/) ?(\d{{1,3}}){_GAP}(?:years?|yrs?|yr|y){_GAP}(?:olds?|of age|o\b|{_SEX_WORD})"
    rf"|(?:\bage|\baged|\bages)(?: is| of| range)?(?: between)?[ :=]{{1,3}}(\d{{1,3}}) ?(?:-|to|and) ?(\d{{1,3}})\b"
    rf"|\b(\d{{1,3}}) ?- ?(\d{{1,3}}) ?(?:yo|y/o)\b"
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
    re.compile(rf"\b{_SEX_WORD},? ?(\d{{1,3}})(?=y?o? ?(?:[,;|\n]|\.(?!\d)|$|with|normal|years?))"),
    re.compile(r"\b(?:m|f) ?(\d{2,3})\b"),
    re.compile(rf"\b{_SEX_WORD} of (\d{{1,3}})\b"),
    re.compile(r"(?<!since )(?<!for )(?<!after )\b(\d{1,3}) years?(?= ?(?:,|;|\.|$|male|female))(?! (?:ago|history))"),
    re.compile(r"\b(?:she|he)(?: is| was)? (\d{1,3})\b|\b(?:patient|pt) is (\d{1,3})\b"),
)
_SEXES = (re.compile(r"\b\d{1,3} ?(?:y|yo|y/o)?[ /]?([mf])\b"), re.compile(r"\b([mf])\d{2,3}\b"))
# No name follows: multiple sclerosis, mitral regurgitation.
_NO_TITLE = re.compile(r"\bm[rs]\b(?!\.? (?!(?:and|or|with)\b)[a-z])")
_RELATIVE = re.compile(r"(?<=\bher |\bhis )(?:grand)?(?:father|mother)\b")
_YEAR_OLD = re.compile(r"\b(?:years?|yrs?)[ -]old\b")
_BARE = re.compile(r"(?:^|[,;|\n\[(])[ ]?(\d{1,3})(?=[ ]?(?:[,;|\n\])]|$))")
_DECADE = re.compile(
    r"(?:\bin (?:his|her|their|the) |\bin )?(?:\b(?:early|mid|late|mid to late|early to mid)[ -]{1,2})?\b([2-9])0'?s\b"
    r"|\b(\d)0[ -]?something\b"
)
_DECADE_WORD = re.compile(
    r"\b(twent|thirt|fort|fift|sixt|sevent|eight|ninet)ies\b|\b(quadra|quinqua|sexa|septua|octo|nona)genarian\b"
)
_DECADES = {"twent": 2, "thirt": 3, "fort": 4, "fift": 5, "sixt": 6, "sevent": 7, "eight": 8, "ninet": 9}
_DECADES |= {"quadra": 4, "quinqua": 5, "sexa": 6, "septua": 7, "octo": 8, "nona": 9}


class Span(NamedTuple):
    """From where to where in a text."""

    start: int
    end: int


@dataclass(frozen=True)
class Patient:
    """Everything that was said about one patient; more than one age or sex contradict each other.

    Args:
        ages: in completed years.
        age_group: where no age is given; "neonate" and "infant" beside it.
        sexes: "F", "M".
        spans: where in the text age and sex were read.
        age_range: the user's own words, where the age is the middle of two ("45-50 year old").
    """

    ages: tuple[int, ...] = ()
    age_group: str | None = None
    sexes: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    age_range: str = ""


def read_patient(text: str) -> Patient:
    """Read age and sex.

    Args:
        text: written out, in plain letters.
    """
    spans: list[Span] = []

    has_digits = bool(_DIGIT.search(text))  # else most patterns find nothing

    def found(pattern: re.Pattern[str]) -> list[re.Match[str]]:
        matches = list(pattern.finditer(text)) if has_digits or pattern is _DECADE_WORD else []
        spans.extend(Span(*match.span()) for match in matches)
        return matches

    def found_age(pattern: re.Pattern[str]) -> list[int]:
        matches = [match for match in pattern.finditer(text) if _number(match) <= MAX_AGE] if has_digits else []
        spans.extend(Span(*match.span()) for match in matches)
        return [_number(match) for match in matches]

    words = set(re.findall(r"[a-z]+", _RELATIVE.sub(" ", _NO_TITLE.sub(" ", text))))
    sexes = {sex for sex, names in CUES["sexes"].items() if words & set(names)}
    sexes |= {match.group(1).upper() for pattern in _SEXES for match in found(pattern)}
    known = tuple(sorted(sexes))
    if ranges := found(_RANGE):
        low, high = (int(number) for number in ranges[0].groups() if number)
        return Patient(((low + high) // 2,), None, known, tuple(spans), ranges[0].group())
    months = [(_number(match), per_year) for pattern, per_year in _YOUNG for match in found(pattern)]
    if months:
        number, per_year = months[0]
        group = None if number >= per_year else "neonate" if number / per_year < 1 / 12 else "infant"
        return Patient((number // per_year,), group, known, tuple(spans))
    ages = {age for pattern in _YEARS for age in found_age(pattern)}
    if not ages and sexes:
        ages = {age for age in found_age(_BARE) if age}
    group = None if ages else _group(text)
    found(_DECADE)
    found(_DECADE_WORD)
    return Patient((0,) if group in ("neonate", "infant") else tuple(sorted(ages)), group, known, tuple(spans))


def _number(match: re.Match[str]) -> int:
    return int(next(group for group in match.groups() if group))


def _group(text: str) -> str | None:
    if decade := _DECADE.search(text):
        return f"{decade.group(1) or decade.group(2)}0s"
    if decade := _DECADE_WORD.search(text):
        return f"{_DECADES[decade.group(1) or decade.group(2)]}0s"
    text = _YEAR_OLD.sub(" ", text)  # "___ year old woman" is not an old woman
    padded = f" {' '.join(re.findall(r'[a-z]+', text))} "
    for group, names in CUES["age groups"].items():
        if any(f" {name} " in padded for name in names):
            return group
    return None
