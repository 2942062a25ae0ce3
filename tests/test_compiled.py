"""Networks compiled by torch: the same images but for last bits, LoRAs that change, and recipes that say so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import sample_images

from cxr.commands.restore import command_line
from cxr.dataset.reproduce import Reproducer
from cxr.generate.images import generate
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.request.errors import ModelError
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest


def images_of(model: LoadedModel, weight: float) -> list[GeneratedImage]:
    request = GenerationRequest("pneumonia", num_inference_steps=2, adapter_weight=weight)
    return [event for event in generate(request, model) if isinstance(event, GeneratedImage)]


@pytest.fixture(autouse=True)
def _without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr.models.compiled.BACKEND", "eager")  # traced as always, and run by torch's own kernels
    monkeypatch.setenv("CXR_ENGINE", "pytorch")


@pytest.mark.slow
def test_compiled_networks_follow_the_weight_of_a_lora(
    tiny_model_dir: Path, tiny_lora_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (str(tiny_model_dir), f"local:{tiny_lora_dir}")
    plain = load_model(*source)
    monkeypatch.setenv("CXR_COMPILE", "1")
    compiled = load_model(*source)
    assert (plain.info.engine, compiled.info.engine) == ("pytorch", "compiled")
    for weight in (1.0, 0.0, 0.5):
        (one,), (other,) = images_of(plain, weight), images_of(compiled, weight)
        assert np.array_equal(one.pixels, other.pixels)
        assert other.recipe.values["engine"] == "compiled"
        assert "compiled" not in other.recipe.library_versions


def test_a_recipe_starts_no_compiler_on_a_cpu(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (image,) = images_of(load_model(str(tiny_model_dir), "none"), 0.0)
    monkeypatch.setattr("cxr.models.compiled.BACKEND", "a compiler that is not there")
    recipe = dataclasses.replace(image.recipe, engine="compiled")
    again = Reproducer(str(tiny_model_dir), "none").check(image.pixels, recipe, 8)
    assert (again.verdict, again.changed) == ("identical", ("engine compiled (here pytorch)",))


@pytest.mark.parametrize(("value", "begin"), [("", "CXR_COMPILE=1 python"), ("0", "CXR_COMPILE=1 "), ("1", "python")])
def test_restore_says_how_it_is_compiled_again(value: str, begin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_COMPILE", value)
    assert command_line(sample_images.make_image(0, engine="compiled").recipe).startswith(begin)


@pytest.mark.parametrize("value", ["yes", "2", " 1", "on"])
def test_a_wrong_value_is_one_sentence(value: str, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_COMPILE", value)
    with pytest.raises(ModelError, match=f"CXR_COMPILE is '{value}'; use 1 to compile"):
        load_model(str(tiny_model_dir), "none")
