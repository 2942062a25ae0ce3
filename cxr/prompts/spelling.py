"""Plurals, British spellings and slips of the keyboard, undone before words are looked up."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from cxr.prompts.lexicon import CUES
from cxr.prompts.phrases import FILLERS, TABLE, WORDS, singular

TYPO_MIN_LETTERS, TYPO_TWO_MIN_LETTERS, TYPO_MAX_LETTERS = 7, 11, 19
SIDES = ("left", "right")  # a side is never lost for a slip
DENIALS = CUES["groups"]["never mistyped"]
NO_SLIPS = ("angel", "let")
SLIP_MIN_LETTERS = 5

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


# A slip never turns a word into its opposite: "hypoinflated" is no "hyperinflated" lung.
_OPPOSITES = {"hypo": "hyper", "hyper": "hypo"}


class BaseForm(NamedTuple):
    """A word as the word lists spell it, and whether a slip of the keyboard was undone."""

    word: str
    corrected: bool = False


@lru_cache(maxsize=4096)
def base_form(token: str) -> BaseForm:
    """The spelling that the word lists use: American, singular, without a single typing error."""
    if token in WORDS or not token[0].isalpha():
        return BaseForm(token)
    for british, american in _BRITISH:
        token = token.replace(british, american)
    token = singular(token, WORDS)
    if token in WORDS or token in FILLERS:
        return BaseForm(token)
    word = _without_typo(token)
    return BaseForm(word, word != token)


def _without_typo(token: str) -> str:
    """The only finding's word one slip away (two in long words), else the token itself."""
    if token in _SHORT_SLIPS:
        return _SHORT_SLIPS[token]
    if len(token) < TYPO_MIN_LETTERS or len(token) > TYPO_MAX_LETTERS:
        return token
    for form in (token, token.removesuffix("s")):
        for variant in _shortened(form):
            word = _TYPOS.get(variant)
            if word and not any(token.startswith(one) and word.startswith(other) for one, other in _OPPOSITES.items()):
                return word
    return token


def _shortened(word: str) -> list[str]:
    """The word with up to one letter left out, two if it is long: a slip of either word then makes them equal.

    The first letter is hardly ever wrong and stays.
    """
    places = range(1, len(word))
    variants = [word, *(word[:place] + word[place + 1 :] for place in places)]
    if len(word) >= TYPO_TWO_MIN_LETTERS:
        variants += [
            word[:one] + word[one + 1 : two] + word[two + 1 :] for one in places for two in range(one + 1, len(word))
        ]
    return variants


_CHECKED_KINDS = {"finding", "side", "severity"}  # a slip in other words costs little
_CHECKED = sorted(
    {word for phrase, entry in TABLE.items() if entry.kind in _CHECKED_KINDS for word in phrase.split()} | set(DENIALS)
)
_TYPOS = {
    variant: word
    for word in reversed(_CHECKED)
    if len(word) >= TYPO_MIN_LETTERS
    for variant in reversed(_shortened(word))
    if len(variant) >= TYPO_MIN_LETTERS - 1
}
# Shorter words: other words are too near for more than a letter left out of six, a doubled one,
# or two that changed places.
_SHORT_SLIPS = (
    {
        word[:place] + word[place + 1 :]: word
        for word in _CHECKED
        if len(word) == TYPO_MIN_LETTERS - 1 or word in (*SIDES, *DENIALS)
        for place in range(1, len(word))
    }
    | {
        word[:place] + word[place - 1 :]: word
        for word in _CHECKED
        if SLIP_MIN_LETTERS <= len(word) < TYPO_MIN_LETTERS or word in SIDES
        for place in range(1, len(word) + 1)
    }
    | {
        word[:place] + word[place + 1] + word[place] + word[place + 2 :]: word
        for word in _CHECKED
        if SLIP_MIN_LETTERS <= len(word) < TYPO_MIN_LETTERS or word in SIDES
        for place in range(len(word) - 1)
    }
)
for _word in (*WORDS, *FILLERS, *NO_SLIPS):
    if _TYPOS.get(_word) != _word:  # a letter too much leads to the word itself
        _TYPOS.pop(_word, None)
    _SHORT_SLIPS.pop(_word, None)
