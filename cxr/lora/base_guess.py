"""Which base model a LoRA looks made for, judged by the sizes of its layers."""

from __future__ import annotations

from collections.abc import Iterable

from cxr.lora.lora_file import LoraLayer

# Width of the text embeddings that a UNet attends to.
CROSS_ATTENTION_BASES = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}
# Width of a text encoder: CLIP ViT-L/14 (1), OpenCLIP ViT-H (2).
TEXT_ENCODER_BASES = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2"}


def describe_width(cross_attention_dim: int) -> str:
    """A base by the width of its cross-attention: "Stable Diffusion 2 (cross-attention width 1024)"."""
    width = f"cross-attention width {cross_attention_dim}"
    base = CROSS_ATTENTION_BASES.get(cross_attention_dim)
    return f"{base} ({width})" if base else f"a model of {width}"


def guess_base(layers: Iterable[LoraLayer]) -> str:
    """What the LoRA looks made for; "an unknown model" when no layer gives it away.

    Args:
        layers: of one file.
    """
    layers = list(layers)
    for layer in layers:
        if layer.component == "unet" and layer.module.endswith((".attn2.to_k", ".attn2.to_v")):
            return describe_width(layer.shape_a[1])
    components = {layer.component for layer in layers}
    if "transformer" in components:
        return _guess_transformer(layers)
    if "text_encoder_2" in components:
        return "Stable Diffusion XL (it has a second text encoder)"
    for layer in layers:
        if layer.component == "text_encoder" and layer.module.endswith(("q_proj", "k_proj", "v_proj")):
            width = layer.shape_a[1]
            base = TEXT_ENCODER_BASES.get(width)
            return f"{base} (text encoder width {width})" if base else f"a model of text encoder width {width}"
    return "an unknown model"


def _guess_transformer(layers: Iterable[LoraLayer]) -> str:
    for layer in layers:
        if layer.module.startswith("single_transformer_blocks."):
            return "FLUX (it has single transformer blocks)"
    return "a diffusion transformer (Stable Diffusion 3, FLUX, Sana, PixArt)"
