"""The naming schemes of LoRA files, and where their strength is written."""

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import peft
import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers
from hostile_adapters import kohya, kohya_integer, pair
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_families import pixart_sigma, sana, stable_diffusion_xl
from torch import Tensor

from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.lora.find import describe_adapter
from cxr.lora.fit import networks_of
from cxr.lora.known_layers import is_layer
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
            "transformer.transformer_blocks.3.attn1.to_q.lora_A.weight",
            ("transformer", "transformer_blocks.3.attn1.to_q", LORA_A),
        ),
        *(
            (f"{prefix}{BLOCK}.attn1.to_q.lora_A.weight", ("unet", f"{BLOCK}.attn1.to_q", LORA_A))
            for prefix in (
                *("unet.base_model.model.", "base_model.model.unet.", "_orig_mod.", "unet._orig_mod.", "module."),
                *("module.unet.", "diffusion_model.", "model.diffusion_model.", "module._orig_mod.base_model.model."),
            )
        ),
        ("unet.mid_block._orig_mod.attn1.to_q.lora_A.weight", ("unet", "mid_block.attn1.to_q", LORA_A)),
        ("diffusion_model.middle_block.0.in_layers.2.lora_A.weight", ("unet", "mid_block.resnets.0.conv1", LORA_A)),
        (f"unet.{BLOCK}.attn1.to_q.lora_B.cxr_1.weight", ("unet", f"{BLOCK}.attn1.to_q", LORA_B)),
        ("lora_unet_transformer_blocks_0_attn1_to_q.alpha", ("transformer", "transformer_blocks.0.attn1.to_q", ALPHA)),
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


@pytest.mark.parametrize("build", [stable_diffusion_xl, sana, pixart_sigma])
def test_every_module_survives_kohyas_underscores(build: Callable[[Path], DiffusionPipeline], tmp_path: Path) -> None:
    pipeline = build(tmp_path)
    prefixes = {"unet": "lora_unet_", "transformer": "lora_unet_", "text_encoder": "lora_te_"}
    prefixes |= {"text_encoder_2": "lora_te2_"}
    networks = networks_of(pipeline)
    if "transformer" in networks:
        del networks["text_encoder"]  # no CLIP, and of these LoRAs are unheard of
    for component, network in networks.items():
        layers = (torch.nn.Linear, torch.nn.Conv2d)
        modules = [name for name, module in network.named_modules() if isinstance(module, layers)]
        assert len(modules) > 10
        # The time embedding of Sana and PixArt is called as that of Stability's UNet; its name alone does not tell.
        for module in (name for name in modules if component != "transformer" or "blocks" in name):
            name = parse_name(f"{prefixes[component]}{module.replace('.', '_')}.alpha")
            assert name == (component, module, ALPHA)
        assert [name for name in modules if not is_layer(component, name)] == []


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
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa', which changes the base model too; convert it"),
        ({"alpha_pattern": [1]}, "settings cannot be read"),
        ({"rank_pattern": [1]}, "settings cannot be read"),
    ],
)
def test_pefts_settings_are_checked(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(pair([4, 32], [32, 4]))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4} | settings))
    with pytest.raises(AdapterError, match=message):
        describe_adapter(tmp_path)


def test_an_alpha_that_is_a_whole_number_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(kohya_integer(2))
    assert describe_adapter(tmp_path / "a.safetensors").lora_alpha == 2.0


