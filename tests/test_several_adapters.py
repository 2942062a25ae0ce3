"""Several LoRAs with a weight each: how they are written, what they do, and that the base keeps its bits."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SaveLora
from diffusers import StableDiffusionPipeline
from hostile_adapters import pair
from safetensors.torch import load_file, save_file
from test_hostile_adapters import state_sha256

import cxr.adapters
import cxr.loaded_adapters
import cxr.merged_lora
from cxr import cli
from cxr.adapter_choice import MAX_ADAPTERS, AdapterChoice, format_adapters, parse_adapters
from cxr.adapters import describe_adapter, describe_adapters, find_adapter
from cxr.dataset.remake import IDENTICAL, Remaker
from cxr.errors import AdapterError
from cxr.generate import generate
from cxr.models import LoadedModel, load_model
from cxr.schema import GeneratedImage, GenerationRequest

WEIGHTS = "pytorch_lora_weights.safetensors"
REQUEST = GenerationRequest("effusion", seed=3, num_inference_steps=2)


def image_of(model: LoadedModel, **changes: float) -> GeneratedImage:
    events = generate(dataclasses.replace(REQUEST, **changes), model)  # type: ignore[arg-type]
    (image,) = (event for event in events if isinstance(event, GeneratedImage))
    return image


@pytest.fixture(name="root")
def _root(
    tmp_path: Path, tiny_lora_dir: Path, tiny_model_dir: Path, save_lora: SaveLora, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder like lora_weights/ with three LoRAs: "first" of both networks, "second" of the UNet, "third" of text."""
    root = tmp_path / "loras"
    root.mkdir()
    (root / "first.safetensors").write_bytes((tiny_lora_dir / WEIGHTS).read_bytes())
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_model_dir)
    for name, part in (("second", "unet"), ("third", "text_encoder")):
        file = save_lora(pipeline, tmp_path / name, rank=2, alpha=3.0, parts=(part,))
        (root / f"{name}.safetensors").write_bytes(file.read_bytes())
    monkeypatch.setattr(cxr.adapters, "LORA_ROOT", root)
    return root


