"""Several LoRAs with a weight each: what they do, and that the base keeps its bits."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SaveLora
from diffusers import StableDiffusionPipeline
from hostile_adapters import pair
from peft.tuners.lora import Linear
from safetensors.torch import load_file, save_file
from test_hostile_adapters import state_sha256
from tiny_model import lora_layers
from torch import Tensor

import cxr.lora.find
import cxr.lora.loaded
from cxr.dataset.reproduce import IDENTICAL, Reproducer
from cxr.generate.images import generate
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.lora.find import describe_adapter, describe_adapters
from cxr.lora.loaded import load_layers
from cxr.lora.lora_file import LoraFile
from cxr.request.errors import AdapterError, DataError
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest

WEIGHTS = "pytorch_lora_weights.safetensors"
REQUEST = GenerationRequest("effusion", seed=3, num_inference_steps=1)


def image_of(model: LoadedModel, **changes: float) -> GeneratedImage:
    events = generate(dataclasses.replace(REQUEST, **changes), model)  # type: ignore[arg-type]
    (image,) = (event for event in events if isinstance(event, GeneratedImage))
    return image


@pytest.fixture(scope="module", name="loras")
def _loras(
    tmp_path_factory: pytest.TempPathFactory, tiny_lora_dir: Path, tiny_model_dir: Path, save_lora: SaveLora
) -> dict[str, bytes]:
    """Three LoRAs: "first" of both networks, "second" of the UNet, "third" of the text encoder."""
    pipeline, folder = StableDiffusionPipeline.from_pretrained(tiny_model_dir), tmp_path_factory.mktemp("loras")
    second, third = (
        save_lora(pipeline, folder / part, rank=2, alpha=3.0, parts=(part,)) for part in ("unet", "text_encoder")
    )
    files = {"first": tiny_lora_dir / WEIGHTS, "second": second, "third": third}
    return {name: path.read_bytes() for name, path in files.items()}


@pytest.fixture(name="root")
def _root(tmp_path: Path, loras: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like lora_weights/ with the three."""
    root = tmp_path / "loras"
    root.mkdir()
    for name, content in loras.items():
        (root / f"{name}.safetensors").write_bytes(content)
    monkeypatch.setattr(cxr.lora.find, "LORA_ROOT", root)
    return root


@pytest.mark.parametrize("name", ["a,b", "run:5", "x,y:0.5"])
def test_a_file_with_commas_or_colons_in_its_name_is_one_lora(name: str, root: Path) -> None:
    (root / f"{name}.safetensors").write_bytes((root / "second.safetensors").read_bytes())
    for text in (name, f"local:{root}/{name}.safetensors"):
        (info,) = describe_adapters(text)
        assert info.name == name


def test_the_same_file_under_two_names_is_refused(root: Path) -> None:
    with pytest.raises(AdapterError, match="same LoRA twice"):
        describe_adapters(f"first,local:{root / 'first.safetensors'}")


def test_the_weights_are_the_base_plus_each_product(root: Path, tiny_model_dir: Path) -> None:
    model = load_model(str(tiny_model_dir), "first:0.8,second:0.5")
    base = load_model(str(tiny_model_dir), "none").pipeline.unet.state_dict()
    model.set_adapter_weight(0.5)
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    expected = base[f"{name}.weight"].clone()
    for file, scale in (("first", 12 / 4 * 0.8 * 0.5), ("second", 3 / 2 * 0.5 * 0.5)):
        tensors = load_file(root / f"{file}.safetensors")
        expected += tensors[f"unet.{name}.lora_B.weight"] @ tensors[f"unet.{name}.lora_A.weight"] * scale
    found = model.pipeline.unet.get_submodule(name).base_layer.weight
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert [info.name for info in model.adapters] == ["first", "second"]


def test_merged_loras_give_what_diffusers_layers_give(root: Path, tiny_model_dir: Path) -> None:
    model = load_model(str(tiny_model_dir), "first:0.8,second:0.5,third")
    model.set_adapter_weight(0.7)
    inputs = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    tokens = torch.arange(8)[None]

    def output() -> torch.Tensor:
        with torch.inference_mode():
            text = model.pipeline.text_encoder(tokens).last_hidden_state
            sample: torch.Tensor = model.pipeline.unet(inputs, 500, text).sample
        return sample

    merged = output()
    with lora_layers(model, 0.7, 0.8, 0.5, 1.0):
        torch.testing.assert_close(output(), merged, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output(), merged, rtol=0, atol=0)


def test_a_weight_of_zero_leaves_the_others_alone(root: Path, tiny_model_dir: Path) -> None:
    model = load_model(str(tiny_model_dir), "first")
    alone = image_of(model)
    assert (alone.recipe.adapter, alone.recipe.adapter_sha256) == ("first", describe_adapter("first").sha256)
    model.load_adapter("first,second:0")
    both = image_of(model)
    assert np.array_equal(both.pixels, alone.pixels)
    model.load_adapter("first,second")
    assert not np.array_equal(image_of(model).pixels, alone.pixels)


