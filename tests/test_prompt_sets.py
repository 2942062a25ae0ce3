"""The fixed prompts: always the same, balanced, and understood as what they were written for."""

from __future__ import annotations

import functools
import hashlib
import random
from collections import Counter
from pathlib import Path

import pytest

from cxr.evaluate.fixed_prompts import (
    COUNTS,
    IMAGES_OF_ONE_PROMPT,
    NUM_NORMAL,
    diversity_requests,
    fidelity_requests,
    matched_requests,
)
from cxr.labels.captions import caption, fixed_prompt, known_words
from cxr.labels.radiograph import Radiograph
from cxr.labels.vocabulary import PromptLabels, labels_of

PROMPTS = [request.prompt for request in fidelity_requests()]


@functools.cache
def read_labels() -> list[PromptLabels]:
    """What the prompts ask for."""
    return [labels_of(prompt) for prompt in PROMPTS]


def test_the_prompts_have_not_changed() -> None:
    # Figures of different releases can be compared only while this holds; a new list needs a new VERSION.
    assert (
        hashlib.sha256("\n".join(PROMPTS).encode()).hexdigest()
        == "b345ab5faba83a0f88bbbcf60a2bd5639971ff2a19fb7e92d3e5132e1f0eb965"
    )


def test_each_finding_is_asked_for_as_often_as_planned() -> None:
    asked = Counter(labels.findings for labels in read_labels())
    assert asked == {(name,): count for name, count in COUNTS.items()} | {(): NUM_NORMAL}


@pytest.mark.parametrize(("attribute", "values"), [("sex", "MF"), ("view", ("PA", "AP"))])
def test_sexes_and_views_are_balanced(attribute: str, values: str) -> None:
    counts = Counter(getattr(labels, attribute) for labels in read_labels())
    assert set(counts) == set(values)
    assert abs(counts[values[0]] - counts[values[1]]) <= 2


def test_no_prompt_is_worded_like_a_training_caption() -> None:
    chance = random.Random(0)
    captions = {caption(record, chance, findings=True) for record in read_labels()[:200] for _ in range(20)}
    assert not captions & set(PROMPTS)


def test_every_word_is_known() -> None:
    words = set(known_words())
    unknown = {word for prompt in PROMPTS for word in prompt.lower().replace("-", " ").split()} - words
    assert {word.strip(".,:") for word in unknown if not word.strip(".,:").isdigit()} <= words


@pytest.mark.parametrize(
    "record",
    [
        PromptLabels(("Effusion", "Mass"), 61, "F", "AP"),
        PromptLabels((), 8, "M", "PA"),
        PromptLabels(None, 30, "F", None),
        PromptLabels(("Edema",), None, None, "AP"),
    ],
)
def test_a_matched_prompt_says_what_is_known_and_nothing_else(record: PromptLabels) -> None:
    for seed in range(20):
        told = labels_of(fixed_prompt(record, random.Random(seed)))
        assert (told.findings, told.age, told.sex, told.view) == (
            record.findings,
            record.age,
            record.sex,
            record.view,
        )


def test_no_two_images_share_a_seed() -> None:
    records = [Radiograph((), 50, "M", "PA", path=Path(), patient_id="1")] * 50
    seeds = [
        seed
        for requests in (fidelity_requests(), matched_requests(records), diversity_requests())
        for request in requests
        for seed in request.seeds
    ]
    assert len(seeds) == len(set(seeds))


def test_images_of_one_prompt_stand_together() -> None:
    assert {request.num_images for request in diversity_requests()} == {IMAGES_OF_ONE_PROMPT}
