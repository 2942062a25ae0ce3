"""Words of a prompt that become no part of a picture: each is named, with the reason.

Such are findings of other parts of the body: an edema of the leg, a fracture of the hip, a cancer of the colon.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cxr.prompts.patient import Patient
from cxr.prompts.phrases import CUE_KINDS, CUES_BEHIND, MODIFIERS, Tag
from cxr.prompts.records import Note

NO_WORDS = "this model has no words for it"
NOT_VISIBLE = "a symptom or circumstance, not visible in a radiograph"
ENGLISH_ONLY = "read as a denial in another language; only English is read"
CORRECTED = "read as “{}”"
ELSEWHERE = "in another part of the body, which a chest radiograph does not show"
# May stand between the part and its finding.
BETWEEN = {*MODIFIERS, "descriptor", "acute", "unknown", "elsewhere", "structure", "is"}
BELOW = {"abdomen", "upper abdomen", "stomach"}  # at the edge of the image
BEHIND = {"place", "article", "filler", *MODIFIERS}  # "edema of the left leg"
# Said of no finding: kinds whose words would else be dropped without a sign.
UNNAMED = {
    "circumstance",
    "procedure",
    "recommendation",
    "enlarged",
    "status",
    "descriptor",
    "severity",
    "side",
    "location",
}
UNNAMED_PARTS = {"bones", "other"}


def remarks_on(sentence: Sequence[Tag], owned: set[int]) -> Iterator[Note]:
    """What is to be said of the words of one sentence.

    Args:
        sentence: its tags.
        owned: the places of the words that belong to a finding.
    """
    run: list[str] = []  # neighbours are named together: "poor inspiration, rotated"
    for index, tag in enumerate(sentence):
        if tag.kind == "foreign negation":
            yield Note(tag.words, ENGLISH_ONLY)
        if tag.kind == "symptom":
            yield Note(tag.words, NOT_VISIBLE)
        if tag.corrected and tag.kind in MODIFIERS | CUE_KINDS | CUES_BEHIND:
            yield Note(tag.words, CORRECTED.format(tag.phrase), understood=True)
        unnamed = tag.kind in UNNAMED or (tag.kind == "structure" and tag.value in UNNAMED_PARTS)
        if unnamed and index not in owned and tag.words:
            run.append(tag.words)
        elif run:
            yield Note(" ".join(run), NO_WORDS)
            run = []
    if run:
        yield Note(" ".join(run), NO_WORDS)


def unread_words(sentences: Sequence[Sequence[Tag]], patient: Patient) -> tuple[str, ...]:
    """Words and numbers that mean nothing to the compiler, each once."""
    words = [
        tag.words
        for sentence in sentences
        for index, tag in enumerate(sentence)
        if (tag.kind == "unknown" and (len(tag.words) > 1 or not tag.words.isascii()))
        or (tag.kind == "number" and not _is_list_mark(sentence, index))
        if not any(span.start <= tag.start < span.end for span in patient.spans)
    ]
    return tuple(dict.fromkeys(words))


def _is_list_mark(sentence: Sequence[Tag], index: int) -> bool:
    """Whether a number counts the sentences: "1.", "2)"."""
    return index == 0 and (len(sentence) == 1 or sentence[1].phrase == ")")


def without_other_parts(sentence: Sequence[Tag]) -> tuple[list[Tag], list[Note]]:
    """Take the findings of other parts of the body out of a sentence.

    Returns:
        The sentence, with these as circumstances, and what was taken out in the user's own words.
    """
    result, notes = list(sentence), []
    for index, tag in enumerate(sentence):
        if tag.kind == "finding" and tag.value != ("Support Devices",):
            first = _part_before(sentence, index)
            last = index if first is not None else _part_behind(sentence, index)
            if last is not None:
                notes.append(_take(result, index if first is None else first, last))
    for index, tag in enumerate(result):
        if tag.kind == "elsewhere":
            notes.append(_take(result, index, index))
    return result, notes


def _take(sentence: list[Tag], first: int, last: int) -> Note:
    """Leave circumstances that are named already in the place of some tags, and of a side before them."""
    if first and sentence[first - 1].kind == "side":
        first -= 1
    words = " ".join(tag.words for tag in sentence[first : last + 1] if tag.words)
    for place in range(first, last + 1):
        sentence[place] = Tag("circumstance", "named", start=sentence[place].start)
    return Note(words, ELSEWHERE)


def _part_before(sentence: Sequence[Tag], index: int) -> int | None:
    part = None
    for place in range(index - 1, -1, -1):
        joined = sentence[place].kind == "and" and sentence[place - 1].phrase == "swelling"  # "leg swelling and edema"
        if sentence[place].kind not in BETWEEN and not joined:
            break
        if sentence[place].kind == "elsewhere":
            part = place
    return part


def _part_behind(sentence: Sequence[Tag], index: int) -> int | None:
    if index + 1 >= len(sentence) or not (sentence[index + 1].kind == "place" or sentence[index + 1].phrase == "("):
        return None
    for place in range(index + 1, len(sentence)):
        if sentence[place].kind == "elsewhere" or sentence[place].phrase in BELOW:
            return place
        if sentence[place].kind not in BEHIND and sentence[place].phrase != "(":
            break
    return None
