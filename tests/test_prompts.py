from typing import Any

import pytest

from cxr.generate.loaded_model import LoadedModel
from cxr.prompts.inspection import inspect_prompt


@pytest.fixture(name="tokenizer")
def _tokenizer(tiny_model: LoadedModel) -> Any:
    return tiny_model.pipeline.tokenizer


@pytest.mark.parametrize(
    "prompt",
    ["A 55-year-old man with pneumonia", "CHEST X-RAY, PA view; Normal.", "(an effusion) — “mass”: man's", "5 + 6!"],
)
def test_words_of_the_captions_are_known_in_any_case_and_punctuation(prompt: str, tokenizer: Any) -> None:
    report = inspect_prompt(prompt, tokenizer)
    assert report.unknown_words == ()
    assert report.notes == report.denied == ()


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a zebra with pneumonia and a Zebra", ("zebra", "Zebra")),
        ("pneumoniae", ("pneumoniae",)),
        ("normal 肺", ("肺",)),
        ("Röntgen zebra", ("Röntgen", "zebra")),
        ("no 🫁", ("🫁",)),
    ],
)
def test_words_that_were_never_seen_are_named_as_the_user_wrote_them(
    prompt: str, unknown: tuple[str, ...], tokenizer: Any
) -> None:
    assert inspect_prompt(prompt, tokenizer).unknown_words == unknown


def test_the_part_beyond_the_token_limit_is_quoted(tokenizer: Any) -> None:
    prompt = "normal " * 75 + "Pneumonia, effusion"
    report = inspect_prompt(prompt, tokenizer)
    assert (report.num_tokens, report.max_tokens) == (78, 75)
    assert report.cut_text == "Pneumonia, effusion"
    assert inspect_prompt("normal " * 75, tokenizer).cut_text == ""


def test_the_cut_is_where_the_pipeline_cuts(tokenizer: Any) -> None:
    prompt = "normal " * 74 + "mass effusion nodule"
    ids = tokenizer(prompt, truncation=True, max_length=tokenizer.model_max_length).input_ids
    kept = tokenizer.convert_ids_to_tokens(ids)
    assert kept[-2] == "mass</w>"
    assert inspect_prompt(prompt, tokenizer).cut_text == "effusion nodule"


def test_a_word_that_is_cut_in_half_is_quoted_whole(tokenizer: Any) -> None:
    prompt = "normal " * 73 + "zebra effusion"
    assert inspect_prompt(prompt, tokenizer).cut_text == "zebra effusion"


@pytest.mark.parametrize("prompt", ["x" * 2_000, "肺" * 2_000, "\n\t " * 600, "<|endoftext|> " * 100, "\u202e‮abc"])
def test_extreme_texts_are_reported_without_failing(prompt: str, tokenizer: Any) -> None:
    assert inspect_prompt(prompt, tokenizer).num_tokens >= 0


def test_what_a_prompt_denies_may_be_shown_by_a_model_of_few_words(tokenizer: Any) -> None:
    (note,) = inspect_prompt("effusion, no mass", tokenizer).notes
    assert note.startswith("This model ignores negation: it may show Mass.")
