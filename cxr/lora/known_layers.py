"""Which layers the models of this program have for a LoRA, and what else files hold."""

from __future__ import annotations

import re

# Other ways to change a layer, by what their tensors are called.
OTHER_KINDS = {"dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "hada_w": "LoHa", "lokr_w": "LoKr", "oft_": "OFT"}
OTHER_KINDS |= {"lora_mid": "LoCon with a third matrix", ".diff": "full differences", "lora_embedding": "an embedding"}
OTHER_KINDS |= {"bundle_emb": "bundled embeddings", "emb_params": "an embedding", "lora_te3_": "a third text encoder"}
# Layers that no model of this program has, however the file calls them.
OTHER_MODELS = {
    re.compile(r"(double|single|single_transformer)_blocks[._]\d"): "FLUX",
    re.compile(r"joint_(transformer_)?blocks[._]\d"): "Stable Diffusion 3",
    re.compile(r"transformer_blocks[._]\d+[._]attn[._](to|add|norm)_"): "Stable Diffusion 3 or FLUX",
}
_BLOCK = r"transformer_blocks\.\d+\.(attn[12]\.(to_[qkv]|to_out\.0)|ff\.(net\.(0\.proj|2)|conv_(inverted|depth|point)))"
_UNET_BLOCK = rf"attentions\.\d+\.(proj_(in|out)|{_BLOCK})|resnets\.\d+\.(conv[12]|conv_shortcut|time_emb_proj)"
_UNET_BLOCK = rf"((down|up)_blocks\.\d+|mid_block)\.({_UNET_BLOCK}|(down|up)samplers\.0\.conv)"
_CLIP = r"(text_model\.)?encoder\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])|text_projection"
_EMBEDDINGS = r"(caption_projection|(time_embed|adaln_single)\.emb\.timestep_embedder)\.linear_[12]"
# The layers that take a LoRA in the architectures of this program, whatever their number and size.
_LAYERS = {
    "unet": re.compile(rf"conv_(in|out)|(time|add)_embedding\.linear_[12]|{_UNET_BLOCK}"),
    "text_encoder": re.compile(_CLIP),
    "text_encoder_2": re.compile(_CLIP),
    "transformer": re.compile(
        rf"{_BLOCK}|{_EMBEDDINGS}|(time_embed|adaln_single)\.linear|(patch|pos)_embed\.proj|proj_out"
    ),
}


def is_layer(component: str, module: str) -> bool:
    """Whether some model of this program can have such a layer.

    Args:
        component: of ``COMPONENTS``.
        module: its name there, as ``parse_name`` reads it.
    """
    return _LAYERS[component].fullmatch(module) is not None


def made_for(name: str) -> str | None:
    """Another model that has a tensor of that name, or None.

    Args:
        name: as it stands in the file.
    """
    return next((model for layer, model in OTHER_MODELS.items() if layer.search(name)), None)


def other_kind(name: str) -> str | None:
    """What a tensor of that name is if it belongs to another way of changing a layer, or None.

    Args:
        name: as it stands in the file.
    """
    return next((kind for mark, kind in OTHER_KINDS.items() if mark in name), None)
