"""Free text -> what it asks for."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TypeVar

from cxr.prompts.acquisition import Acquisition, is_lateral_view, read_acquisition
from cxr.prompts.answers import answered, asking_sentences, without_doubts
from cxr.prompts.attributes import Attributes, assign_modifiers
from cxr.prompts.lexicon import ENLARGED_MEANS, NAME_PARTS, reading_reasons
from cxr.prompts.markup import without_markup
from cxr.prompts.merging import find_conflicts, merge
from cxr.prompts.negation import read_certainties
from cxr.prompts.normality import NormalStatements, read_normal
from cxr.prompts.other_programs import split_off
from cxr.prompts.patient import Patient, read_patient
from cxr.prompts.phrases import CLAUSE_ENDS, Tag
from cxr.prompts.records import SHOWN, Certainty, Finding, Note, ParsedPrompt
from cxr.prompts.remarks import remarks_on, unread_words, without_other_parts
from cxr.prompts.sentences import split_sentences
from cxr.prompts.sharing import share
from cxr.prompts.tokens import tag
from cxr.prompts.wording import plain_letters, tidy, written_out

SIZES = {"borderline", "big", "huge", "large", "massive", "very large", "very big"}  # of a heart
NO_GRADES = {"big", "large"}  # these only say that a heart is enlarged
READING_REASONS = reading_reasons()
MIDDLE = "taken as the middle of these years"
Value = TypeVar("Value")


@dataclass
class _Reading:
    findings: list[Finding] = field(default_factory=list)
    normal: NormalStatements = field(default_factory=NormalStatements)
    notes: list[Note] = field(default_factory=list)


@functools.lru_cache(maxsize=256)  # the page asks several times about what stands in its box
def parse_prompt(text: str) -> ParsedPrompt:
    """Read findings, age, sex, view and position out of a prompt.

    It never fails: what it cannot read stands in ``unread``. Beyond 8,000 characters nothing is read.

    Args:
        text: as a user or a report writes it.
    Returns:
        What was understood, with contradictions named in ``conflicts``.
    """
    tidied = tidy(text)
    plain, struck, marks = without_markup(tidied)
    asked, denied, notes = split_off(plain)
    written = written_out(asked)
    tags = tag(written)
    reading = _Reading(notes=[*marks, *notes])
    sentences = split_sentences(_without_view_sides(tags))
    asking = asking_sentences(sentences)
    requested: list[Finding] = []
    for number, sentence in enumerate(sentences):
        _read_sentence(sentence, reading)
        if number + 1 == asking.stop and asking:
            requested, reading.findings = reading.findings, []
    reading.findings = [*answered(requested, reading.findings), *reading.findings]
    reading.findings += [
        Finding(name, "absent")
        for word in tag(written_out(f"{denied}\n{struck}".strip()))
        if word.kind == "finding"
        for name in word.value
    ]
    findings = merge(reading.findings)
    patient, acquisition = read_patient(plain_letters(written)), read_acquisition(tags)
    reading.notes += [Note(patient.age_range, MIDDLE, understood=True)] if patient.age_range else []
    shown = [finding for finding in findings if finding.certainty in SHOWN]
    return ParsedPrompt(
        text=tidied,
        findings=tuple(findings),
        normal=reading.normal.whole or (reading.normal.quiet and not shown),
        age=_only(patient.ages),
        age_group=patient.age_group,
        sex=_only(patient.sexes),
        view=_only(acquisition.views),
        position=_only(acquisition.positions),
        portable=acquisition.portable,
        symptoms=tuple(dict.fromkeys(str(word.value) for word in tags if word.kind == "symptom")),
        unread=unread_words(sentences, patient),
        conflicts=(*_stated_twice(patient, acquisition), *find_conflicts(findings, reading.normal)),
        notes=tuple(dict.fromkeys(reading.notes)),
    )


def _only(values: Sequence[Value]) -> Value | None:
    return values[0] if len(values) == 1 else None


def _without_view_sides(tags: Sequence[Tag]) -> list[Tag]:
    """The tags without the side of "left lateral view", which is the detector's."""
    lateral = {index for index in range(len(tags)) if is_lateral_view(tags, index)}
    decubitus = {index for index, tag in enumerate(tags) if tag.kind == "decubitus"}
    return [tag for index, tag in enumerate(tags) if not (tag.kind == "side" and index + 1 in lateral | decubitus)]


