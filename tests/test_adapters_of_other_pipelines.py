"""LoRAs of networks that the shipped model lacks: a second text encoder, and a transformer in the UNet's place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from hostile_adapters import pair, tensors
from tiny_families import pixart_sigma, sana, stable_diffusion_xl

from cxr.lora.find import read_adapters
from cxr.lora.fit import networks_of
from cxr.lora.loaded import LoadedAdapters
from cxr.request.errors import AdapterError

ENCODER = "text_model.encoder.layers.0.self_attn.q_proj"
BLOCK = "mid_block.attentions.0.transformer_blocks.0"
FLAT = ENCODER.replace(".", "_")


@pytest.mark.parametrize("first", [f"text_encoder_2.{ENCODER}.lora_A.weight", f"lora_te2_{FLAT}.lora_down.weight"])
def test_a_second_text_encoder_takes_a_lora(first: str, tmp_path: Path) -> None:
    second = first.replace("lora_A", "lora_B").replace("lora_down", "lora_up")
    shapes = {first: [4, 16], second: [16, 4]}
    content = tensors(shapes, values=dict.fromkeys(shapes, 0.5))
    check_load_and_unload(stable_diffusion_xl(tmp_path), content, tmp_path, "text_encoder_2")


def test_a_transformer_takes_a_lora(tmp_path: Path) -> None:
    check_load_and_unload(sana(tmp_path), to_q("transformer.transformer_blocks.0.attn1"), tmp_path, "transformer")


def test_a_pipeline_that_takes_no_lora_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(to_q("transformer.transformer_blocks.0.attn1"))
    with pytest.raises(AdapterError, match="models of PixArtSigmaPipeline take none"):
        LoadedAdapters(pixart_sigma(tmp_path)).load(read_adapters(tmp_path / "a.safetensors"))


def to_q(layer: str) -> bytes:
    """A LoRA of one layer's query, whose product is 1 everywhere."""
    shapes = {f"{layer}.to_q.lora_A.weight": [4, 8], f"{layer}.to_q.lora_B.weight": [8, 4]}
    return tensors(shapes, values=dict.fromkeys(shapes, 0.5))


def check_load_and_unload(pipeline: DiffusionPipeline, content: bytes, folder: Path, component: str) -> None:
    """B·A is 4 · 0.5 · 0.5 = 1 everywhere, in one layer of the component, and gone afterwards."""
    (folder / "a.safetensors").write_bytes(content)
    before = {name: value.clone() for name, value in networks_of(pipeline)[component].state_dict().items()}
    adapters = LoadedAdapters(pipeline)
    adapters.load(read_adapters(folder / "a.safetensors"))
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
    (tmp_path / "a.safetensors").write_bytes(pair([4, 768], [320, 4], f"unet.{BLOCK}.attn2.to_k"))
    with pytest.raises(AdapterError, match=r"made for Stable Diffusion 1 .* loaded model is a SanaPipeline"):
        LoadedAdapters(sana(tmp_path)).load(read_adapters(tmp_path / "a.safetensors"))