# -- the text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clinical", [("clinical", 1.0)]),
        ("none", [("none", 1.0)]),
        ("clinical:0.8", [("clinical", 0.8)]),
        ("clinical:0.8, local:/a/b.safetensors:.5", [("clinical", 0.8), ("local:/a/b.safetensors", 0.5)]),
        ("local:C:\\loras\\x.safetensors", [("local:C:\\loras\\x.safetensors", 1.0)]),
        ("local:C:\\loras\\x.safetensors:2", [("local:C:\\loras\\x.safetensors", 2.0)]),
        ("local:/a:b/c:1e-1,x", [("local:/a:b/c", 0.1), ("x", 1.0)]),
        ("local:/a\\,b.safetensors:1,c", [("local:/a,b.safetensors", 1.0), ("c", 1.0)]),
        ("hub:owner/name/file.safetensors:0.5,b", [("hub:owner/name/file.safetensors", 0.5), ("b", 1.0)]),
        ("hub:owner/name@0123abc", [("hub:owner/name@0123abc", 1.0)]),
    ],
)
def test_the_text_is_read(text: str, expected: list[tuple[str, float]]) -> None:
    choices = parse_adapters(text)
    assert choices == tuple(AdapterChoice(*pair) for pair in expected)
    assert parse_adapters(format_adapters(choices)) == choices


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty entry"),
        ("a,,b", "empty entry"),
        ("a,", "empty entry"),
        (":0.5", "empty entry"),
        ("a:0.5,a:0.6", "'a' is named twice"),
        ("a:-1", "weight of adapter 'a' is -1; use 0 to 2"),
        ("a:2.1", "use 0 to 2"),
        ("a:nan", "use 0 to 2"),
        ("a:inf", "use 0 to 2"),
        ("a:1e999", "use 0 to 2"),
        ("none,a", "'none' stands alone"),
        ("default:0.5", "'default' stands alone"),
        (",".join(f"a{k}" for k in range(MAX_ADAPTERS + 1)), "9 adapters are named; use at most 8"),
    ],
)
def test_a_wrong_text_is_told(text: str, message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        parse_adapters(text)


@pytest.mark.parametrize("name", ["a,b", "run:5", "x,y:0.5"])
def test_a_file_with_commas_or_colons_in_its_name_is_one_lora(name: str, root: Path) -> None:
    (root / f"{name}.safetensors").write_bytes((root / "second.safetensors").read_bytes())
    for text in (name, f"local:{root}/{name}.safetensors"):
        (info,) = describe_adapters(text)
        assert info.name == name


def test_hub_adapters_are_known_but_not_fetched_here() -> None:
    with pytest.raises(AdapterError, match=r"cxr\.hub"):
        find_adapter("hub:owner/name/file.safetensors")


def test_the_same_file_under_two_names_is_refused(root: Path) -> None:
    with pytest.raises(AdapterError, match="same LoRA twice"):
        describe_adapters(f"first,local:{root / 'first.safetensors'}")


# -- what they do


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
    with model.with_lora_layers():
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
    outcome = Remaker(str(tiny_model_dir)).check(image.pixels, image.recipe, 8)
    assert outcome.verdict == IDENTICAL


# -- the base


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
    model.unload_adapter()
    assert state_sha256(model) == before
    assert (model.info, model.adapters) == (info, ())
    assert model.pipeline.get_list_adapters() == {}
    assert np.array_equal(image_of(model).pixels, image.pixels)


def fail_at_attach(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let peft refuse the n-th LoRA that is attached, after it has been attached in part."""
    calls: list[str] = []
    attach = cxr.loaded_adapters.attach

    def failing(pipeline: object, file: object, name: str, adapter_name: str) -> None:
        attach(pipeline, file, name, adapter_name)
        calls.append(name)
        if len(calls) == number:
            raise AdapterError("no more memory")

    monkeypatch.setattr(cxr.loaded_adapters, "attach", failing)


@pytest.mark.parametrize("dtype", base_dtypes())
@pytest.mark.parametrize("number", [1, 2])
def test_a_failing_load_keeps_the_base_and_the_present_loras(
    number: int, dtype: str, root: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(tiny_model_dir), "none", weight_dtype=dtype)
    before = state_sha256(model)
    fail_at_attach(monkeypatch, number)
    with pytest.raises(AdapterError, match="no more memory"):
        model.load_adapter("first,third")
    assert state_sha256(model) == before
    monkeypatch.undo()
    monkeypatch.setattr(cxr.adapters, "LORA_ROOT", root)
    model.load_adapter("second")
    image, info = image_of(model), model.info
    fail_at_attach(monkeypatch, number)
    with pytest.raises(AdapterError, match="no more memory"):
        model.load_adapter("first,third")
    assert model.info == info
    assert np.array_equal(image_of(model).pixels, image.pixels)
    model.unload_adapter()
    assert state_sha256(model) == before


def test_a_merge_that_fails_half_way_is_undone(
    root: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(tiny_model_dir), "none")
    before = state_sha256(model)
    model.load_adapter("first,second")
    merge: Callable[..., None] = cxr.merged_lora.MergedLora._add
    count = 0

    def failing(*arguments: object) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise torch.OutOfMemoryError
        merge(*arguments)

    monkeypatch.setattr(cxr.merged_lora.MergedLora, "_add", failing)
    with pytest.raises(torch.OutOfMemoryError):
        model.set_adapter_weight(1.0)
    model.unload_adapter()
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
    file = cxr.adapters.read_adapter(root / "second.safetensors").lora
    tensors = load_file(file.path)
    save_file({name: value + 1 for name, value in tensors.items()}, file.path)
    with pytest.raises(AdapterError, match="changed while it was being read"):
        file.read_content()


# -- the card


def test_the_card_is_shown(root: Path, tiny_lora_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["adapter", "show", "second"]) == 0
    shown = capsys.readouterr().out
    for line in ("LoRA second", "Rank: 2", "Alpha: 3", "Changes: unet", "Base model: unknown", "SHA-256: "):
        assert line in shown
    assert cli.main(["adapter", "show", f"local:{tiny_lora_dir}"]) == 0
    assert "Base model: tiny\n" in capsys.readouterr().out
    assert cli.main(["adapter", "list"]) == cli.main(["adapter"]) == 0
    assert capsys.readouterr().out.count("second: rank 2, alpha 3") == 2


CARDS: dict[str, tuple[str, dict[str, str], str]] = {
    "yaml": ("---\nbase_model: sd\ndatasets: [nih, own]\nlicense: mit\n---\ntext", {}, "sd|mit|nih, own"),
    "metadata": ("", {"ss_sd_model_name": "sd15", "modelspec.license": "mit"}, "sd15|mit|unknown"),
    "long": (f"---\nbase_model: {'a' * 5_000}\n---\n", {}, "a" * 199 + "…|unknown|unknown"),
    "control characters": ("", {"ss_sd_model_name": "a\x1b[31m\nb"}, "a[31m b|unknown|unknown"),
    "aliases": ("---\na: &a [x, x]\nb: &b [*a, *a]\nlicense: mit\n---\n", {}, "unknown|unknown|unknown"),
    "python object": ("---\nbase_model: !!python/object/apply:os.system [ls]\n---\n", {}, "unknown|unknown|unknown"),
    "nested": ("---\nbase_model: " + "[" * 4_000 + "\n---\n", {}, "unknown|unknown|unknown"),
    "other types": ("---\nbase_model: {a: 1}\nlicense: 3\ndatasets: [1, x]\n---\n", {}, "unknown|unknown|x"),
    "no end": ("---\nbase_model: a\n", {}, "unknown|unknown|unknown"),
    "date that is none": ("---\nlicense: 2001-99-99\n---\n", {}, "unknown|unknown|unknown"),
}


@pytest.mark.parametrize("case", CARDS)
def test_facts_come_from_cards_and_metadata(case: str, tmp_path: Path) -> None:
    readme, metadata, expected = CARDS[case]
    (tmp_path / "a.safetensors").write_bytes(pair([4, 32], [32, 4], **metadata))
    (tmp_path / "README.md").write_text(readme)
    info = describe_adapter(tmp_path / "a.safetensors")
    assert "|".join((info.base_model, info.license, info.training_data)) == expected


def test_the_page_escapes_the_card(tmp_path: Path) -> None:
    from cxr.ui.adapter_card import describe_adapters as as_html

    folder = tmp_path / "<img src=x>"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(pair([4, 32], [32, 4]))
    (folder / "config.json").write_text(json.dumps({"license": "<script>", "base_model": '"&', "training_data": "NIH"}))
    html = as_html([describe_adapter(folder)])
    for words in ("&lt;script&gt;", "&quot;&amp;", "&lt;img", "NIH", "no alpha in the file for unet", "rank 4"):
        assert words in html
    assert "<script" not in html
    assert "<img" not in html
    assert as_html([]) == ""