PEFT_SETTINGS: dict[str, dict[str, Any]] = {
    "rank pattern": {"rank_pattern": {"to_k": 2, "mid_block.attentions.0.transformer_blocks.0.attn1.to_q": 8}},
    "alpha pattern": {"alpha_pattern": {"to_k": 16, "attn1.to_v": 1}},
    "the first of several": {"alpha_pattern": {"attn1.to_q": 3, "to_q": 5, "^mid_block.attentions.0.proj_in": 7}},
    "wildcards": {"alpha_pattern": {r"up_blocks\.\d+\..*attn[12]\.to_v": 5, "mid_block.*to_q": 2}},
    "from the beginning": {
        "alpha_pattern": {"^mid_block.attentions.0.transformer_blocks.0.attn1.to_q": 2, "^.*to_v": 7}
    },
    "rank-stabilised": {"use_rslora": True},
    "all": {"use_rslora": True, "rank_pattern": {"to_k": 2}, "alpha_pattern": {"attn2.to_k": 3}},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal", "target_modules": ["to_q", "to_k"]},
    "not zero at first": {"init_lora_weights": False},
    "convolutions": {"target_modules": ["conv1", "conv_shortcut", "conv_in", "to_out.0"], "use_rslora": True},
    "some layers": {"target_modules": r".*attn1\.to_q", "alpha_pattern": {"mid_block.*": 9, "to_q": 3}},
    "ranks from the beginning": {"rank_pattern": {"^mid_block.*to_q": 8, "to_q": 2}, "alpha_pattern": {".*to_k": 1}},
    "dots that are any character": {"alpha_pattern": {"attn..to_q": 3, ".ttn2.to_k": 5}},
    "half an alpha": {"lora_alpha": 0.5},
    "classes of characters": {"alpha_pattern": {r"[a-z_]+\.\d+\.attentions\.\d+\.proj_in": 2}},
    "choices": {"alpha_pattern": {r"mid_block.*attn(1|2)\.(to_q|to_k)": 2, "to_q|to_v": 5, r".+\.(?:proj_in)$": 3}},
}


def saved_by(way: str, unet: Any, config: LoraConfig, folder: Path) -> dict[str, Tensor]:
    """Write a LoRA that changes something by peft, or by diffusers for one network alone; gives the merged weights."""
    reference: Any = unet
    if way == "diffusers":
        unet.add_adapter(config)
    else:
        reference = get_peft_model(unet, config)
    noise = torch.Generator().manual_seed(0)
    for name, value in reference.named_parameters():
        if "lora_B" in name:
            value.data = torch.randn(value.shape, generator=noise)
    if way == "diffusers":
        unet.save_lora_adapter(str(folder))
        unet.fuse_lora()
    else:
        reference.save_pretrained(str(folder))
        reference = reference.merge_and_unload()
    return weights_of(reference)


def weights_of(network: torch.nn.Module) -> dict[str, Tensor]:
    state = network.state_dict()
    return {name.replace(".base_layer", ""): value for name, value in state.items() if "lora_" not in name}


@pytest.mark.parametrize("way", ["peft", "diffusers"])
@pytest.mark.parametrize("case", PEFT_SETTINGS)
@pytest.mark.slow
def test_settings_of_peft_scale_as_peft_scales(way: str, case: str, tmp_path: Path, tiny_model_dir: Path) -> None:
    usual = {"r": 4, "lora_alpha": 6, "target_modules": ["to_q", "to_k", "to_v", "proj_in"]}
    config = LoraConfig(**{**usual, **PEFT_SETTINGS[case]})
    expected = saved_by(way, load_model(str(tiny_model_dir), "none").pipeline.unet, config, tmp_path)
    model = load_model(str(tiny_model_dir), f"local:{tmp_path}")
    assert model.adapters[0].has_alpha
    model.set_adapter_weight(1.0)
    found = weights_of(model.pipeline.unet)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], msg=name)
    assert any("rank-stabilised" in note for note in model.adapters[0].notes) == config.use_rslora


