"""LoRAs of networks that the shipped model lacks: a second text encoder, and a transformer in the UNet's place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from hostile_adapters import pair, tensors
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from cxr.adapters.loaded import LoadedAdapters
from cxr.adapters.merged import networks_of
from cxr.errors import AdapterError


def build_sdxl() -> StableDiffusionXLPipeline:
    text = CLIPTextConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=1,
        num_attention_heads=4,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    unet = UNet2DConditionModel(
        sample_size=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(block_out_channels=(4,), norm_num_groups=4)
    encoders = CLIPTextModel(text), CLIPTextModelWithProjection(text)
    return StableDiffusionXLPipeline(vae, *encoders, None, None, unet, FlowMatchEulerDiscreteScheduler())


def build_sd3() -> StableDiffusion3Pipeline:
    transformer = SD3Transformer2DModel(
        sample_size=4,
        patch_size=1,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        in_channels=4,
        out_channels=4,
    )
    scheduler = FlowMatchEulerDiscreteScheduler()
    return StableDiffusion3Pipeline(transformer, scheduler, *(None,) * 7)


ENCODER = "text_model.encoder.layers.0.self_attn.q_proj"
FLAT = ENCODER.replace(".", "_")


@pytest.mark.parametrize("first", [f"text_encoder_2.{ENCODER}.lora_A.weight", f"lora_te2_{FLAT}.lora_down.weight"])
def test_a_second_text_encoder_takes_a_lora(first: str, tmp_path: Path) -> None:
    second = first.replace("lora_A", "lora_B").replace("lora_down", "lora_up")
    shapes = {first: [4, 32], second: [32, 4]}
    check_load_and_unload(build_sdxl(), tensors(shapes, values=dict.fromkeys(shapes, 0.5)), tmp_path, "text_encoder_2")


def test_a_transformer_takes_a_lora(tmp_path: Path) -> None:
    name = "transformer.transformer_blocks.0.attn.to_q"
    shapes = {f"{name}.lora_A.weight": [4, 32], f"{name}.lora_B.weight": [32, 4]}
    check_load_and_unload(build_sd3(), tensors(shapes, values=dict.fromkeys(shapes, 0.5)), tmp_path, "transformer")


def check_load_and_unload(pipeline: DiffusionPipeline, content: bytes, folder: Path, component: str) -> None:
    """B·A is 4 · 0.5 · 0.5 = 1 everywhere, in one layer of the component, and gone afterwards."""
    (folder / "a.safetensors").write_bytes(content)
    before = {name: value.clone() for name, value in networks_of(pipeline)[component].state_dict().items()}
    adapters = LoadedAdapters(pipeline)
    adapters.load(folder / "a.safetensors")
    assert adapters.infos[0].components == (component,)
    adapters.set_weight(1.0)
    state = networks_of(pipeline)[component].state_dict()
    changed = {
        name.replace(".base_layer", ""): value
        for name, value in state.items()
        if "lora_" not in name and not torch.equal(value, before[name.replace(".base_layer", "")])
    }
    ((name, value),) = changed.items()
    torch.testing.assert_close(value, before[name] + 1)
    adapters.unload()
    state = networks_of(pipeline)[component].state_dict()
    assert state.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in state.items())


def test_a_lora_for_a_unet_is_foreign_to_a_transformer(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(pair([4, 768], [320, 4], "unet.mid_block.attn2.to_k"))
    with pytest.raises(
        AdapterError, match=r"made for Stable Diffusion 1 .* loaded model is a StableDiffusion3Pipeline"
    ):
        LoadedAdapters(build_sd3()).load(tmp_path / "a.safetensors")