def test_a_single_lora_with_a_weight_is_as_strong_as_that_request(root: Path, tiny_model_dir: Path) -> None:
    model = load_model(str(tiny_model_dir), "first:0.5")
    half = image_of(model)
    assert half.recipe.adapter == "first:0.5"
    model.load_adapter("first")
    assert np.array_equal(image_of(model, adapter_weight=0.5).pixels, half.pixels)


def test_recipes_of_several_name_no_folder_and_can_be_made_again(root: Path, tiny_model_dir: Path) -> None:
    model = load_model(str(tiny_model_dir), f"first:0.8,local:{root / 'second.safetensors'}:0.5")
    image = image_of(model, adapter_weight=0.9)
    hashes = [describe_adapter(name).sha256 for name in ("first", "second")]
    assert image.recipe.adapter == "first:0.8,second:0.5"
    assert image.recipe.adapter_sha256 == ",".join(hashes)
    outcome = Reproducer(str(tiny_model_dir)).check(image.pixels, image.recipe, 8)
    assert outcome.verdict == IDENTICAL
    strange = dataclasses.replace(image.recipe, adapter="first,local:/dev/zero")
    with pytest.raises(DataError, match="names its LoRA by a path"):
        Reproducer(str(tiny_model_dir)).check(image.pixels, strange, 8)


def base_dtypes() -> list[str]:
    return ["float32", "bfloat16"]


@pytest.mark.parametrize("dtype", base_dtypes())
def test_load_switch_and_unload_leave_the_base_bit_identical(dtype: str, root: Path, tiny_model_dir: Path) -> None:
    model = load_model(str(tiny_model_dir), "none", weight_dtype=dtype)
    before, info, image = state_sha256(model), model.info, image_of(model)
    for source in ("first", "second:0.3,first:1.7", "third", "third,second"):
        model.load_adapter(source)
        model.set_adapter_weight(0.9)
        with model.in_float32():
            pass
        assert not np.array_equal(image_of(model).pixels, image.pixels)
        assert np.array_equal(image_of(model, adapter_weight=0.0).pixels, image.pixels)
    model.load_adapter(())
    assert state_sha256(model) == before
    assert (model.info, model.adapters) == (info, ())
    assert model.pipeline.get_list_adapters() == {}
    assert np.array_equal(image_of(model).pixels, image.pixels)


def fail_at_load(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let peft refuse the n-th LoRA that is attached, after it has been attached in part."""
    calls: list[str] = []

    def failing(pipeline: object, file: LoraFile, name: str, adapter_name: str) -> None:
        load_layers(pipeline, file, name, adapter_name)
        calls.append(name)
        if len(calls) == number:
            raise AdapterError("no more memory")

    monkeypatch.setattr(cxr.lora.loaded, "load_layers", failing)


@pytest.mark.parametrize("dtype", base_dtypes())
@pytest.mark.parametrize("number", [1, 2])
def test_a_failing_load_keeps_the_base_and_the_present_loras(
    number: int, dtype: str, root: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(tiny_model_dir), "none", weight_dtype=dtype)
    before = state_sha256(model)
    fail_at_load(monkeypatch, number)
    with pytest.raises(AdapterError, match="no more memory"):
        model.load_adapter("first,third")
    assert state_sha256(model) == before
    monkeypatch.undo()
    monkeypatch.setattr(cxr.lora.find, "LORA_ROOT", root)
    model.load_adapter("second")
    image, info = image_of(model), model.info
    fail_at_load(monkeypatch, number)
    with pytest.raises(AdapterError, match="no more memory"):
        model.load_adapter("first,third")
    assert model.info == info
    assert np.array_equal(image_of(model).pixels, image.pixels)
    model.load_adapter(())
    assert state_sha256(model) == before


def test_a_merge_that_fails_half_way_is_undone(
    root: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(tiny_model_dir), "none")
    before = state_sha256(model)
    model.load_adapter("first,second")
    product: Callable[..., Tensor] = Linear.get_delta_weight
    count = 0

    def failing(layer: Linear, adapter: str) -> Tensor:
        nonlocal count
        count += 1
        if count == 5:
            raise torch.OutOfMemoryError
        return product(layer, adapter)

    monkeypatch.setattr(Linear, "get_delta_weight", failing)
    with pytest.raises(torch.OutOfMemoryError):
        model.set_adapter_weight(1.0)
    model.load_adapter(())
    assert state_sha256(model) == before


def test_one_misfit_among_several_changes_nothing(root: Path, tiny_model_dir: Path) -> None:
    (root / "foreign.safetensors").write_bytes(pair([4, 64], [64, 4]))
    model = load_model(str(tiny_model_dir), "first")
    image, info = image_of(model), model.info
    with pytest.raises(AdapterError, match="'foreign' is for another model"):
        model.load_adapter("second,foreign:0.5")
    assert model.info == info
    assert np.array_equal(image_of(model).pixels, image.pixels)


def test_a_file_that_changed_after_its_check_is_refused(root: Path, tiny_base_model: LoadedModel) -> None:
    file = cxr.lora.find.read_adapter(root / "second.safetensors").lora
    tensors = load_file(file.path)
    save_file({name: value + 1 for name, value in tensors.items()}, file.path)
    with pytest.raises(AdapterError, match="changed while it was being read"):
        file.read_content()
