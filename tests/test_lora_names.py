"""The naming schemes of LoRA files, and where their strength is written."""

import json
import re
from pathlib import Path

import pytest
import torch
from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers
from hostile_adapters import kohya, pair
from safetensors.torch import load_file, save_file
from torch import Tensor

from cxr.generate.model import LoadedModel, load_model
from cxr.lora.find import describe_adapter
from cxr.lora.lora_file import read_lora_file
from cxr.lora.tensor_names import ALPHA, LORA_A, LORA_B, parse_name
from cxr.request.errors import AdapterError

WEIGHTS = "pytorch_lora_weights.safetensors"
BLOCK = "down_blocks.1.attentions.0.transformer_blocks.0"
FLAT = BLOCK.replace(".", "_")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"unet.{BLOCK}.attn1.to_q.lora_A.weight", ("unet", f"{BLOCK}.attn1.to_q", LORA_A)),
        (f"unet.{BLOCK}.attn1.to_out.0.lora_linear_layer.up.weight", ("unet", f"{BLOCK}.attn1.to_out.0", LORA_B)),
        (f"unet.{BLOCK}.attn1.to_q.lora.down.weight", ("unet", f"{BLOCK}.attn1.to_q", LORA_A)),
        (f"unet.{BLOCK}.attn1.processor.to_q_lora.down.weight", ("unet", f"{BLOCK}.attn1.to_q", LORA_A)),
        (f"{BLOCK}.attn2.processor.to_out_lora.up.weight", ("unet", f"{BLOCK}.attn2.to_out.0", LORA_B)),
        (f"base_model.model.{BLOCK}.attn2.to_v.lora_B.weight", ("unet", f"{BLOCK}.attn2.to_v", LORA_B)),
        (f"lora_unet_{FLAT}_ff_net_0_proj.lora_down.weight", ("unet", f"{BLOCK}.ff.net.0.proj", LORA_A)),
        (f"lora_unet_{FLAT}_attn1_to_out_0.alpha", ("unet", f"{BLOCK}.attn1.to_out.0", ALPHA)),
        ("lora_unet_mid_block_resnets_0_conv1.lora_up.weight", ("unet", "mid_block.resnets.0.conv1", LORA_B)),
        ("lora_unet_time_embed_0.alpha", ("unet", "time_embedding.linear_1", ALPHA)),
        ("lora_unet_input_blocks_0_0.alpha", ("unet", "conv_in", ALPHA)),
        ("lora_unet_input_blocks_3_0_op.alpha", ("unet", "down_blocks.0.downsamplers.0.conv", ALPHA)),
        ("lora_unet_output_blocks_2_2_conv.alpha", ("unet", "up_blocks.0.upsamplers.0.conv", ALPHA)),
        ("lora_unet_time_embedding_linear_1.alpha", ("unet", "time_embedding.linear_1", ALPHA)),
        (
            "lora_te_text_model_encoder_layers_11_self_attn_q_proj.lora_up.weight",
            ("text_encoder", "text_model.encoder.layers.11.self_attn.q_proj", LORA_B),
        ),
        (
            "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha",
            ("text_encoder_2", "text_model.encoder.layers.0.mlp.fc1", ALPHA),
        ),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora.down.weight",
            ("text_encoder", "text_model.encoder.layers.0.self_attn.out_proj", LORA_A),
        ),
        (
            "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.up.weight",
            ("text_encoder_2", "text_model.encoder.layers.0.self_attn.q_proj", LORA_B),
        ),
        (
            "transformer.single_transformer_blocks.3.attn.to_q.lora_A.weight",
            ("transformer", "single_transformer_blocks.3.attn.to_q", LORA_A),
        ),
    ],
)
def test_names_of_every_scheme(name: str, expected: tuple[str, str, str]) -> None:
    assert parse_name(name) == expected


@pytest.mark.parametrize("name", ["", ".", "unet.alpha", "unet..lora_A.weight", "lora_unet_.alpha", "w.lora_A.bias"])
def test_other_names_are_none(name: str) -> None:
    assert parse_name(name) is None


def test_the_blocks_of_sdxl_are_numbered_as_diffusers_does() -> None:
    """Against the converter of diffusers itself, for all layers of the UNet that files of SDXL adapt."""
    places = [f"input_blocks_{n}_1" for n in (4, 5, 7, 8)] + [f"output_blocks_{n}_1" for n in range(6)]
    flat = [f"lora_unet_{place}_transformer_blocks_0_attn1_to_q.alpha" for place in [*places, "middle_block_1"]]
    flat += [
        f"lora_unet_{place}_in_layers_2.alpha" for place in ("input_blocks_1_0", "middle_block_0", "middle_block_2")
    ]
    flat += ["lora_unet_output_blocks_8_0_skip_connection.alpha"]

    class Config:
        layers_per_block = 2

    for name in flat:
        (theirs,) = _maybe_map_sgm_blocks_to_diffusers({name: torch.zeros(())}, Config())
        ours = parse_name(name)
        assert ours is not None
        for theirs_word, word in (("input_blocks", "down_blocks"), ("middle_block", "mid_block"), ("output_", "up_")):
            theirs = theirs.replace(theirs_word, word)
        assert theirs.startswith("lora_unet_" + re.sub(r"\.(conv1|conv_shortcut)$", "", ours.module).replace(".", "_"))


