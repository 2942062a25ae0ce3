import dataclasses
import json
import pickle

import numpy as np
import pytest
import sample_images

from cxr.prompts.inspection import PromptReport
from cxr.request.errors import DataError, RequestError, naming_fields
from cxr.request.events import StepProgress
from cxr.request.generation_request import GenerationRequest
from cxr.request.recipe import Recipe
from cxr.request.setting import MAX_SEED
from cxr.request.settings import BEGINNING, COLUMNS, FLAGS, LABELS, PLAN_SETTINGS, REGION, SETTINGS

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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not the JSON"),
        ("[]", "not the JSON"),
        ("null", "not the JSON"),
        ("not json", "not the JSON"),
        ("[" * 60_000, "not the JSON"),
        ("9" * 60_000, "not the JSON"),
        ("x" * 64_001, "more than 64,000 characters"),
        (b"{}", "not text"),
        (None, "not text"),
        ("{}", "no prompt; values are missing"),
        ('{"prompt": "x"}', "no negative_prompt; values are missing"),
    ],
)
def test_other_text_is_no_recipe(text: object, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Recipe.from_json(text)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("<script>", 1, "has “<script>”, which newer versions may know"),
        ("x" * 5_000, 1, "has “x{40}”"),
        ("prompt", "", "prompt is empty"),
        ("prompt", "a\x07", r"U\+0007"),
        ("prompt", ["a"], "prompt is list; give text"),
        ("negative_prompt", "x" * 2_001, "2,001 characters"),
        ("seed", -1, "seed is -1"),
        ("seed", 10**400, "seed is too large"),
        ("seed", "7", "seed is '7'; use a whole number"),
        ("num_inference_steps", 1_000_000, "num_inference_steps is 1000000"),
        ("num_inference_steps", 2.5, "num_inference_steps is 2.5; use a whole number"),
        ("guidance_scale", float("nan"), "guidance_scale is nan"),
        ("guidance_scale", {"a": 1}, "guidance_scale is {'a': 1}"),
        ("adapter_weight", "1", "adapter_weight is '1'"),
        ("guidance_stop", True, "guidance_stop is True"),
        ("bit_depth", 12, "bit_depth is 12; use 8 or 16"),
        ("bit_depth", [8], "bit_depth is"),
        ("bit_depth", 8.0, "bit_depth is 8.0"),
        ("model", {"a": 1}, "model is {'a': 1}; a name has"),
        ("adapter", "x" * 2_501, "adapter is 'x{59}…; a name has at most 2,500 characters"),
        ("model", "", "model is empty"),
        ("adapter", "\ud800", r"adapter is '\\ud800'; a name has no control characters"),
        ("device", None, "device is None"),
        ("digital_source_type", 1, "digital_source_type is 1"),
        ("digital_source_type", "digitalCapture", "digital_source_type is 'digitalCapture'; use http.*/trained"),
        ("library_versions", {"torch": "\ud800"}, "library_versions is not a table"),
        ("width", 1e300, "width is 1e"),
        ("width", 32.0, "width is 32.0"),
        ("height", 0, "height is 0; use a whole number from 1"),
        ("height", 10**400, "height is a very large number"),
        ("weight_dtype", "nn", "weight_dtype is 'nn'; use float32, float16, bfloat16"),
        ("micro_batch_size", 65, "micro_batch_size is 65; use a whole number from 1 to 64"),
        ("micro_batch_size", True, "micro_batch_size is True"),
        ("num_threads", 1_500, "num_threads is 1500; use a whole number from 0 to 1,024"),
        ("num_threads", -1, "num_threads is -1"),
        ("library_versions", {"torch": 2}, "library_versions is not a table"),
        ("library_versions", "torch", "library_versions is not a table"),
        ("library_versions", {str(k): "1" for k in range(41)}, "library_versions is not a table"),
    ],
    ids=lambda _: "",
)
def test_recipes_with_values_that_are_not_allowed(field: str, value: object, message: str) -> None:
    text = json.dumps(RECIPE.values | {field: value})
    with pytest.raises(RequestError, match=message) as refusal:
        Recipe.from_json(text)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_the_limits_themselves_are_allowed() -> None:
    edge = {"num_threads": 1_024, "micro_batch_size": 64, "bit_depth": 16, "guidance_scale": 1, "library_versions": {}}
    recipe = Recipe.from_values(RECIPE.values | edge)
    assert (recipe.num_threads, recipe.micro_batch_size) == (1_024, 64)
    assert type(recipe.guidance_scale) is float


def test_recipes_of_all_versions_are_read() -> None:
    first = RECIPE.values
    for name in ("guidance_stop", "bit_depth", "num_threads"):  # which 0.1.0 did not know
        del first[name]
    recipe = Recipe.from_values(first)
    assert (recipe.guidance_stop, recipe.bit_depth, recipe.num_threads) == (1.0, 8, 0)


def test_rows_of_tables_keep_the_order_that_they_have_always_had() -> None:
    assert " ".join(RECIPE.values) == (
        "prompt negative_prompt seed num_inference_steps guidance_scale scheduler model model_revision adapter "
        "adapter_sha256 adapter_weight width height weight_dtype device micro_batch_size library_versions "
        "digital_source_type guidance_stop bit_depth num_threads reword sent_prompt"
    )


def test_each_face_says_its_own_name_of_a_value() -> None:
    with pytest.raises(RequestError) as refusal:
        GenerationRequest("normal", num_images=0)
    error = refusal.value
    assert str(error) == "num_images is 0; use a whole number from 1 to 64"
    assert error.described(FLAGS) == "--count is 0; use a whole number from 1 to 64"
    assert error.described(LABELS) == "“Images” is 0; use a whole number from 1 to 64"
    assert pickle.loads(pickle.dumps(error)).field == "num_images"  # it crosses processes
    with pytest.raises(RequestError, match=r"^row 3: count is 0; use") as refusal, naming_fields(COLUMNS, "row 3: "):
        raise error
    assert refusal.value.field is None  # nobody names it once more
    with pytest.raises(DataError, match=r"^as it is$"), naming_fields(COLUMNS, "row 3: "):
        raise DataError("as it is")


def test_every_setting_stands_in_the_table_and_its_default_is_allowed() -> None:
    named = {field.name for field in dataclasses.fields(GenerationRequest)}
    assert named == set(SETTINGS)
    for name, setting in SETTINGS.items():
        assert name == "prompt" or setting.check(setting.default) == getattr(GenerationRequest, name)
        assert setting.before is None or setting.check(setting.before) == setting.before
    assert {*PLAN_SETTINGS, *BEGINNING, *REGION, "prompt", "seed", "num_images", "sent_prompt"} == named


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
