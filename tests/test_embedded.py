"""The shipped model and LoRA: complete, small enough, and doing what the page promises."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open

from cxr.generate.images import generate
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.images.reading import read_grey
from cxr.labels.vocabulary import FINDING_PHRASES
from cxr.lora.find import describe_adapter
from cxr.models.preset_table import EMBEDDED_FOLDER
from cxr.prompts.inspection import inspect_prompt
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest
from cxr.web.page.image_tab import find_examples

EMBEDDED = EMBEDDED_FOLDER
MAX_MEGABYTES = 75


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model()


@pytest.fixture(scope="module")
def one_image(model: LoadedModel) -> Callable[[str], NDArray[np.uint8]]:
    """Prompt -> [1, 256, 256] uint8, one seed for all prompts, and few steps: what changes, changes early."""
    return functools.cache(lambda prompt: np.stack(images_of(model, prompt, seed=5, num_inference_steps=4)))


def images_of(model: LoadedModel, prompt: str, **options: float) -> list[np.ndarray]:
    request = GenerationRequest(prompt, **options)  # type: ignore[arg-type]
    return [event.pixels for event in generate(request, model) if isinstance(event, GeneratedImage)]


def test_the_model_is_small_and_holds_half_precision_weights_only() -> None:
    files = [path for path in EMBEDDED.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors", ".txt"}
    assert sum(path.stat().st_size for path in files) < MAX_MEGABYTES * 1e6
    for path in EMBEDDED.rglob("*.safetensors"):
        with safe_open(path, framework="np") as weights:
            kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
        assert kinds <= {"F16", "I64"}, path.name


def test_the_clinical_lora_is_the_default_and_stores_its_alpha(model: LoadedModel) -> None:
    info = describe_adapter("clinical")
    settings = json.loads((info.path.parent / "config.json").read_text())
    assert model.info.adapter == "clinical"
    assert (info.rank, info.lora_alpha) == (settings["rank"], settings["lora_alpha"])
    assert not info.notes


def test_it_knows_the_promised_prompts_and_every_finding(model: LoadedModel) -> None:
    prompts = ["A 55-year-old man with pneumonia", "Chest X-ray, PA view, 60-year-old woman, emphysema"]
    prompts += ["normal chest x-ray", *(phrase for phrases in FINDING_PHRASES.values() for phrase in phrases)]
    for prompt in prompts:
        assert not inspect_prompt(prompt, model.pipeline.tokenizer).unknown_words, prompt
    assert inspect_prompt("A man with sarcoidosis", model.pipeline.tokenizer).unknown_words == ("sarcoidosis",)


def test_images_are_256_grey_levels_deep_and_differ_by_seed(model: LoadedModel) -> None:
    first, second = images_of(model, "normal chest x-ray", seed=1, num_images=2, num_inference_steps=4)
    assert first.shape == (256, 256)
    assert first.dtype == np.uint8
    assert first.std() > 25
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.99
    assert np.array_equal(images_of(model, "normal chest x-ray", seed=2, num_inference_steps=4)[0], second)


@pytest.mark.parametrize(
    ("one", "other", "levels"),
    [
        ("Chest X-ray, PA view, 30-year-old man", "Chest X-ray, AP view, 30-year-old man", 10),
        ("Chest X-ray, PA view, 30-year-old man", "Chest X-ray, PA view, 30-year-old woman", 5),
        ("Chest X-ray, PA view, 30-year-old man", "Chest X-ray, PA view, 80-year-old man", 3),
        ("A 55-year-old man with no findings", "A 55-year-old man with pleural effusion", 5),
    ],
)
def test_view_sex_age_and_finding_change_the_picture(
    one_image: Callable[[str], NDArray[np.uint8]], one: str, other: str, levels: int
) -> None:
    # How rightly they change it is measured in the model cards; here only: nothing gets lost on the way.
    before, after = one_image(one), one_image(other)
    assert np.abs(before.astype(float) - after).mean() > levels


def test_lora_weight_zero_is_the_base(model: LoadedModel) -> None:
    base, prompt, few = load_model(adapter="none"), "A 55-year-old man with pneumonia", {"num_inference_steps": 2}
    (plain,) = images_of(base, prompt, **few)
    if base.info.weight_dtype == model.info.weight_dtype:  # chosen by a probe of this machine's speed
        assert np.array_equal(images_of(model, prompt, adapter_weight=0.0, **few)[0], plain)
    assert not np.array_equal(images_of(model, prompt, **few)[0], plain)


def test_the_shipped_examples_can_be_made_again(model: LoadedModel) -> None:
    examples = find_examples()
    assert len(examples) >= 6
    for path, recipe in examples.items():
        assert recipe.adapter_sha256 == model.info.adapter_sha256, path.name
        assert recipe.model_revision == model.info.model_revision, path.name
    path, recipe = next(iter(examples.items()))
    (again,) = images_of(
        model,
        recipe.prompt,
        seed=recipe.seed,
        num_inference_steps=recipe.num_inference_steps,
        guidance_scale=recipe.guidance_scale,
        adapter_weight=recipe.adapter_weight,
    )
    shipped = read_grey(path)
    # Number format and processor may change the last grey levels, not the picture.
    assert np.corrcoef(again.ravel(), shipped.ravel())[0, 1] > 0.98
