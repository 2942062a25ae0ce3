"""Free text -> what it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import TypeVar

from cxr.compiler.acquisition import Acquisition, is_lateral_view, read_acquisition
from cxr.compiler.attach import Attributes, attach
from cxr.compiler.lexicon import ENLARGED_MEANS, LUNG_FINDINGS
from cxr.compiler.normal import NormalStatements, read_normal
from cxr.compiler.patient import Patient, read_patient
from cxr.compiler.phrases import Tag
from cxr.compiler.records import Certainty, Finding, ParsedPrompt
from cxr.compiler.scope import CLAUSE_ENDS, read_certainties, split_sentences
from cxr.compiler.tokens import tag
from cxr.compiler.wording import plain_words, tidy

SIZES = {"borderline", "big", "huge", "large", "massive", "very large", "very big"}  # of a heart
Value = TypeVar("Value")


@dataclass
class _Reading:
    findings: list[Finding] = field(default_factory=list)
    normal: NormalStatements = field(default_factory=NormalStatements)


def parse_prompt(text: str) -> ParsedPrompt:
    """Read findings, age, sex, view and position out of a prompt.

    It never fails: what it cannot read stands in ``unread``. Beyond 8,000 characters nothing is read.

    Args:
        text: as a user or a report writes it.
    Returns:
        What was understood, with contradictions named in ``conflicts``.
    """
    tidied = tidy(text)
    plain = plain_words(tidied)
    tags = tag(plain)
    reading = _Reading()
    for sentence in split_sentences(_without_view_sides(tags)):
        _read_sentence(_enlarged_parts(sentence), reading)
    findings = _merge(reading.findings)
    patient, acquisition = read_patient(plain), read_acquisition(tags)
    shown = [finding for finding in findings if finding.certainty in ("present", "possible")]
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
        unread=tuple(dict.fromkeys(tag.words for tag in tags if tag.kind == "unknown" and len(tag.words) > 1)),
        conflicts=(*_told_twice(patient, acquisition), *_conflicts(findings, reading.normal)),
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
    result = list(sentence)
    for index, word in enumerate(sentence):
        if word.kind == "enlarged" or word.words in SIZES:
            parts = [str(other.value) for other in _clause(sentence, index) if other.kind == "structure"]
            names = tuple(dict.fromkeys(ENLARGED_MEANS[part] for part in parts if part in ENLARGED_MEANS))
            if names and word.kind == "enlarged":
                result[index] = Tag("finding", names, word.words)
            elif names and not any(other.kind in ("enlarged", "finding") for other in _clause(sentence, index)):
                result.insert(index + 1, Tag("finding", names, word.words))  # "borderline heart size"
    return result


def _clause(sentence: Sequence[Tag], index: int) -> Iterator[Tag]:
    first = index
    while first and sentence[first - 1].kind not in CLAUSE_ENDS:
        first -= 1
    yield from takewhile(lambda other: other.kind not in CLAUSE_ENDS, sentence[first:])


def _read_sentence(sentence: Sequence[Tag], reading: _Reading) -> None:
    certainties = read_certainties(sentence)
    attributes = attach(sentence)
    for index, word in enumerate(sentence):
        if word.kind == "finding":
            for told in attributes[index].apart():
                reading.findings += [_finding(name, certainties[index], told) for name in word.value]
    denied = read_normal(sentence, certainties, reading.normal)
    reading.findings += [Finding(name, "absent") for name in denied]


def _finding(name: str, certainty: Certainty, attributes: Attributes) -> Finding:
    severity = attributes.severity
    return Finding(
        name,
        certainty,
        side=attributes.side,
        severity=str(severity.value) if severity else None,
        severity_word=severity.words if severity else "",
        location=attributes.location,
    )


def _merge(findings: Sequence[Finding]) -> list[Finding]:
    """Join what tells of the same finding in several places, as far as nothing contradicts."""
    merged: list[Finding] = []
    for finding in findings:
        for index, other in enumerate(merged):
            if _same_thing(finding, other):
                merged[index] = _joined(other, finding)
                break
        else:
            merged.append(finding)
    # "A mass, suspicious for malignancy" is one thing, and there.
    sure = [finding for finding in merged if finding.certainty == "present"]
    return [
        finding
        for finding in merged
        if finding.certainty != "possible"
        or not any(_same_thing(replace(finding, certainty="present"), one) for one in sure)
    ]


def _same_thing(one: Finding, other: Finding) -> bool:
    if (one.name, one.certainty) != (other.name, other.certainty):
        return False
    pairs = ((one.side, other.side), (one.severity, other.severity), (one.location, other.location))
    return all(a is None or b is None or a == b for a, b in pairs)


def _joined(one: Finding, other: Finding) -> Finding:
    return replace(
        one,
        side=one.side or other.side,
        severity=one.severity or other.severity,
        severity_word=one.severity_word or other.severity_word,
        location=one.location or other.location,
    )


def _told_twice(patient: Patient, acquisition: Acquisition) -> list[str]:
    values = (patient.ages, patient.sexes, acquisition.views, acquisition.positions)
    return [name for name, told in zip(("age", "sex", "view", "position"), values, strict=True) if len(told) > 1]


def _conflicts(findings: Sequence[Finding], normal: NormalStatements) -> list[str]:
    present = [finding for finding in findings if finding.certainty == "present"]
    disease = [
        finding.name for finding in present if finding.name != "Support Devices"
    ]  # as in CheXpert's "No Finding"
    contradicted = (normal.whole and disease) or (normal.lungs and LUNG_FINDINGS & set(disease))
    denied = [finding for finding in findings if finding.certainty == "absent"]
    both = [finding.name for finding in present if any(_denies(absent, finding) for absent in denied)]
    return [*(["normal"] if contradicted else []), *dict.fromkeys(both)]


def _denies(absent: Finding, present: Finding) -> bool:
    """Whether a denial covers a finding: "no left effusion" says nothing about the right one."""
    pairs = ((absent.side, present.side), (absent.severity, present.severity), (absent.location, present.location))
    return absent.name == present.name and all(denied is None or denied == told for denied, told in pairs)
