import dataclasses
import json

import numpy as np
import pytest
import sample_images

from cxr.request.errors import RequestError
from cxr.request.events import StepProgress
from cxr.request.generation_request import MAX_SEED, GenerationRequest
from cxr.request.prompt_report import PromptReport
from cxr.request.recipe import Recipe

RECIPE = dataclasses.replace(sample_images.RECIPE, prompt="normal chest x-ray, “ok” 肺", seed=MAX_SEED)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("prompt", "", "empty"),
        ("prompt", " \n\t", "empty"),
        ("prompt", "a" * 2_001, "2,001 characters"),
        ("prompt", "normal\x00", r"U\+0000"),
        ("prompt", "normal\x1b[2J", r"U\+001B"),
        ("prompt", "\ud800", r"U\+D800"),
        ("prompt", None, "NoneType"),
        ("negative_prompt", 7, "int"),
        ("negative_prompt", "b" * 2_001, "2,001 characters"),
        ("num_images", 0, "from 1 to 64"),
        ("num_images", 1_000, "from 1 to 64"),
        ("num_inference_steps", 0, "from 1 to 100"),
        ("num_inference_steps", 2.5, "whole number"),
        ("num_inference_steps", True, "from 1 to 100"),
        ("num_inference_steps", "8", "from 1 to 100"),
        ("seed", -1, "from 0"),
        ("seed", MAX_SEED + 1, "from 0"),
        ("seed", 10**5_000, "too large"),
        ("guidance_scale", -(10**400), "too large"),
        ("guidance_scale", float("nan"), "from 1"),
        ("guidance_scale", float("inf"), "from 1"),
        ("guidance_scale", 0.2, "from 1"),
        ("adapter_weight", -0.1, "from 0"),
        ("adapter_weight", 2.1, "from 0"),
        ("adapter_weight", None, "from 0"),
    ],
    ids=lambda _: "",
)
def test_values_outside_are_refused_by_name(field: str, value: object, message: str) -> None:
    values = {"prompt": "normal chest x-ray", field: value}
    with pytest.raises(RequestError, match=f"(?s)^{field} .*{message}"):
        GenerationRequest(**values)  # type: ignore[arg-type]


def test_the_last_image_has_an_allowed_seed_too() -> None:
    with pytest.raises(RequestError, match="seed"):
        GenerationRequest("normal", seed=MAX_SEED, num_images=2)
    assert GenerationRequest("normal", seed=MAX_SEED).seeds == (MAX_SEED,)


def test_numbers_of_other_kinds_become_plain_ones() -> None:
    request = GenerationRequest("normal", seed=np.int64(5), num_images=2.0, guidance_scale=np.float32(3))  # type: ignore[arg-type]
    assert request.seeds == (5, 6)
    assert type(request.num_images) is int
    assert type(request.guidance_scale) is float


def test_line_breaks_and_any_script_are_ordinary_text() -> None:
    assert GenerationRequest("Befund:\n\tkardiomegalie 肺 🫁").prompt.endswith("🫁")


def test_a_recipe_survives_json_and_equal_recipes_have_equal_fingerprints() -> None:
    again = Recipe.from_json(RECIPE.to_json())
    assert again == RECIPE
    assert again.sha256 == RECIPE.sha256
    assert dataclasses.replace(RECIPE, seed=1).sha256 != RECIPE.sha256
    assert "\n" not in RECIPE.to_json()
    assert json.loads(RECIPE.to_json())["digital_source_type"].endswith("trainedAlgorithmicMedia")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"prompt": "x"}', "null", "not json"])
def test_other_text_is_no_recipe(text: str) -> None:
    with pytest.raises(RequestError, match="not the JSON"):
        Recipe.from_json(text)


def test_records_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECIPE.seed = 1  # type: ignore[misc]


def test_fraction_counts_denoising_steps_of_all_images() -> None:
    assert StepProgress(0, 2, 4, 8, 1.0).fraction == 0.25
    assert StepProgress(1, 2, 8, 8, 1.0).fraction == 1.0


def test_prompt_notes_name_the_words_and_the_part_left_out() -> None:
    assert PromptReport(3, 75).notes == ()
    notes = PromptReport(80, 75, ("zebra",), "the end").notes
    assert len(notes) == 2
    assert "“zebra”" in notes[0]
    assert "“the end”" in notes[1]
