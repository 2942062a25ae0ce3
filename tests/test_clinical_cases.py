"""Prompts with denials, doubts, sides, slips and other languages: what must be drawn, what must not, what is named.

``clinical_cases.jsonl`` has one prompt a line. ``present``, ``possible``, ``absent`` and ``past`` are findings and what
is said of them; ``notpresent`` must not be drawn; ``notsure`` must not be read as certain; with ``full`` nothing else
may be drawn. Each word of ``told`` must come back in a chip or in the text for the model, and of a prompt that is
``foreign`` a chip must say that something was not read. Prompts of the sets "held out" were written before the grammar
had seen them and have since been corrected with.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxr.labels.vocabulary import FINDINGS, labels_of
from cxr.prompts import FORMS, asked_labels, compile_prompt, parse_prompt
from cxr.prompts.records import SHOWN
from cxr.prompts.rewording import reword

HERE = Path(__file__).parent
ROWS = [json.loads(line) for line in (HERE / "clinical_cases.jsonl").read_text(encoding="utf-8").splitlines()]
GOLDEN = [json.loads(line) for line in (HERE / "golden_prompts.jsonl").read_text(encoding="utf-8").splitlines()]
TEXTS = [row["text"] for row in ROWS] + [row["prompt"] for row in GOLDEN]
GRADES = ("mild", "moderate", "severe")


def mistakes_in(row: dict[str, Any]) -> Iterator[str]:
    """What is read otherwise than a row says."""
    parsed = parse_prompt(row["text"])
    read: dict[str, set[str]] = {}
    for finding in parsed.findings:
        read.setdefault(finding.name, set()).add(finding.certainty)
    shown = {name for name, certainties in read.items() if certainties & set(SHOWN)}
    asked = {*row.get("present", ()), *row.get("possible", ())}
    yield from (f"{name} is not drawn" for name in asked - shown)
    yield from (f"{name} is drawn" for name in (shown - asked if row.get("full") else ()))
    for key, certainty in (("absent", "absent"), ("past", "past")):
        for name in row.get(key, ()):
            if name in shown or certainty not in read.get(name, ()):
                yield f"{name} is not read as {certainty}"
    yield from (f"{name} is drawn" for name in shown & set(row.get("notpresent", ())))
    yield from (f"{name} is sure" for name in row.get("notsure", ()) if "present" in read.get(name, ()))
    yield from (f"{name} is not {row[name]}" for name in _PLAIN if name in row and getattr(parsed, name) != row[name])
    yield from _wrong_attributes(row, parsed.findings)
    yield from _untold(row)


_PLAIN = ("age", "age_group", "sex", "view", "normal")


def _wrong_attributes(row: dict[str, Any], findings: Any) -> Iterator[str]:
    for name, side in row.get("side", {}).items():
        sides = {finding.side for finding in findings if finding.name == name and finding.certainty in SHOWN}
        read = "bilateral" if {"left", "right"} <= sides else next(iter(sides - {None}), None)
        if read != side:
            yield f"side of {name} is {read}"
    for name, severity in row.get("severity", {}).items():
        if severity not in {finding.severity for finding in findings if finding.name == name}:
            yield f"severity of {name} is not {severity}"


def _untold(row: dict[str, Any]) -> Iterator[str]:
    compiled = compile_prompt(row["text"], "caption")
    if row.get("foreign") and all(chip.kind == "understood" for chip in compiled.chips):
        yield "no chip says that something was not read"
    seen = " ".join([compiled.text, *(f"{chip.label} {chip.reason}" for chip in compiled.chips)]).lower()
    yield from (f"nothing is said about {word}" for word in row.get("told", ()) if word not in seen)


@pytest.mark.parametrize("group", sorted({row["group"] for row in ROWS}))
def test_cases_are_read_right(group: str) -> None:
    wrong = [f"{row['text']!r}: {mistake}" for row in ROWS if row["group"] == group for mistake in mistakes_in(row)]
    assert not wrong, "\n".join(wrong)


def test_a_mistake_is_found() -> None:
    """The measure itself can fail."""
    row = {"text": "small left effusion, zebra", "absent": ["Effusion"], "side": {"Effusion": "right"}, "told": ["gnu"]}
    assert set(mistakes_in(row | {"full": 1, "sex": "F"})) == {
        *("Effusion is drawn", "Effusion is not read as absent", "side of Effusion is left", "sex is not F"),
        "nothing is said about gnu",
    }


# -- properties of the text that is sent


@pytest.mark.slow
def test_rewording_a_second_time_changes_nothing() -> None:
    for text in TEXTS:
        for form in FORMS:
            once = compile_prompt(text, form).text
            assert compile_prompt(once, form).text == once, (text, form)
            sent = reword(text, form)
            assert reword(sent, form) == sent, (text, form)


def test_captions_ask_for_what_is_asked_and_for_nothing_denied() -> None:
    """Read by words alone, as the embedded model reads."""
    for text in TEXTS:
        sent = labels_of(reword(text, "caption"))
        assert (sent.findings or ()) == (asked_labels(text).findings or ()), text


def test_no_two_chips_are_equal() -> None:
    for text in TEXTS:
        for form in FORMS:
            labels = [(chip.label, chip.kind) for chip in compile_prompt(text, form).chips]
            assert len(set(labels)) == len(labels), (text, form)


# -- lists, made up

CUES = (
    *(
        "no",
        "No evidence of",
        "without",
        "Negative for",
        "denies",
        "free of",
        "There is no",
        "w/o",
        "no acute",
        "neither",
    ),
    *("Absent:", "Negative:", "ruled out:", "lungs clear of", "not seeing any", "no new", "no definite", "lack of"),
)
JOINTS = (", ", ",", ", or ", " or ", "/", " nor ", ",\n", " and/or ", ", and ", " & ")
ENDS = (
    *("", ".", " is seen", ", seen", ". Small left {}", "; large right {}", ", but {}", " with mild {}", ". {}"),
    *(", however there is {}", ", small {} on the left", "\nLeft {}", ", a {}", " + {}"),
)
STARTS = ("", "chest x-ray, ", "63F, ", "AP view: ", "{}, ", "Small left {}. ", "stable {}; ")
NAMES = {name: name.lower().replace("_", " ") for name in FINDINGS}


def test_a_denial_runs_through_its_list_and_no_farther() -> None:
    rng = random.Random(16)
    for _ in range(2000):
        names = rng.sample(FINDINGS, rng.randint(3, 6))
        start, end = rng.choice(STARTS), rng.choice(ENDS)
        asked = [names.pop() for part in (start, end) if "{}" in part]
        words = iter([NAMES[name] for name in asked])
        start, end = (part.format(next(words)) if "{}" in part else part for part in (start, end))
        if end == " is seen":
            names = names[:1]  # "no A, B is seen" states B
        items = NAMES[names[0]] + "".join(rng.choice(JOINTS) + NAMES[name] for name in names[1:])
        text = f"{start}{rng.choice(CUES)} {items}{end}"
        text = text.upper() if rng.random() < 0.2 else text
        assert set(asked_labels(text).findings or ()) == set(asked), text


# -- the switch, for every form


def joined_prompts(number: int) -> list[str]:
    """Prompts of several of the texts, as reports are: what one says must not change what another asks for."""
    rng = random.Random(61)
    joints = (". ", ", ", "\n", " ", "; ")
    return [rng.choice(joints).join(text.rstrip(".") for text in rng.sample(TEXTS, 3)) for _ in range(number)]


@pytest.mark.parametrize("form", ["caption", "key_value", "chexpert", "report"])
def test_what_is_sent_asks_for_all_that_is_asked_and_for_nothing_else(form: str) -> None:
    names = FORMS[form].names
    for text in [*TEXTS[::3], *joined_prompts(100)]:
        compiled, sent = compile_prompt(text, form), reword(text, form)
        asked = {finding.name for finding in parse_prompt(text).findings if finding.certainty in SHOWN}
        named = {finding.name for finding in parse_prompt(text).findings} | asked
        wanted = {names[name].lower() for name in asked if name in names}
        if compiled.dropped:  # it is too long for the model
            continue
        assert reword(sent, form) == sent, text
        if form == "caption":  # read by words alone, as the embedded model reads
            assert set(labels_of(sent).findings or ()) == asked & set(FINDINGS), (text, sent)
            continue
        assert all(words in sent.lower() for words in wanted), (text, sent)
        others = {names[name].lower() for name in named - asked if name in names} - wanted
        others = {words for words in others if not any(words in kept for kept in wanted)}
        said = re.sub(r"No [^.]*\.", "", sent) if form == "report" else sent
        assert not any(re.search(rf"\b{words}\b", said.lower()) for words in others), (text, sent)
