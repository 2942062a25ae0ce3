import dataclasses
import json
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
import torch
from conftest import SaveLora
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from tiny_model import lora_layers

import cxr.generate.model
import cxr.models.devices
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import get_model, load_model
from cxr.request.errors import AdapterError, ModelError


@pytest.fixture(name="copied_dir")
def _copied_dir(tiny_model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "copied"))


def test_a_loaded_model_says_what_it_is(tiny_model: LoadedModel) -> None:
    info = tiny_model.info
    assert (info.model, info.adapter, info.resolution) == ("tiny", "tiny_lora", 32)
    assert (info.scheduler, info.weight_dtype, info.device) == ("UniPCMultistepScheduler", "float32", "cpu")
    assert info.model_revision.startswith("sha256:")
    assert len(info.model_revision) == 7 + 64
    assert len(info.adapter_sha256) == 64
    assert tiny_model.micro_batch_size == 1
    assert tiny_model.pipeline.vae.dtype == tiny_model.pipeline.unet.dtype == torch.float32
    assert tiny_model.pipeline.safety_checker is None


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "scheduler/scheduler_config.json",
    ],
)
def test_a_missing_file_is_named(name: str, copied_dir: Path) -> None:
    (copied_dir / name).unlink()
    with pytest.raises(ModelError, match=f"incomplete: {name} is missing") as caught:
        load_model(str(copied_dir), "none")
    assert str(copied_dir.parent) not in str(caught.value)


def test_a_missing_tokenizer_is_named(copied_dir: Path) -> None:
    shutil.rmtree(copied_dir / "tokenizer")
    with pytest.raises(ModelError, match=r"tokenizer/vocab\.json is missing"):
        load_model(str(copied_dir), "none")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("unet/diffusion_pytorch_model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "cannot be read"),
        ("vae/config.json", b"{", r"unreadable vae/config\.json"),
        ("scheduler/scheduler_config.json", b"[]", r"unreadable scheduler/scheduler_config\.json"),
        ("model_index.json", b"\xff", r"unreadable model_index\.json"),
    ],
)
def test_a_damaged_file_is_one_line(name: str, content: bytes, message: str, copied_dir: Path) -> None:
    (copied_dir / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"'copied' (has an )?{message}") as caught:
        load_model(str(copied_dir), "none")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    ],
)
def test_missing_weights_are_not_filled_with_random_numbers(name: str, copied_dir: Path) -> None:
    tensors = load_file(copied_dir / name)
    dropped = sorted(tensors)[3]
    del tensors[dropped]
    save_file(tensors, copied_dir / name)
    with pytest.raises(ModelError, match=r"incomplete|cannot be read"):
        load_model(str(copied_dir), "none")


def test_weights_of_another_size_are_refused(copied_dir: Path) -> None:
    config = copied_dir / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"cross_attention_dim": 48}))
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(str(copied_dir), "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "StableDiffusionXLPipeline"}, "XLPipeline made of UNet2D.* text_encoder_2 is missing"),
        ({"_class_name": "FluxPipeline"}, "is 'FluxPipeline'; this program runs StableDiffusionPipeline, "),
        ({"_class_name": ["pipeline", "Mine"]}, "is 'a class of its own'; this program runs"),
        ({"unet": ["my_module", "Unet"]}, "not a StableDiffusionPipeline made of UNet2D.*: its unet is 'Unet'"),
        ({"unet": ["pipeline", "UNet2DConditionModel"]}, "its unet is 'UNet2DConditionModel'"),
        ({"scheduler": ["scheduler", "Mine"]}, "its scheduler is 'Mine'"),
        ({"controlnet": ["mine", "Net"]}, "'controlnet' is not part of it"),
        ({"vae": None}, "vae is missing"),
        ({"auto_map": {"a": "b"}}, "wants to run code of its own"),
    ],
)
def test_another_kind_of_pipeline_is_refused(change: dict[str, object], message: str, copied_dir: Path) -> None:
    index = json.loads((copied_dir / "model_index.json").read_text())
    (copied_dir / "model_index.json").write_text(json.dumps(index | change))
    with pytest.raises(ModelError, match=message):
        load_model(str(copied_dir), "none")


