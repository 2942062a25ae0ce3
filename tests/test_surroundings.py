"""A region in a picture that is made beside it: equal around it, made again from its recipe, and told by every face."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_init_image import START
from tiny_model import images_of

from cxr.commands.main import main
from cxr.generate.init_latents import region_of
from cxr.generate.loaded_model import LoadedModel
from cxr.images.reading import read_grey
from cxr.images.recipe_file import read_recipe_file
from cxr.prompts.rewording import with_sent_prompt
from cxr.request.errors import RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.request.recipe import Recipe
from cxr.web.page.restore import describe
from cxr.web.server.limits import Limits

AROUND, INSIDE, CELLS = "normal chest x-ray", "a lung mass", "0:0-7 1:0-7"
REQUEST = GenerationRequest(
    INSIDE, seed=7, num_inference_steps=3, num_images=3, reword=False, mask_cells=CELLS, surrounding_prompt=AROUND
)
WHOLE = dataclasses.replace(REQUEST, prompt=AROUND, mask_cells="", surrounding_prompt="")


def region(model: LoadedModel, pixels: NDArray[Any]) -> NDArray[np.bool_]:
    latents = region_of(CELLS, model.network.config.sample_size)
    assert latents is not None
    scale = pixels.shape[0] // latents.shape[-1]
    inside: NDArray[np.bool_] = latents[0, 0].numpy().repeat(scale, axis=0).repeat(scale, axis=1) > 0
    return inside


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_around_the_region_lies_the_other_prompts_picture(bit_depth: int, tiny_base_model: LoadedModel) -> None:
    images = images_of(dataclasses.replace(REQUEST, bit_depth=bit_depth), tiny_base_model)
    whole = images_of(dataclasses.replace(WHOLE, bit_depth=bit_depth), tiny_base_model)
    for one, other in zip(images, whole, strict=True):
        inside = region(tiny_base_model, one.pixels)
        assert np.array_equal(one.pixels[~inside], other.pixels[~inside])
        assert (one.pixels != other.pixels)[inside].any()


def test_the_recipe_alone_makes_it_again(tiny_base_model: LoadedModel) -> None:
    image = images_of(REQUEST, tiny_base_model)[1]
    recipe = Recipe.from_json(image.recipe.to_json())
    assert (recipe.mask_cells, recipe.surrounding_prompt) == (CELLS, AROUND)
    assert not {"strength", "init_image_sha256"} & recipe.values.keys()
    assert np.array_equal(images_of(recipe.request_from(), tiny_base_model)[0].pixels, image.pixels)


def test_other_recipes_do_not_hold_it(tiny_base_model: LoadedModel) -> None:
    values = images_of(WHOLE, tiny_base_model)[0].recipe.values
    assert not {"mask_cells", "surrounding_prompt"} & values.keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_cells": ""}, "only applies around a region; name one as well"),
        ({"init_image": START}, "and init_image both say what lies around the region; give one of them"),
        ({"surrounding_prompt": "x" * 2_001}, "has 2,001 characters"),
        ({"surrounding_prompt": "", "strength": 0.5}, "only applies where images begin from a picture"),
        ({"strength": 0.5}, "only applies where images begin from a picture"),
    ],
)
def test_requests_that_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        dataclasses.replace(REQUEST, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_cells": ""}, "only applies around a region"),
        ({"strength": 0.5}, "which newer versions may know"),
        ({"init_image_sha256": "0" * 64, "strength": 0.5}, "has “surrounding_prompt”, which newer versions may know"),
        ({"surrounding_prompt": 5}, "is int; give text"),
    ],
)
def test_recipes_that_are_refused(changes: dict[str, Any], message: str, tiny_base_model: LoadedModel) -> None:
    recipe = images_of(REQUEST, tiny_base_model)[0].recipe
    with pytest.raises(RequestError, match=message):
        Recipe.from_values(recipe.values | changes)


def test_command_verify_and_restore(tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", str(tiny_model_dir), "--adapter", "none"]
    options = ["--mask-cells", CELLS, "--surrounding-prompt", AROUND, "--steps", "2", "--no-reword", *model]
    assert main(["generate", INSIDE, *options, "--output", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").glob("*.png")
    assert main(["verify", str(tmp_path / "out"), *model]) == 0
    assert capsys.readouterr().out.count(": identical") == 1
    assert main(["restore", str(path)]) == 0
    command = capsys.readouterr().out
    assert f"--mask-cells '{CELLS}' --surrounding-prompt '{AROUND}'" in command
    recipe = read_recipe_file(path, tmp_path)
    assert "Only a region of it was made so; what lies around is in “Start from a picture”" in describe(recipe, None)
    assert read_grey(path).shape == (recipe.height, recipe.width)


def test_what_lies_around_is_reworded_like_any_prompt() -> None:
    """A denied finding is not drawn there either, and the recipe holds what was read."""
    asked = dataclasses.replace(REQUEST, reword=True, surrounding_prompt="72 yo M, no pneumothorax")
    sent = with_sent_prompt(asked, "caption")
    assert "pneumothorax" not in sent.surrounding_prompt
    assert (
        sent.surrounding_prompt
        == with_sent_prompt(dataclasses.replace(asked, prompt=asked.surrounding_prompt), "caption").model_prompt
    )
    assert (
        with_sent_prompt(dataclasses.replace(sent, sent_prompt=""), "caption").surrounding_prompt
        == sent.surrounding_prompt
    )


def test_the_picture_around_counts_for_limits_and_for_the_time_of_the_others() -> None:
    whole = dataclasses.replace(REQUEST, mask_cells="", surrounding_prompt="", num_images=3)
    around = dataclasses.replace(REQUEST, num_images=3)
    assert around.num_steps_in_all == 2 * whole.num_steps_in_all == 6 * REQUEST.num_inference_steps
    limits = Limits(pixel_steps=1)
    resolution = math.isqrt(1_000_000 // whole.num_steps_in_all)
    limits.check_request(whole, resolution)
    with pytest.raises(RequestError, match="more than this server makes for one request"):
        limits.check_request(around, resolution)
