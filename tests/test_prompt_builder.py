"""The prompt builder: text -> switches -> text says the same."""

from __future__ import annotations

from itertools import product

import pytest

from cxr.labels.vocabulary import FINDINGS, SIDED_FINDINGS, SIDES
from cxr.prompts import find_form
from cxr.web.page.prompt_builder import (
    ANY,
    NO_FINDING,
    Choices,
    read_choices,
    sides_are_known,
    write_choices,
)

MANY = [
    Choices(),
    *(Choices((name,)) for name in (*FINDINGS, NO_FINDING)),
    *(Choices((name,), "M", 55, "AP") for name in (*FINDINGS, NO_FINDING)),
    *(Choices((name,), side=side) for name, side in product(SIDED_FINDINGS, SIDES)),
    *(Choices((), sex, age, view) for sex, age, view in product((ANY, "F", "M"), (None, 1, 8, 18, 90), (ANY, "PA"))),
    Choices(tuple(FINDINGS), "F", 71, "PA"),
]


@pytest.mark.parametrize("choices", MANY, ids=str)
def test_what_is_switched_on_is_what_the_text_says(choices: Choices) -> None:
    text = write_choices("", choices)
    assert read_choices(text) == choices, text
    assert write_choices(text, choices) == text


@pytest.mark.parametrize(
    "prompt", ["", "A 55-year-old man with pneumonia", "normal chest x-ray", "fracture", "CHF, 60s F"]
)
@pytest.mark.parametrize("choices", MANY[::7], ids=str)
def test_switches_win_over_what_stood_there(prompt: str, choices: Choices) -> None:
    assert read_choices(write_choices(prompt, choices)) == choices


@pytest.mark.parametrize(
    ("prompt", "change", "text"),
    [
        ("A 55-year-old man with pneumonia", {"findings": ()}, "A 55-year-old man"),
        ("A 55-year-old man with pneumonia", {"age": 30}, "A 30-year-old man with pneumonia"),
        ("A 55-year-old man with pneumonia", {"sex": ANY}, "A 55-year-old patient with pneumonia"),
        ("A 55-year-old man with pneumonia", {"view": "AP"}, "A 55-year-old man with pneumonia, AP view"),
        (
            "72 yo F with large right effusion, fracture, AP portable",
            {"age": 40},
            "A 40-year-old woman with large right pleural effusion and fracture, portable AP view",
        ),
        ("no findings", {"findings": (NO_FINDING, "Mass")}, "Chest x-ray with a lung mass"),
        ("effusion and mass", {"findings": ("Effusion", "Mass", NO_FINDING)}, "Chest x-ray with no findings"),
        ("left effusion", {"side": "right"}, "Chest x-ray with right pleural effusion"),
        ("left effusion", {"side": ANY}, "Chest x-ray with pleural effusion"),
        (
            "effusion, no pneumothorax",
            {"findings": ("Effusion", "Pneumothorax")},
            "Chest x-ray with pleural effusion and pneumothorax",
        ),
    ],
)
def test_one_switch_changes_one_thing(prompt: str, change: dict[str, object], text: str) -> None:
    choices = Choices(**{**vars(read_choices(prompt)), **change})
    assert write_choices(prompt, choices) == text


@pytest.mark.parametrize("prompt", ["", "   ", "\n", "xyzzy", "<b>", "ä" * 3_000, "no pneumonia", "possible mass"])
def test_any_text_can_be_read(prompt: str) -> None:
    assert set(read_choices(prompt).findings) <= {*FINDINGS, NO_FINDING}


def test_sides_are_offered_where_the_model_knows_them() -> None:
    assert sides_are_known(["Effusion"], find_form("report"))
    assert sides_are_known(["Effusion"], find_form("caption"))
    assert not sides_are_known(["Effusion"], find_form("chexpert"))
    assert not sides_are_known(["Cardiomegaly"], find_form("report"))
    assert not sides_are_known([], find_form("report"))
