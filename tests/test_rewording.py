"""The switch "Reword before generating": what the model reads, what recipes say, and what older files mean."""

from __future__ import annotations

import dataclasses
import json
import shlex
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import images_of

from cxr.commands.main import main
from cxr.commands.restore import command_line
from cxr.dataset.make import Options, iterate_dataset
from cxr.dataset.plan import Plan, build_plan
from cxr.folders.image_folder import ImageFolder
from cxr.generate.into_folder import generate_into_folder
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import get_model
from cxr.generate.recipes import recipe_for
from cxr.prompts.rewording import reword, to_type_again, with_sent_prompt
from cxr.request.errors import RequestError
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest
from cxr.request.recipe import Recipe
from cxr.web.page.image_form import values_of

DENIAL = "Effusion. No pneumonia, cardiomegaly."
SENT = "chest x-ray, pleural effusion"
QUICK: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": 1.0}


@pytest.fixture
def caption_model(tiny_base_model: LoadedModel) -> LoadedModel:
    """The tiny model as one that was trained with captions, as the embedded one is."""
    return dataclasses.replace(tiny_base_model, prompt_form="caption")


def image_of(model: LoadedModel, prompt: str, **settings: Any) -> GeneratedImage:
    (image,) = images_of(GenerationRequest(prompt, **{**QUICK, **settings}), model)
    return image


@pytest.mark.parametrize(
    "prompt",
    [
        "A 55-year-old man with pneumonia",
        "A 55-year-old man with pneumonia.",
        "Chest X-ray of a 30-year-old woman with effusion, PA view",
        "Normal chest X-ray, PA view, 60-year-old woman",
        "hello",
        "",
    ],
)
def test_what_needs_no_other_words_stays_as_typed(prompt: str) -> None:
    assert reword(prompt, "caption") == prompt


def test_models_whose_form_is_unknown_get_every_prompt_as_typed() -> None:
    assert reword(f"  {DENIAL}\n", "plain") == f"  {DENIAL}\n"


def test_the_model_reads_the_reworded_text_and_the_recipe_has_both(caption_model: LoadedModel) -> None:
    reworded, plain = image_of(caption_model, DENIAL), image_of(caption_model, SENT, reword=False)
    assert np.array_equal(reworded.pixels, plain.pixels)
    assert (reworded.recipe.prompt, reworded.recipe.reword, reworded.recipe.sent_prompt) == (DENIAL, True, SENT)
    assert (plain.recipe.prompt, plain.recipe.reword, plain.recipe.sent_prompt) == (SENT, False, "")
    as_typed = image_of(caption_model, DENIAL, reword=False)
    assert not np.array_equal(as_typed.pixels, reworded.pixels)


def test_a_recipe_is_made_again_from_the_text_that_was_sent(caption_model: LoadedModel) -> None:
    """Whatever the rules of rewording have become since."""
    older = recipe_for(GenerationRequest(DENIAL, **QUICK, sent_prompt="nodule"), caption_model, 0)
    (again,) = images_of(older.request_from(), caption_model)
    assert np.array_equal(again.pixels, image_of(caption_model, "nodule", reword=False).pixels)
    assert again.recipe == dataclasses.replace(older, library_versions=again.recipe.library_versions)
    assert to_type_again(older, "caption").image_settings == older.image_settings | {
        "prompt": "nodule",
        "reword": False,
        "sent_prompt": "",
    }


def test_a_recipe_without_the_field_was_sent_as_typed(caption_model: LoadedModel) -> None:
    values = recipe_for(GenerationRequest(DENIAL), caption_model, 0).values
    del values["reword"], values["sent_prompt"]
    recipe = Recipe.from_values(values)
    assert (recipe.reword, recipe.request_from().reword, recipe.request_from().model_prompt) == (False, False, DENIAL)


@pytest.mark.parametrize("value", [1, 0, "true", None, 1.0, [True]])
def test_the_switch_is_true_or_false(value: Any) -> None:
    with pytest.raises(RequestError, match=r"reword is .*; use true or false"):
        GenerationRequest("pneumonia", reword=value)


def test_a_sent_prompt_belongs_to_a_reworded_one() -> None:
    with pytest.raises(RequestError, match="sent_prompt is given, but reword is false"):
        GenerationRequest("pneumonia", reword=False, sent_prompt="nodule")


