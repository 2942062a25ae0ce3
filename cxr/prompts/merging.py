"""What several sentences say of one finding -> one finding, and the contradictions that are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cxr.prompts.lexicon import LUNG_FINDINGS
from cxr.prompts.normality import NormalStatements
from cxr.prompts.records import Finding


def merge(findings: Sequence[Finding]) -> list[Finding]:
    """Join what is said of the same finding in several places, as far as nothing contradicts."""
    merged: list[Finding] = []
    for finding in findings:
        for index, other in enumerate(merged):
            if _same_thing(finding, other):
                merged[index] = _joined(other, finding)
                break
        else:
            merged.append(finding)
    for finding in [finding for finding in merged if finding.certainty == "possible"]:
        for index, other in enumerate(merged):
            # "A mass, suspicious for malignancy" is one thing, and there.
            if other.certainty == "present" and _same_thing(replace(finding, certainty="present"), other):
                words = tuple(f"possible {words}" for words in finding.read_from)
                merged[index] = replace(other, descriptors=_both(other.descriptors, words))
                merged.remove(finding)
                break
    # "Rule out pneumothorax. ... No pneumothorax."
    answered = [
        index
        for index, finding in enumerate(merged)
        if finding.certainty == "possible"
        and any(other.certainty == "absent" and _denies(other, finding) for other in merged[index + 1 :])
    ]
    return [finding for index, finding in enumerate(merged) if index not in answered]


def find_conflicts(findings: Sequence[Finding], normal: NormalStatements) -> list[str]:
    """Findings that are both asked for and denied, and "normal" where a finding contradicts it."""
    present = [finding for finding in findings if finding.certainty == "present"]
    disease = [finding.name for finding in present if finding.name != "Support Devices"]  # as CheXpert's "No Finding"
    contradicted = (normal.whole and disease) or (normal.lungs and LUNG_FINDINGS & set(disease))
    denied = [finding for finding in findings if finding.certainty == "absent"]
    both = [finding.name for finding in present if any(_denies(absent, finding) for absent in denied)]
    return [*(["normal"] if contradicted else []), *dict.fromkeys(both)]


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
        location_words=one.location_words or other.location_words,
        descriptors=_both(one.descriptors, other.descriptors),
        read_from=_both(one.read_from, other.read_from),
        reasons=_both(one.reasons, other.reasons),
    )


def _both(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))


def _denies(absent: Finding, present: Finding) -> bool:
    """Whether a denial covers a finding: not so "no left effusion" a right one, and "no new nodule" a known one."""
    pairs = ((absent.side, present.side), (absent.severity, present.severity), (absent.location, present.location))
    if absent.name != present.name or not set(absent.descriptors) <= set(present.descriptors):
        return False
    return all(denied is None or denied == shown for denied, shown in pairs)