def test_every_module_of_a_unet_survives_kohyas_underscores(tiny_base_model: LoadedModel) -> None:
    layers = (torch.nn.Linear, torch.nn.Conv2d)
    networks = {"lora_unet_": tiny_base_model.pipeline.unet, "lora_te_": tiny_base_model.pipeline.text_encoder}
    for prefix, network in networks.items():
        modules = [name for name, module in network.named_modules() if isinstance(module, layers)]
        assert len(modules) > 10
        for module in modules:
            name = parse_name(f"{prefix}{module.replace('.', '_')}.alpha")
            assert name is not None
            assert name.module == module


def renamed(tensors: dict[str, Tensor], scheme: str) -> dict[str, Tensor]:
    """Today's diffusers names in another scheme."""
    found = {}
    for name, tensor in tensors.items():
        module, end = name.rsplit(".lora_", 1)
        way = "down" if end.startswith("A") else "up"
        component, path = module.split(".", 1)
        if scheme == "linear layer":
            found[f"{module}.lora_linear_layer.{way}.weight"] = tensor
        elif scheme == "processor" and component == "unet":
            parent, last = path.removesuffix(".0").rsplit(".", 1) if path.endswith("to_out.0") else path.rsplit(".", 1)
            found[f"unet.{parent}.processor.{last}_lora.{way}.weight"] = tensor
        elif scheme == "kohya":
            flat = f"{'lora_unet' if component == 'unet' else 'lora_te_text_model'}_{path.replace('.', '_')}"
            found[f"{flat}.lora_{way}.weight"] = tensor
            found[f"{flat}.alpha"] = torch.tensor(12.0)
        else:
            found[name] = tensor
    return found


def merged(model: LoadedModel) -> dict[str, Tensor]:
    model.set_adapter_weight(1.0)
    networks = (model.pipeline.unet, model.pipeline.text_encoder)
    return {name: value for network in networks for name, value in network.state_dict().items() if "base_layer" in name}


@pytest.mark.parametrize("scheme", ["linear layer", "processor", "kohya"])
def test_a_file_in_another_scheme_gives_the_same_weights(
    scheme: str, tmp_path: Path, tiny_model_dir: Path, tiny_lora_dir: Path
) -> None:
    model = load_model(str(tiny_model_dir), f"local:{tiny_lora_dir}")
    expected = {name: value.clone() for name, value in merged(model).items()}
    text = json.dumps({f"{part}.lora_alpha": 12 for part in ("unet", "text_encoder")})
    metadata = None if scheme == "kohya" else {"lora_adapter_metadata": text}
    tensors = renamed(load_file(tiny_lora_dir / WEIGHTS), scheme)
    assert any(name not in load_file(tiny_lora_dir / WEIGHTS) for name in tensors)
    save_file(tensors, tmp_path / "other.safetensors", metadata)
    model.load_adapter(tmp_path / "other.safetensors")
    assert model.adapter is not None
    assert (model.adapter.lora_alpha, model.adapter.notes) == (12.0, ())
    found = merged(model)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_alphas_may_differ_between_layers(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors: dict[str, Tensor] = {}
    for layer, alpha in (("q", 2.0), ("k", 8.0)):
        name = f"lora_unet_{FLAT}_attn1_to_{layer}"
        tensors |= {f"{name}.lora_down.weight": torch.ones(4, 32), f"{name}.lora_up.weight": torch.ones(32, 4)}
        tensors[f"{name}.alpha"] = torch.tensor(alpha, dtype=torch.bfloat16)
    save_file(tensors, path)
    assert {layer.alpha for layer in read_lora_file(path).layers} == {2.0, 8.0}
    assert describe_adapter(path).notes == ("alpha differs between layers, from 2 to 8",)


@pytest.mark.parametrize(
    ("settings", "alpha"),
    [
        ({"r": 4, "lora_alpha": 16}, 16.0),
        ({"r": 8, "lora_alpha": 16}, None),  # of another file
        ({"r": 4}, None),
        ([], None),
        ({"r": [4], "lora_alpha": 16}, None),
    ],
)
def test_alpha_is_taken_from_pefts_settings_beside_the_file(
    settings: object, alpha: float | None, tmp_path: Path
) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(pair([4, 32], [32, 4], f"base_model.model.{BLOCK}.attn1.to_q"))
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    info = describe_adapter(tmp_path)
    assert info.has_alpha == (alpha is not None)
    assert info.lora_alpha == (alpha or 4.0)
    assert bool(info.notes) == (alpha is None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora_alpha": "16"}, "not a number"),
        ({"lora_alpha": -1}, "lora_alpha is -1"),
        ({"use_dora": True}, "use_dora"),
    ],
)
def test_pefts_settings_are_checked(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(pair([4, 32], [32, 4]))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4} | settings))
    with pytest.raises(AdapterError, match=message):
        describe_adapter(tmp_path)


def test_a_layers_own_alpha_comes_before_settings(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(kohya(2.0))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 16}))
    assert describe_adapter(tmp_path).lora_alpha == 2.0