PISSA: Any = "pissa_niter_4"  # peft's types have a template in its place
OTHER_CONFIGS: dict[str, Callable[[], Any]] = {
    "LoHa": lambda: peft.LoHaConfig(r=4, target_modules=["to_q", "conv1"]),
    "LoKr": lambda: peft.LoKrConfig(r=4, target_modules=["to_q"]),
    "IA3": lambda: peft.IA3Config(target_modules=["to_q"], feedforward_modules=[]),
    "VeRA": lambda: peft.VeraConfig(r=4, target_modules=["attn1.to_q"]),
    "AdaLoRA": lambda: peft.AdaLoraConfig(init_r=4, total_step=9, tinit=1, tfinal=1, target_modules=["to_q"]),
    "OFT": lambda: peft.OFTConfig(oft_block_size=4, target_modules=["to_q"]),
    "BOFT": lambda: peft.BOFTConfig(boft_block_size=4, target_modules=["attn1.to_q"]),
    "HRA": lambda: peft.HRAConfig(r=4, target_modules=["to_q"]),
    "FourierFT": lambda: peft.FourierFTConfig(n_frequency=9, target_modules=["to_q"]),
    "DoRA": lambda: LoraConfig(r=4, use_dora=True, target_modules=["to_q"]),
    "biases": lambda: LoraConfig(r=4, bias="lora_only", target_modules=["proj_in"]),
    "biases of B": lambda: LoraConfig(r=4, lora_bias=True, target_modules=["proj_in"]),
    "a whole module": lambda: LoraConfig(r=4, target_modules=["to_q"], modules_to_save=["conv_out"]),
    "PiSSA": lambda: LoraConfig(r=4, target_modules=["to_q"], init_lora_weights=PISSA),
    "OLoRA": lambda: LoraConfig(r=4, target_modules=["to_q"], init_lora_weights="olora"),
}


@pytest.mark.parametrize("kind", OTHER_CONFIGS)
def test_what_peft_writes_and_is_no_plain_lora_is_refused_for_its_reason(
    kind: str, tmp_path: Path, tiny_model_dir: Path
) -> None:
    unet = load_model(str(tiny_model_dir), "none").pipeline.unet
    with warnings.catch_warnings():  # some want a GPU, or more dimensions
        warnings.simplefilter("ignore")
        get_peft_model(unet, OTHER_CONFIGS[kind]()).save_pretrained(str(tmp_path))
    with pytest.raises(AdapterError) as caught:
        describe_adapter(tmp_path)
    assert "\n" not in str(caught.value)
    assert "known naming" not in str(caught.value)
    assert "cannot be read" not in str(caught.value)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_diffusers_settings_of_a_single_network_are_checked(
    start: Literal["pissa", "olora"], tmp_path: Path, tiny_model_dir: Path
) -> None:
    unet = load_model(str(tiny_model_dir), "none").pipeline.unet
    unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q"], init_lora_weights=start))
    unet.save_lora_adapter(str(tmp_path))
    with pytest.raises(AdapterError, match=f"init_lora_weights '{start}', which changes the base model too"):
        describe_adapter(tmp_path)


def test_settings_beside_a_file_are_those_of_all_its_networks(tmp_path: Path) -> None:
    names = [f"{BLOCK}.attn1.to_q", "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"]
    content = {f"base_model.model.{name}.lora_{end}.weight": torch.ones(4, 4) for name in names for end in "AB"}
    save_file(content, tmp_path / "a.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 16}))
    assert {layer.alpha for layer in read_lora_file(tmp_path / "a.safetensors").layers} == {16.0}
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 16, "init_lora_weights": "pissa"}))
    with pytest.raises(AdapterError, match="changes the base model too"):
        describe_adapter(tmp_path)


def test_a_lora_that_took_a_part_of_the_base_out_is_refused(tmp_path: Path, tiny_model_dir: Path) -> None:
    unet = load_model(str(tiny_model_dir), "none").pipeline.unet
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["to_q"], init_lora_weights="pissa")
    get_peft_model(unet, config).save_pretrained(str(tmp_path))
    with pytest.raises(AdapterError, match="path_initial_model_for_weight_conversion"):
        describe_adapter(tmp_path)


def test_a_layers_own_alpha_comes_before_settings(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(kohya(2.0))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 16}))
    assert describe_adapter(tmp_path).lora_alpha == 2.0
