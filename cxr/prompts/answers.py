"""Questions of a prompt and what answers them: "Is the heart big? It is not.", an indication and its findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from cxr.prompts.lexicon import CUES, LUNG_FINDINGS
from cxr.prompts.phrases import Tag
from cxr.prompts.records import Finding

ASKING, ANSWERING = (frozenset(CUES["groups"][name]) for name in ("asking", "answering"))
DENYING = {"negation", "negated before", "negation either way"}
BESIDE_ANSWER = {"filler", "verb", "break"}
BESIDE_HEADING = {"filler", "view", "abnormality", "unknown"}


def with_answers(sentences: Sequence[Sequence[Tag]]) -> list[list[Tag]]:
    """The sentences, each with what the next one answers: "Is it gone? Yes.", "Where is the mass? There is none."."""
    result: list[list[Tag]] = []
    for sentence in sentences:
        answer = _answer(sentence) if result else ""
        asked = result[-1] if answer else []
        question = bool(asked) and asked[-1].kind == "doubted before" and not asked[-1].phrase
        referring = any(tag.kind in ("verb", "break") for tag in sentence)  # "there is none", not "none"
        if any(tag.kind == "finding" for tag in asked) and (question or (referring and answer == "no")):
            denied = any(tag.kind in DENYING for tag in asked)
            if question:
                asked.pop()
            if answer == "no" and denied and question:
                result[-1] = [tag for tag in asked if tag.kind not in DENYING]
            elif answer == "no":
                asked.append(Tag("negated before", "list"))
        result.append([*sentence])
    return result


def _answer(sentence: Sequence[Tag]) -> str:
    """What a sentence answers, if it says nothing else: "yes", "no" or ""."""
    kinds = {tag.kind for tag in takewhile(lambda tag: tag.kind != "comma", sentence)} - BESIDE_ANSWER
    if kinds and kinds <= DENYING:
        return "no"
    return "yes" if kinds == {"affirmation"} else ""


def asking_sentences(sentences: Sequence[Sequence[Tag]]) -> range:
    """Which sentences say what a radiograph was asked for, of a report that has findings or an impression, too."""
    heads = [_heading(sentence) for sentence in sentences if len(sentences) > 1]
    first = next((place for place, head in enumerate(heads) if head & ASKING), len(heads))
    last = next((place for place, head in enumerate(heads) if head & ANSWERING and place > first), first)
    return range(first, last)


def _heading(sentence: Sequence[Tag]) -> set[str]:
    """The words before the first colon, or of a line that is nothing but a heading."""
    phrases = set()
    for tag in sentence:
        if tag.kind == "is":
            break
        if tag.kind not in BESIDE_HEADING:
            return set()
        phrases.add(tag.phrase)
    return phrases


def answered(asked: Sequence[Finding], found: Sequence[Finding]) -> list[Finding]:
    """What was asked, as no more than spoken of where it is in doubt or the answer denies it."""
    denied = {finding.name for finding in found if finding.certainty == "absent"}
    return [
        replace(finding, certainty="supposed")
        if finding.certainty == "possible" or (finding.certainty == "present" and finding.name in denied)
        else finding
        for finding in asked
    ]


def without_doubts(findings: Sequence[Finding]) -> list[Finding]:
    """What was said before "the lungs are clear": a doubtful finding of the lungs is no more than spoken of."""
    return [
        replace(finding, certainty="supposed")
        if finding.certainty == "possible" and finding.name in LUNG_FINDINGS
        else finding
        for finding in findings
    ]