@pytest.mark.parametrize("file", ["text_encoder/config.json", "tokenizer/tokenizer_config.json", "unet/config.json"])
@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code"])
def test_code_that_comes_with_the_weights_is_refused(file: str, key: str, copied_dir: Path) -> None:
    settings = json.loads((copied_dir / file).read_text())
    (copied_dir / file).write_text(json.dumps(settings | {key: {"AutoModel": "code.Mine"}}))
    with pytest.raises(ModelError, match=f"'copied' wants to run code of its own .{key} in {file}"):
        load_model(str(copied_dir), "none")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"attn_implementation": "owner/kernel"}, "attn_implementation"),
        ({"_attn_implementation": "kernels-community/flash-attn3:latest"}, "_attn_implementation"),
        ({"_attn_implementation_internal": "paged|owner/kernel"}, "_attn_implementation_internal"),
        ({"attn_implementation": "flash_attention_2"}, "attn_implementation"),  # comes from the Hub where it is missing
        ({"attn_implementation": {"": "sdpa", "text_config": "owner/kernel"}}, "attn_implementation"),
        ({"text_config": {"attn_implementation": ["owner/kernel"]}}, "attn_implementation"),
        ({"experts_implementation": "owner/kernel"}, "experts_implementation"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "quantization_config"),
        ({"text_config": {"auto_map": {"AutoModel": "code.Mine"}}}, "auto_map"),
    ],
)
def test_code_of_the_hub_is_refused(settings: dict[str, object], key: str, copied_dir: Path) -> None:
    file = copied_dir / "text_encoder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(ModelError, match=rf"wants to run code of its own \({key} in text_encoder/config\.json"):
        load_model(str(copied_dir), "none")


@pytest.mark.parametrize("value", [None, "eager", "sdpa"])
def test_attention_of_torch_is_not_refused(value: str | None, copied_dir: Path) -> None:
    file = copied_dir / "text_encoder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"_attn_implementation": value}))
    load_model(str(copied_dir), "none")


@pytest.mark.parametrize(
    "name",
    [
        *("model_index.json", "unet/config.json", "tokenizer/added_tokens.json", "tokenizer/merges.txt"),
        *("unet/diffusion_pytorch_model.safetensors", "preview.json", "scheduler/notes"),
    ],
)
def test_a_pipe_among_the_files_is_refused_and_not_waited_for(name: str, copied_dir: Path) -> None:
    (copied_dir / name).unlink(missing_ok=True)
    os.mkfifo(copied_dir / name)
    with pytest.raises(ModelError, match=r"is missing|is not a regular file"):
        load_model(str(copied_dir), "none")


@pytest.mark.parametrize("part", ["text_encoder", "unet", "tokenizer"])
def test_a_lora_inside_a_model_is_refused_before_its_base_is_looked_for(part: str, copied_dir: Path) -> None:
    named = {"base_model_name_or_path": "owner/model", "peft_type": "LORA", "megatron_core": "this"}
    (copied_dir / part / "adapter_config.json").write_text(json.dumps(named))
    with pytest.raises(ModelError, match=rf"holds a LoRA of its own \({part}/adapter_config\.json\); use --adapter"):
        load_model(str(copied_dir), "none")


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("text_encoder/config.json", {"dtype": "evil"}),
        ("text_encoder/config.json", {"id2label": 7}),
        ("tokenizer/tokenizer_config.json", {"__class__": "x"}),
        ("unet/config.json", {"_diffusers_version": "odd"}),
        ("unet/config.json", {"act_fn": "__import__('os')"}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": "x"}),
    ],
)
def test_settings_that_make_no_sense_are_one_line(file: str, settings: dict[str, object], copied_dir: Path) -> None:
    path = copied_dir / file
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    with pytest.raises(ModelError, match="'copied' cannot be read: ") as caught:
        load_model(str(copied_dir), "none")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model_index.json", "vae/config.json", "tokenizer/vocab.json", "unet/notes.json"])
