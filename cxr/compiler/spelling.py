"""Plurals, British spellings and slips of the keyboard, undone before words are looked up."""

from __future__ import annotations

from cxr.compiler.phrases import FILLERS, TABLE, WORDS, singular

TYPO_MIN_LETTERS, TYPO_TWO_MIN_LETTERS, TYPO_MAX_LETTERS = 7, 11, 19

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


def base_form(token: str) -> str:
    """The spelling that the word lists use: American, singular, without a single typing error."""
    if token in WORDS or not token[0].isalpha():
        return token
    for british, american in _BRITISH:
        token = token.replace(british, american)
    token = singular(token, WORDS)
    return token if token in WORDS or token in FILLERS else _without_typo(token)


def _without_typo(token: str) -> str:
    """The only finding's word one slip away (two in long words), else the token itself."""
    if token in _MISSING_LETTER:
        return _MISSING_LETTER[token]
    if len(token) < TYPO_MIN_LETTERS or len(token) > TYPO_MAX_LETTERS:
        return token
    for form in (token, token.removesuffix("s")):
        for variant in _shortened(form):
            if variant in _TYPOS:
                return _TYPOS[variant]
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
_CHECKED = sorted({word for phrase, entry in TABLE.items() if entry.kind in _CHECKED_KINDS for word in phrase.split()})
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
for _word in (*WORDS, *FILLERS):
    _TYPOS.pop(_word, None)
    _MISSING_LETTER.pop(_word, None)
