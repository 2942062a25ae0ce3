"""Findings on one side: each half of a picture follows a prompt of its own, and labels, files and limits know it."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pyarrow import parquet
from test_init_image import START
from tiny_model import images_of
from transformers import CLIPTokenizer

from cxr.commands.main import main
from cxr.dataset.convert import convert
from cxr.dataset.estimate import kinds_of
from cxr.dataset.make import Options, iterate_dataset
from cxr.dataset.plan import build_plan
from cxr.folders.reader import read_images
from cxr.generate.images import generate_each
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import get_model
from cxr.generate.recipes import recipe_for
from cxr.labels.vocabulary import SIDED_FINDINGS
from cxr.models.preset_table import EMBEDDED_FOLDER
from cxr.prompts import asked_labels, compile_prompt
from cxr.prompts.halves import HALVES, side_of
from cxr.prompts.inspection import SIDE_NOT_DRAWN, notes_on
from cxr.prompts.rewording import describe_sent, to_type_again, with_sent_prompt
from cxr.request.errors import RequestError
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest
from cxr.request.mask_cells import CELLS, read_mask_cells
from cxr.web.jobs.image_orders import ImageOrders
from cxr.web.jobs.image_state import ImageState, region_facts
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.table import JobTable
from cxr.web.page.restore import describe
from cxr.web.page.twins import twin_of
from cxr.web.server.limits import Limits

LEFT = "A 55-year-old man with a left pleural effusion"
WITH, WITHOUT = "A 55-year-old man with pleural effusion", "A 55-year-old man with no findings"
QUICK: dict[str, Any] = {"num_inference_steps": 2, "guidance_scale": 1.0}


@pytest.fixture
def caption_model(tiny_base_model: LoadedModel) -> LoadedModel:
    """The tiny model as one that was trained with captions, as the embedded one is."""
    return dataclasses.replace(tiny_base_model, prompt_form="caption")


def sent(prompt: str, form: str = "caption", **settings: Any) -> GenerationRequest:
    return with_sent_prompt(GenerationRequest(prompt, **settings), form)


@pytest.mark.parametrize(
    ("prompt", "inside", "side", "around"),
    [
        (LEFT, WITH, "left", WITHOUT),
        ("R effusion, woman", "A woman with pleural effusion", "right", "A woman with no findings"),
        ("LLL consolidation, mass", "chest x-ray, consolidation, a lung mass", "left", "chest x-ray, a lung mass"),
        ("left effusion, left ptx", "chest x-ray, pleural effusion, pneumothorax", "left", "normal chest x-ray"),
        ("left effusion, right pneumothorax", "chest x-ray, pleural effusion", "left", "chest x-ray, pneumothorax"),
        ("right effusion, no left effusion", "chest x-ray, pleural effusion", "right", "normal chest x-ray"),
        ("possible right pneumothorax", "chest x-ray, pneumothorax", "right", "normal chest x-ray"),
    ],
)  # fmt: skip
def test_each_half_has_a_prompt(prompt: str, inside: str, side: str, around: str) -> None:
    request = sent(prompt)
    assert (request.sent_prompt, request.surrounding_prompt) == (inside, around)
    assert side_of(request.mask_cells) == side
    assert describe_sent(request) == f"“{inside}” for the patient's {side} half, “{around}” for the other"
    assert sent(inside).sent_prompt == inside  # the model's own words


@pytest.mark.parametrize(
    "prompt",
    [
        *("bilateral effusions", "left effusion. right effusion", "effusions, left greater than right", "left hernia"),
        *("no left effusion", "history of left pneumothorax", "effusion", "left lateral view, effusion"),
    ],
)
def test_what_is_not_on_one_side_is_one_picture(prompt: str) -> None:
    request = sent(prompt)
    assert not request.mask_cells + request.surrounding_prompt
    assert not {"left", "right", "bilateral"} & set(request.model_prompt.split())
    assert describe_sent(request) == f"“{request.model_prompt}”"
    assert asked_labels(prompt).sides == ()


def test_a_side_that_is_not_drawn_is_told() -> None:
    for prompt, label in (("bilateral effusions", "bilateral"), ("left effusion. right effusion", "left")):
        ignored = [chip.label for chip in compile_prompt(prompt, "caption").chips if chip.kind == "ignored"]
        assert f"{label} (pleural effusion)" in ignored
    understood = [chip.label for chip in compile_prompt(LEFT, "caption").chips if chip.kind == "understood"]
    assert "left pleural effusion" in understood


def test_the_left_is_on_the_right_of_the_picture() -> None:
    assert {column for _, column in read_mask_cells(HALVES["left"])} == {*range(CELLS // 2, CELLS)}
    assert {column for _, column in read_mask_cells(HALVES["right"])} == {*range(CELLS // 2)}


@pytest.mark.parametrize("finding", SIDED_FINDINGS)
def test_the_model_never_reads_a_word_for_a_side(finding: str) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(EMBEDDED_FOLDER / "tokenizer")
    request = sent(f"right {finding.replace('_', ' ')} in an elderly woman, AP portable")
    assert asked_labels(request.prompt).sides == ((finding, "right"),)
    for text in (request.sent_prompt, request.surrounding_prompt):
        assert all(token.endswith("</w>") for token in tokenizer.tokenize(text)), text
        assert "right" not in text


@pytest.mark.parametrize("form", ["report", "key_value", "chexpert", "plain"])
def test_other_forms_have_words_for_sides_or_none(form: str) -> None:
    request = sent(LEFT, form)
    assert not request.mask_cells + request.surrounding_prompt
    assert ("left" in request.model_prompt.lower()) == (form in ("report", "plain"))


def test_what_already_says_what_is_made_where_goes_before_a_side(caption_model: LoadedModel) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(EMBEDDED_FOLDER / "tokenizer")
    region = sent(LEFT, mask_cells="0:0-3", surrounding_prompt="right effusion")
    assert (region.sent_prompt, region.mask_cells) == (WITH, "0:0-3")
    assert region.surrounding_prompt == "chest x-ray, pleural effusion"
    begun = sent(LEFT, init_image=START)
    assert (begun.sent_prompt, begun.mask_cells, begun.surrounding_prompt) == (WITH, "", "")
    for request in (region, begun):
        assert SIDE_NOT_DRAWN in notes_on(request, tokenizer)["prompt"]
    assert SIDE_NOT_DRAWN not in notes_on(sent(LEFT), tokenizer)["prompt"]
    as_typed = sent(LEFT, reword=False)
    assert not as_typed.mask_cells
    assert any("left" in note for note in notes_on(as_typed, tokenizer)["prompt"])


def test_the_other_half_is_the_picture_without_the_finding(caption_model: LoadedModel) -> None:
    (image,) = images_of(GenerationRequest(LEFT, seed=3, **QUICK), caption_model)
    (plain,) = images_of(GenerationRequest(WITHOUT, seed=3, reword=False, **QUICK), caption_model)
    middle = image.pixels.shape[1] // 2
    assert np.array_equal(image.pixels[:, :middle], plain.pixels[:, :middle])
    assert not np.array_equal(image.pixels[:, middle:], plain.pixels[:, middle:])
    (again,) = images_of(image.recipe.request_from(), caption_model)
    assert np.array_equal(again.pixels, image.pixels)


def test_recipes_are_typed_again_as_they_were(caption_model: LoadedModel) -> None:
    recipe = dataclasses.replace(recipe_for(GenerationRequest(LEFT, **QUICK), caption_model, 3), model="embedded")
    typed = to_type_again(recipe, "caption")
    assert (typed.prompt, typed.reword, typed.mask_cells, typed.surrounding_prompt) == (LEFT, True, "", "")
    assert "region" not in describe(recipe, None)
    older = dataclasses.replace(recipe, mask_cells="", surrounding_prompt="")  # of a version that drew no sides
    again = to_type_again(older, "caption")
    assert (again.prompt, again.reword, again.mask_cells) == (WITH, False, "")
    by_hand = dataclasses.replace(recipe, mask_cells="0:0-3")
    assert to_type_again(by_hand, "caption").mask_cells == "0:0-3"


def test_twins_of_one_sided_pictures(caption_model: LoadedModel) -> None:
    settings = recipe_for(GenerationRequest(LEFT), caption_model, 3).image_settings
    for kind in ("region", "finding"):  # both are the picture around the half
        twin = twin_of(settings, kind)
        assert (twin["prompt"], twin["mask_cells"], twin["surrounding_prompt"]) == (WITHOUT, "", "")
    older = twin_of(settings, "age")
    assert (older["mask_cells"], older["surrounding_prompt"]) == (HALVES["left"], WITHOUT.replace("55", "30"))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_images_with_and_without_sides_are_made_by_one_call(size: int, caption_model: LoadedModel) -> None:
    model = dataclasses.replace(caption_model, micro_batch_size=size)
    prompts = [LEFT, LEFT, WITHOUT, LEFT.replace("left", "right"), WITHOUT, WITHOUT, LEFT]
    requests = [GenerationRequest(prompt, seed=number, **QUICK) for number, prompt in enumerate(prompts)]
    made = [event for event in generate_each(requests, model) if isinstance(event, GeneratedImage)]
    assert [image.index for image in made] == [*range(len(prompts))]
    for request, image in zip(requests, made, strict=True):
        (alone,) = images_of(request, model)
        assert np.array_equal(alone.pixels, image.pixels)
        assert dataclasses.replace(image.recipe, library_versions={}) == dataclasses.replace(
            alone.recipe, library_versions={}
        )


def test_limits_and_estimates_count_both_halves() -> None:
    orders = ImageOrders(ModelChoice("embedded"), Limits(pixel_steps=1), JobTable())
    usual = GenerationRequest(WITHOUT, num_inference_steps=10)  # of 65,536 pixels: 0.66 million
    orders.check_limits(usual)
    with pytest.raises(RequestError, match="20 steps are more than this server makes"):
        orders.check_limits(dataclasses.replace(usual, prompt=LEFT))
    plan = build_plan({"prompts": [LEFT, WITHOUT]}, "sides")
    assert plan.num_steps("caption") == 3 * GenerationRequest("any").num_inference_steps
    one, other = kinds_of(plan, "caption")
    assert one != other
    assert len({*kinds_of(plan, "report")}) == 1


def test_programs_learn_of_both_halves() -> None:
    request = sent(LEFT)
    assert region_facts(request) == {"mask_cells": HALVES["left"], "surrounding_prompt": WITHOUT}
    assert region_facts(sent(WITHOUT)) == {}
    facts = ImageState(request).facts
    assert (facts["sent_prompt"], facts["surrounding_prompt"]) == (WITH, WITHOUT)


def test_the_command_line_says_what_each_half_gets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "prompts.csv"
    table.write_text("prompt\nleft effusion\nleft effusion and right pneumothorax\n")
    assert main(["generate", "--prompts", str(table), "--steps", "1", "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    for around in ("normal chest x-ray", "chest x-ray, pneumothorax"):
        assert f"“chest x-ray, pleural effusion” for the patient's left half, “{around}” for the other" in said


def test_the_command_prompt_says_what_each_half_gets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", LEFT]) == 0
    written, halves, *_ = capsys.readouterr().out.splitlines()
    assert written == "A 55-year-old man with left pleural effusion"
    assert halves == f"= sent to the model: “{WITH}” for the patient's left half, “{WITHOUT}” for the other"
    assert main(["prompt", LEFT, "--form", "report"]) == 0
    assert "= sent" not in capsys.readouterr().out


# -- data sets


PLAN = {
    "settings": QUICK,
    "cohort": [
        {"findings": ["Effusion", "Pneumothorax + Cardiomegaly"], "side": {"left": 1, "right": 1}, "count": 2},
        {"findings": "No Finding", "count": 1},
    ],
    "prompts": [LEFT, "bilateral effusions"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("halves") / "set"
    for _ in iterate_dataset(build_plan(PLAN, "sides"), folder, get_model(), Options(), threading.Event()):
        pass
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    """A copy, for tests that change it."""
    return Path(shutil.copytree(made, tmp_path / "set"))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def test_labels_have_the_sides_wherever_they_are_written(dataset: Path, tmp_path: Path) -> None:
    sides = [row["sides"] for row in rows_of(dataset / "labels.csv")]
    assert sorted(sides[:4]) == ["Effusion:left", "Effusion:right", "Pneumothorax:left", "Pneumothorax:right"]
    assert sides[4:] == ["", "Effusion:left", ""]
    lines = [json.loads(line) for line in (dataset / "train" / "metadata.jsonl").read_text().splitlines()]
    assert [line["sides"] for line in lines] == sides
    assert [side_of(line["mask_cells"]) for line in lines] == [side.partition(":")[2] or None for side in sides]
    assert main(["verify", str(dataset), "--sample", "0"]) == 0
    read = [record.labels.sides for record in read_images(dataset)]
    assert read == [tuple(tuple(side.split(":")) for side in cell.split("|") if side) for cell in sides]
    convert(dataset, tmp_path / "parquet", "parquet")
    (table,) = (tmp_path / "parquet").rglob("*.parquet")
    assert parquet.read_table(table)["sides"].to_pylist() == sides
    convert(dataset, tmp_path / "dicom", "dicom")
    files = sorted((tmp_path / "dicom").rglob("*.dcm"))
    assert [pydicom.dcmread(file).ImageComments.partition("; sides: ")[2] for file in files] == sides
    assert [record.labels.sides for record in read_images(tmp_path / "dicom")] == read


@pytest.mark.parametrize("tables", [("labels.csv",), ("metadata.jsonl",), ("labels.csv", "metadata.jsonl")])
def test_verify_names_a_side_that_was_changed(
    tables: tuple[str, ...], dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in tables:
        path = next(dataset.rglob(name))
        path.write_text(path.read_text().replace("Effusion:left", "Effusion:right"))
    assert main(["verify", str(dataset), "--sample", "0"]) != 0
    said = capsys.readouterr()
    expected = "are not those of its prompt: sides" if len(tables) == 2 else "says something else about"
    assert expected in said.out + said.err


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"findings": "Effusion", "side": "both"}, "cohort entry 1: side is 'both'; use left, right"),
        ({"findings": "Cardiomegaly", "side": "left"}, "cohort entry 1 has a side, but none of"),
        ({"findings": "No Finding", "side": {"left": 1}}, "cohort entry 1 has a side, but none of"),
    ],
)
def test_sides_that_cannot_be_drawn_are_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build_plan({"cohort": [entry]}, "sides")


@pytest.mark.parametrize(
    ("template", "side"),
    [
        *(("left {findings}, {sex}, {age}", "right"), ("{findings} in the left lung, {sex}", "right")),
        *(("{findings}: on the left. {sex}", "right"), ("{findings} in the left lung of a {sex}", "")),
    ],
)
def test_templates_with_a_side_of_their_own_are_refused(template: str, side: str) -> None:
    content = {"cohort": [{"findings": "Effusion", "side": side, "count": 1}], "templates": [template]}
    with pytest.raises(RequestError, match="says something else of sides than its labels"):
        build_plan(content, "sides")


def test_pairs_have_no_side() -> None:
    with pytest.raises(RequestError, match="pairs entry 1 has a side, which only entries of a cohort can have"):
        build_plan({"pairs": [{"findings": "Effusion", "side": "left"}]}, "sides")


def test_a_side_is_another_plan_and_others_keep_their_hash() -> None:
    def sha256(**entry: Any) -> str:
        return build_plan({"cohort": [{"findings": "Effusion", "count": 2, **entry}]}, "sides").sha256

    assert sha256() == sha256(side="") != sha256(side="left") != sha256(side="right")