@pytest.mark.parametrize("typed", [(), ("--reword",), ("--no-reword",)])
def test_the_command_line_says_what_is_sent_and_restores_it(
    typed: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--steps", "1", "--guidance-scale", "1", "--output", str(tmp_path / "out"))
    assert main(["generate", DENIAL, *typed, *options]) == 0
    said, is_off = capsys.readouterr().err, typed == ("--no-reword",)
    assert (f"sent to the model: “{SENT}”" in said) != is_off
    assert ("it may show Cardiomegaly, Pneumonia" in said) == is_off
    (file,) = ImageFolder(tmp_path / "out").files
    assert (file.metadata["prompt"], file.metadata["reword"]) == (DENIAL, not is_off)
    again = shlex.split(command_line(Recipe.from_values(
        {name: value for name, value in file.metadata.items() if name not in ("file_name", "sha256")}
    )))[3:]  # fmt: skip
    assert main([*again[:-1], str(tmp_path / "again")]) == 0
    (copy,) = ImageFolder(tmp_path / "again").files
    assert copy.sha256 == file.sha256


def test_restoring_types_the_sent_text_where_rewording_has_changed(caption_model: LoadedModel) -> None:
    recipe = recipe_for(with_sent_prompt(GenerationRequest(DENIAL), "caption"), caption_model, 0)
    recipe = dataclasses.replace(recipe, model="embedded")
    assert DENIAL in command_line(recipe)
    assert "--reword" in command_line(recipe)
    assert values_of(recipe)[0] == DENIAL
    older = dataclasses.replace(recipe, sent_prompt="nodule")
    assert "generate nodule" in command_line(older)
    assert "--no-reword" in command_line(older)
    assert DENIAL not in command_line(older)
    assert values_of(older)[0] == "nodule"
    assert False in values_of(older)


def test_a_folder_that_was_begun_without_rewording_goes_on_without(tmp_path: Path) -> None:
    """Also one of a version that knew no rewording: its rows lack the field."""
    settings = {**QUICK, "num_images": 2}
    begun, whole = tmp_path / "begun", tmp_path / "whole"
    assert generate_into_folder([GenerationRequest(DENIAL, **QUICK, reword=False)], begun, "embedded", "default") == 0
    table = begun / "metadata.jsonl"
    row = json.loads(table.read_text(encoding="utf-8"))
    del row["reword"], row["sent_prompt"]
    table.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert generate_into_folder([GenerationRequest(DENIAL, **settings)], begun, "embedded", "default") == 0
    generate_into_folder([GenerationRequest(DENIAL, **settings, reword=False)], whole, "embedded", "default")
    assert {path.name: path.read_bytes() for path in begun.iterdir()} == {
        path.name: path.read_bytes() for path in whole.iterdir()
    }


def test_a_folder_goes_on_when_the_rules_of_rewording_have_changed(tmp_path: Path) -> None:
    """What was made stays, and its row says what was sent."""
    one = GenerationRequest(DENIAL, **QUICK, sent_prompt="nodule")
    assert generate_into_folder([one], tmp_path, "embedded", "default") == 0
    assert (
        generate_into_folder([GenerationRequest(DENIAL, **QUICK, num_images=2)], tmp_path, "embedded", "default") == 0
    )
    assert [file.metadata["sent_prompt"] for file in ImageFolder(tmp_path).files] == ["nodule", SENT]


FREE_TEXT = {"prompts": [DENIAL], "settings": QUICK}


def test_plans_reword_free_text_and_never_what_labels_were_put_into() -> None:
    cohort = {"findings": "Effusion", "count": 1, "age": "50-60", "sex": "F", "view": "PA"}
    images = build_plan({**FREE_TEXT, "cohort": [cohort]}, "both").images
    assert [image.request.reword for image in images] == [False, True]
    assert images[1].labels.findings == ("Effusion",)
    off = build_plan({**FREE_TEXT, "settings": {**QUICK, "reword": False}}, "off")
    assert not off.images[0].request.reword
    grid = build_plan({"grid": {"prompt": [DENIAL], "reword": [True, False]}}, "grid")
    assert [image.request.reword for image in grid.images] == [True, False]


def make_set(plan: Plan, directory: Path, stop: threading.Event | None = None) -> None:
    for _ in iterate_dataset(plan, directory, get_model(), Options(), stop or threading.Event()):
        pass


def test_a_data_set_that_an_older_version_has_begun_goes_on_without_rewording(tmp_path: Path) -> None:
    """Its hash is that of the same plan today, so that the file of the job has to tell them apart."""
    plan, off = (
        build_plan(FREE_TEXT, "a set"),
        build_plan(FREE_TEXT | {"settings": {**QUICK, "reword": False}}, "a set"),
    )
    assert plan.sha256 == "625a95008667f09dfb9200912de905b12446d1239580c42b5833ccde52289f8f" != off.sha256
    stopped = threading.Event()
    stopped.set()
    for wanted, name in ((plan, "older"), (off, "older, said so")):
        make_set(plan, tmp_path / name, stopped)
        job = tmp_path / name / ".cxr-dataset" / "job.json"
        begun = json.loads(job.read_text(encoding="utf-8"))
        del begun["rewords"]
        job.write_text(json.dumps(begun), encoding="utf-8")
        make_set(wanted, tmp_path / name)
        row = row_of(tmp_path / name)
        assert (row["prompt"], row["reword"], row["sent_prompt"]) == (DENIAL, False, "")


def test_a_data_set_rewords_and_has_both_texts(tmp_path: Path) -> None:
    make_set(build_plan(FREE_TEXT, "a set"), tmp_path)
    row = row_of(tmp_path)
    assert (row["prompt"], row["reword"], row["sent_prompt"]) == (DENIAL, True, SENT)


def row_of(directory: Path) -> dict[str, Any]:
    """The only row of a data set."""
    row: dict[str, Any]
    (row,) = map(json.loads, (directory / "train" / "metadata.jsonl").read_text("utf-8").splitlines())
    return row


def test_a_request_keeps_the_text_that_was_fixed_for_it() -> None:
    fixed = GenerationRequest(DENIAL, sent_prompt="nodule")
    assert with_sent_prompt(fixed, "caption") is fixed
    assert with_sent_prompt(GenerationRequest(DENIAL, reword=False), "caption").model_prompt == DENIAL
    assert with_sent_prompt(GenerationRequest(DENIAL), "caption").model_prompt == SENT
