"""Prompts as reports and users write them, and what a person reads out of each: the compiler must agree.

``golden_prompts.jsonl`` has one prompt a line with what it says; what is not told is left out. Severity is "mild"
(trace, small), "moderate" or "severe" (large, tension). Heart failure and congestion are edema. Batch 1 was written
before the grammar was tuned, each later batch before the grammar had seen it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cxr.labels.vocabulary import FINDINGS
from cxr.prompts import parse_prompt

ROWS = [
    json.loads(line)
    for line in Path(__file__).with_name("golden_prompts.jsonl").read_text(encoding="utf-8").splitlines()
]
PLAIN_FIELDS = ("age", "age_group", "sex", "view", "position", "portable", "normal")
FINDING_FIELDS = ("certainty", "side", "severity", "location")
LEAST_RIGHT = 0.98


class Field(NamedTuple):
    """One thing that a prompt may tell, as it was written down and as it was read; None where it is not told."""

    name: str
    expected: Any
    parsed: Any

    @property
    def right(self) -> bool:
        return bool(self.expected == self.parsed)

    @property
    def telling(self) -> bool:
        return self.expected is not None or self.parsed is not None


def fields_of(row: dict[str, Any]) -> Iterator[Field]:
    """Every field of one prompt: attributes, lists, and for each of NIH's and all named findings what is said of it."""
    parsed = parse_prompt(row["prompt"])
    for name in PLAIN_FIELDS:
        value = getattr(parsed, name)
        yield Field(name, row.get(name), None if value is False else value)
    for name in ("conflicts", "symptoms"):
        yield Field(name, sorted(row.get(name, [])) or None, sorted(getattr(parsed, name)) or None)
    expected = row.get("findings", [])
    read = [{name: getattr(finding, name) for name in ("name", *FINDING_FIELDS)} for finding in parsed.findings]
    for name in dict.fromkeys([*(finding["name"] for finding in (*expected, *read)), *FINDINGS]):
        yield from _fields_of_finding(name, expected, read)


def _fields_of_finding(name: str, expected: list[dict[str, Any]], read: list[dict[str, Any]]) -> Iterator[Field]:
    both = [
        sorted(
            (finding for finding in findings if finding["name"] == name),
            key=lambda finding: (finding["certainty"], str(finding.get("side"))),
        )
        for findings in (expected, read)
    ]
    count = max(len(findings) for findings in both)
    if not count:
        yield Field(f"{name}.certainty", None, None)
    for place in range(count):
        pair = [findings[place] if place < len(findings) else {} for findings in both]
        for field in FINDING_FIELDS:
            yield Field(f"{name}.{field}", *(finding.get(field) for finding in pair))


def test_the_golden_set_is_large_and_names_its_batches() -> None:
    assert len(ROWS) >= 350
    assert {row["batch"] for row in ROWS} >= {1, 2}
    assert len({row["prompt"] for row in ROWS}) >= len(ROWS) - 5


@pytest.mark.parametrize("only_telling", [False, True], ids=["all fields", "telling fields"])
def test_golden_prompts_are_read_right(only_telling: bool) -> None:
    right, wrong = 0, []
    for row in ROWS:
        for field in fields_of(row):
            if field.telling or not only_telling:
                right += field.right
                if not field.right:
                    wrong.append(f"{row['prompt']!r}: {field.name} is {field.expected}, read as {field.parsed}")
    share = right / (right + len(wrong))
    assert share >= LEAST_RIGHT, f"{share:.2%} of {right + len(wrong)} fields; wrong:\n" + "\n".join(wrong)


def test_a_misread_prompt_counts() -> None:
    """The measure itself can fail: a wrong expectation is found in every field that it touches."""
    row = {"prompt": "small left effusion", "findings": [{"name": "Effusion", "certainty": "absent", "side": "right"}]}
    wrong = {field.name for field in fields_of(row) if not field.right}
    assert wrong == {"Effusion.certainty", "Effusion.side", "Effusion.severity"}