def _enlarged_parts(sentence: Sequence[Tag]) -> list[Tag]:
    """The sentence with "enlarged" turned into the finding that it means beside "heart" or "mediastinum"."""
    result: list[Tag] = []
    for index, word in enumerate(sentence):
        result.append(word)
        if word.kind == "enlarged" or word.phrase in SIZES:
            clause = list(_clause(sentence, index))
            parts = [str(other.value) for other in clause if other.kind == "structure"]
            names = tuple(dict.fromkeys(ENLARGED_MEANS[part] for part in parts if part in ENLARGED_MEANS))
            if not names or (
                word.kind != "enlarged" and any(other.kind in ("enlarged", "finding") for other in clause)
            ):
                continue
            if word.kind == "enlarged" or word.phrase in NO_GRADES:
                result.pop()  # "borderline heart size" and "massive heart" have their grade in the same word
            result.append(Tag("finding", names, word.phrase, f"{_part(clause)} {word.words}", start=word.start))
    return result


def _part(clause: Sequence[Tag]) -> str:
    return next(tag.words for tag in clause if tag.kind == "structure" and tag.value in ENLARGED_MEANS).lower()


def _clause(sentence: Sequence[Tag], index: int) -> Iterator[Tag]:
    first = index
    while first and sentence[first - 1].kind not in CLAUSE_ENDS:
        first -= 1
    yield from takewhile(lambda other: other.kind not in CLAUSE_ENDS, sentence[first:])


def _read_sentence(words: Sequence[Tag], reading: _Reading) -> None:
    before = len(reading.findings)
    sentence, elsewhere = without_other_parts(words)
    sentence = _enlarged_parts(sentence)
    certainties = read_certainties(sentence)
    attributes, owned = assign_modifiers(sentence)
    share(sentence, certainties, attributes)
    for index, word in enumerate(sentence):
        if word.kind == "finding":
            for attached in attributes[index].apart():
                reading.findings += [_finding(str(name), certainties[index], attached, word) for name in word.value]
    known = reading.normal.lungs, reading.normal.whole
    denied = read_normal(sentence, certainties, reading.normal)
    if (reading.normal.lungs, reading.normal.whole) != known:
        reading.findings = [*without_doubts(reading.findings[:before]), *reading.findings[before:]]
    reading.findings += [Finding(name, "absent") for name in denied]
    reading.notes += [*elsewhere, *remarks_on(sentence, owned)]


def _finding(name: str, certainty: Certainty, attributes: Attributes, word: Tag) -> Finding:
    severity = attributes.severity
    if name == "Support Devices" and certainty == "past":
        certainty = "present"  # "status post pacemaker placement": it is still there
    known = not word.corrected and NAME_PARTS[name].issuperset(word.phrase.split())
    return Finding(
        name,
        certainty,
        side=attributes.side,
        severity=str(severity.value) if severity else None,
        severity_word=severity.phrase if severity else "",
        location=attributes.location,
        location_words=" and ".join(attributes.location_words),
        descriptors=tuple(dict.fromkeys(attributes.descriptors)),
        read_from=() if known else (word.words,),
        reasons=(READING_REASONS[word.phrase],) if word.phrase in READING_REASONS else (),
    )


def _stated_twice(patient: Patient, acquisition: Acquisition) -> list[str]:
    values = (patient.ages, patient.sexes, acquisition.views, acquisition.positions)
    return [name for name, found in zip(("age", "sex", "view", "position"), values, strict=True) if len(found) > 1]