def test_settings_without_an_end_are_not_read(name: str, copied_dir: Path) -> None:
    (copied_dir / name).touch()
    os.truncate(copied_dir / name, 2**36)  # of zeros that take no room
    with pytest.raises(ModelError, match=rf"unreadable {re.escape(name)}: it is larger than 100 MB"):
        load_model(str(copied_dir), "none")


def test_an_unknown_model_lists_the_table() -> None:
    with pytest.raises(ModelError, match="'nowhere' is unknown; use embedded"):
        load_model("nowhere")


def test_an_unknown_adapter_is_told_before_the_model_is_read(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cxr.generate.model, "read_pipeline", lambda *_: pytest.fail("read"))
    with pytest.raises(AdapterError, match="'zebra' is unknown; use none"):
        load_model(str(tiny_model_dir), "zebra")


def test_the_revision_follows_the_weights_and_not_the_path(tiny_base_model: LoadedModel, copied_dir: Path) -> None:
    (copied_dir / "README.md").write_text("a model card changes no image")
    assert load_model(str(copied_dir), "none").info.model_revision == tiny_base_model.info.model_revision
    config = copied_dir / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("0.012", "0.013"))
    assert load_model(str(copied_dir), "none").info.model_revision != tiny_base_model.info.model_revision


def test_alpha_is_honoured(tiny_model: LoadedModel, tiny_base_model: LoadedModel) -> None:
    """A LoRA adds B·A·alpha/rank; diffusers alone would lose an alpha that is not in the metadata (its issue 6087)."""
    tiny_model.set_adapter_weight(0.5)
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    adapted, plain = (model.pipeline.unet.get_submodule(name) for model in (tiny_model, tiny_base_model))
    inputs = torch.randn(1, adapted.in_features, generator=torch.Generator().manual_seed(0))
    matrix_a, matrix_b = adapted.lora_A["cxr"].weight, adapted.lora_B["cxr"].weight
    with torch.inference_mode():
        expected = plain(inputs) + inputs @ matrix_a.T @ matrix_b.T * (12.0 / 4) * 0.5
        assert torch.allclose(adapted(inputs), expected, atol=1e-6)


def test_the_same_file_loads_alike_through_diffusers_itself(
    tiny_model: LoadedModel, tiny_model_dir: Path, tiny_lora_dir: Path
) -> None:
    reference = StableDiffusionPipeline.from_pretrained(tiny_model_dir)
    reference.load_lora_weights(tiny_lora_dir, adapter_name="cxr")
    tiny_model.set_adapter_weight(1.0)
    for part in ("unet", "text_encoder"):
        ours, theirs = getattr(tiny_model.pipeline, part), getattr(reference, part)
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        scalings = [
            {name: module.scaling for name, module in network.named_modules() if hasattr(module, "scaling")}
            for network in (ours, theirs)
        ]
        assert {name for name, value in scalings[0].items() if isinstance(value, dict)}
        adapted = [{k: v for k, v in found.items() if isinstance(v, dict)} for found in scalings]
        assert adapted[0] == adapted[1]


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_a_lora_of_one_part_alone_works(part: str, tiny_model_dir: Path, tmp_path: Path, save_lora: SaveLora) -> None:
    model = load_model(str(tiny_model_dir), "none")
    file = save_lora(model.pipeline, tmp_path / "one", rank=2, alpha=3.0, parts=(part,), metadata=False)
    model.load_adapter(file)
    assert model.adapter is not None
    assert model.adapter.notes == (f"no alpha in the file for {part}: the rank is used",)
    assert set(model.pipeline.get_list_adapters()) == {part}
    for weight in (0.5, 0.0, 1.0):
        model.set_adapter_weight(weight)
    model.load_adapter(())


