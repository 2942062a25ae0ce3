"""Words of a prompt that become no part of a picture: each is told, with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cxr.prompts.kinds import MODIFIERS
from cxr.prompts.patient import Patient
from cxr.prompts.phrases import Tag
from cxr.prompts.records import Note

NO_WORDS = "this model has no words for it"
NOT_VISIBLE = "a symptom or circumstance, not visible in a radiograph"
ENGLISH_ONLY = "read as a denial in another language; only English is read"
CORRECTED = "read as “{}”"
# Said of no finding: kinds whose words would else be dropped without a sign.
UNTOLD = {
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
UNTOLD_PARTS = {"bones", "other"}


def remarks_on(sentence: Sequence[Tag], owned: set[int]) -> Iterator[Note]:
    """What is to be said of the words of one sentence.

    Args:
        sentence: its tags.
        owned: the places of the words that belong to a finding.
    """
    run: list[str] = []  # neighbours are told together: "poor inspiration, rotated"
    for index, tag in enumerate(sentence):
        if tag.kind == "foreign negation":
            yield Note(tag.words, ENGLISH_ONLY)
        if tag.kind == "symptom":
            yield Note(tag.words, NOT_VISIBLE)
        if tag.corrected and tag.kind in MODIFIERS:
            yield Note(tag.words, CORRECTED.format(tag.phrase), understood=True)
        untold = tag.kind in UNTOLD or (tag.kind == "structure" and tag.value in UNTOLD_PARTS)
        if untold and index not in owned and tag.words:
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
