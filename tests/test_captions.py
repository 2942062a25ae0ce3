import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTokenizer

from cxr.labels.captions import caption, known_words
from cxr.labels.vocabulary import FINDING_PHRASES, FINDINGS, PromptLabels, labels_of
from cxr.prompts.inspection import inspect_prompt
from cxr.train.architecture import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return build_tokenizer()


def record(**labels: Any) -> PromptLabels:
    return replace(PromptLabels((), 55, "M", "PA"), **labels)


def captions_of(labels: dict[str, Any], count: int = 400, **options: float) -> set[str]:
    chance = random.Random(7)
    return {caption(record(**labels), chance, findings=True, **options) for _ in range(count)}


@pytest.mark.parametrize(
    ("labels", "form"),
    [
        ({"findings": ("Pneumonia",)}, "A 55-year-old man with pneumonia"),
        (
            {"findings": ("Emphysema",), "age": 60, "sex": "F"},
            "chest x-ray, PA view, 60-year-old woman, emphysema",
        ),
        ({"age": None, "sex": None, "view": None}, "normal chest x-ray"),
    ],
)
def test_the_promised_forms_are_among_the_captions(labels: dict[str, Any], form: str) -> None:
    assert form in captions_of(labels, count=20_000)


def test_base_captions_name_no_finding() -> None:
    chance = random.Random(0)
    sick = record(findings=FINDINGS)
    words = {word.strip(",").lower() for _ in range(500) for word in caption(sick, chance, findings=False).split()}
    finding_words = {"pneumonia", "effusion", "nodule", "emphysema", "normal", "findings", "hernia", "mass"}
    assert not words & finding_words


def test_a_caption_never_says_what_the_label_does_not() -> None:
    texts = captions_of({"findings": ("Effusion",), "sex": None, "age": None, "view": None})
    assert any("effusion" in text or "fluid" in text for text in texts)
    for text in texts:
        assert not {"man", "woman", "male", "female", "PA", "AP", "normal", "pneumonia"} & set(text.split())


def test_empty_share_gives_the_empty_prompt() -> None:
    assert captions_of({}, empty_share=1.0) == {""}
    assert "" not in captions_of({}, empty_share=0.0)


def test_every_word_of_every_caption_is_one_token(tokenizer: CLIPTokenizer) -> None:
    for word in known_words():
        assert len(tokenizer.tokenize(word)) == 1, word
    chance = random.Random(1)
    for name in FINDINGS:
        for _ in range(60):
            text = caption(record(findings=(name,), age=chance.randint(1, 95)), chance, findings=True)
            assert not text or not inspect_prompt(text, tokenizer).unknown_words, text


def test_other_words_are_reported(tokenizer: CLIPTokenizer) -> None:
    assert inspect_prompt("A man with sarcoidosis", tokenizer).unknown_words == ("sarcoidosis",)


def test_every_finding_has_phrases_with_its_own_words() -> None:
    assert set(FINDING_PHRASES) == set(FINDINGS)
    phrases = [phrase for choices in FINDING_PHRASES.values() for phrase in set(choices)]
    assert len(phrases) == len(set(phrases))


def test_tokenizer_survives_saving(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    text = "Chest X-ray, PA view, 60-year-old woman, emphysema"
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.model_max_length == 77


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        ("A 55-year-old man with pneumonia", PromptLabels(("Pneumonia",), 55, "M", None)),
        ("Chest X-ray, PA view, 60-year-old woman, emphysema", PromptLabels(("Emphysema",), 60, "F", "PA")),
        ("normal chest x-ray", PromptLabels((), None, None, None)),
        (
            "AP portable cxr of a girl aged 9, lung mass and oedema",
            PromptLabels(("Edema", "Mass"), 9, "F", "AP"),
        ),
        ("a picture", PromptLabels()),
    ],
)
def test_labels_are_read_back_from_prompts(prompt: str, labels: PromptLabels) -> None:
    assert labels_of(prompt) == labels


def test_labels_of_captions_are_those_of_the_record() -> None:
    chance = random.Random(3)
    for _ in range(500):
        finding = chance.choice(FINDINGS)
        shown = record(findings=(finding,), age=chance.randint(20, 90), sex=chance.choice("MF"))
        text = caption(shown, chance, findings=True, keep=1.0, empty_share=0.0)
        labels = labels_of(text)
        assert labels.findings in {(finding,), None}, text
        assert labels.sex == shown.sex, text
        assert labels.age in {shown.age, None}, text
        assert labels.view in {"PA", None}, text


SIDED = (("Effusion", "left"), ("Mass", "bilateral"))


def test_captions_tell_the_sides_that_are_known_and_labels_are_read_back_from_them() -> None:
    texts = captions_of({"findings": ("Effusion", "Mass"), "sides": SIDED})
    assert any("left-sided pleural effusion" in text for text in texts)
    assert any("on both sides" in text for text in texts)
    assert any(labels_of(text).sides == SIDED for text in texts)
    assert not any("right" in text or "a left a " in text for text in texts)
    assert all(set(labels_of(text).sides) <= set(SIDED) for text in texts)
    assert not any(labels_of(text).sides for text in captions_of({"findings": ("Effusion", "Mass")}))


@pytest.mark.parametrize(
    ("prompt", "sides"),
    [
        ("a left lung mass and pleural effusion", (("Mass", "left"),)),
        ("Right-sided pneumothorax, left effusion", (("Effusion", "left"), ("Pneumothorax", "right"))),
        ("nodules on both sides", (("Nodule", "bilateral"),)),
        ("effusion on the right and consolidation", (("Effusion", "right"),)),
        ("cardiomegaly and a collapsed lung", ()),
    ],
)
def test_a_side_belongs_to_the_finding_that_it_stands_beside(prompt: str, sides: tuple[tuple[str, str], ...]) -> None:
    assert labels_of(prompt).sides == sides


def test_the_words_for_sides_are_known(tokenizer: CLIPTokenizer) -> None:
    text = "A left-sided effusion, right nodules, bilateral infiltrates on both sides"
    assert not inspect_prompt(text, tokenizer).unknown_words