def test_get_model_loads_once_for_all_threads(tiny_model_dir: Path) -> None:
    found: list[LoadedModel] = []
    threads = [threading.Thread(target=lambda: found.append(get_model(str(tiny_model_dir), "none"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({id(model) for model in found}) == 1
    # A folder without a LoRA of its own: "default" and "none" mean the same model.
    assert get_model(f"{tiny_model_dir}/.", "default") is found[0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"weights": [1, 2, 3, 4], "bias": 0.5}, ((1.0, 2.0, 3.0, 4.0), 0.5)), ({"weights": 1}, None), ([], None)],
)
def test_preview_settings_are_read_or_refused(settings: object, expected: object, copied_dir: Path) -> None:
    (copied_dir / "preview.json").write_text(json.dumps(settings))
    if expected is None:
        with pytest.raises(ModelError, match=r"preview\.json"):
            load_model(str(copied_dir), "none")
    else:
        assert load_model(str(copied_dir), "none").preview_projection == expected


def test_the_dtype_can_be_chosen_and_is_recorded(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_DTYPE", "bfloat16")
    model = load_model(str(tiny_model_dir), "none")
    assert (model.info.weight_dtype, model.weight_dtype) == ("bfloat16", torch.bfloat16)
    assert model.pipeline.unet.dtype == torch.bfloat16
    assert model.pipeline.vae.dtype == torch.bfloat16
    assert model.pipeline.text_encoder.dtype == torch.float32
    weights = {name: value.clone() for name, value in model.pipeline.unet.state_dict().items()}
    with model.in_float32():
        assert model.pipeline.unet.dtype == model.pipeline.vae.dtype == torch.float32
    assert model.pipeline.unet.dtype == model.pipeline.vae.dtype == torch.bfloat16
    assert all(torch.equal(value, weights[name]) for name, value in model.pipeline.unet.state_dict().items())
    monkeypatch.setenv("CXR_DTYPE", "int8")
    with pytest.raises(ModelError, match="'int8'; use float32 or bfloat16"):
        load_model(str(tiny_model_dir), "none")


def test_the_dtype_probe_decides_once_per_process(
    tiny_base_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXR_DTYPE")
    monkeypatch.setattr(cxr.models.devices, "decided", {})
    unet, cpu = tiny_base_model.pipeline.unet, torch.device("cpu")
    monkeypatch.setattr(cxr.models.devices, "has_native_bfloat16", lambda: False)
    assert cxr.models.devices.choose_unet_dtype(unet, cpu) == torch.float32
    monkeypatch.setattr(cxr.models.devices, "has_native_bfloat16", lambda: True)
    measured = cxr.models.devices.choose_unet_dtype(unet, cpu)
    monkeypatch.setattr(cxr.models.devices, "best_seconds", lambda *_: pytest.fail("measured again"))
    assert cxr.models.devices.choose_unet_dtype(unet, cpu) == measured
    assert unet.dtype == torch.float32


def test_info_is_frozen(tiny_model: LoadedModel) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_model.info.model = "other"  # type: ignore[misc]


def test_a_merged_lora_gives_what_its_layers_give_and_leaves_no_trace(
    tiny_model: LoadedModel, tiny_base_model: LoadedModel
) -> None:
    unet, inputs = tiny_model.pipeline.unet, torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    text = torch.randn(1, 77, unet.config.cross_attention_dim, generator=torch.Generator().manual_seed(1))
    tiny_model.set_adapter_weight(0.0)
    before = {name: value.clone() for name, value in unet.state_dict().items()}

    def output(model: LoadedModel) -> torch.Tensor:
        with torch.inference_mode():
            sample: torch.Tensor = model.pipeline.unet(inputs, 500, text).sample
        return sample

    tiny_model.set_adapter_weight(0.7)
    merged = output(tiny_model)
    with lora_layers(tiny_model, 0.7, 1.0):
        torch.testing.assert_close(output(tiny_model), merged, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output(tiny_model), merged, rtol=0, atol=0)
    assert float((output(tiny_base_model) - merged).abs().max()) > 1e-3
    tiny_model.set_adapter_weight(0.0)
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert torch.equal(output(tiny_model), output(tiny_base_model))
