"""Which layers the models of this program have for a LoRA, and what else files hold."""

from __future__ import annotations

import re

# Other ways to change a layer, by what their tensors are called; the first mark that fits says which.
OTHER_KINDS = {"dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "hada_": "LoHa", "lokr_": "LoKr", "boft_": "BOFT"}
OTHER_KINDS |= {"oft_": "OFT", "lora_mid": "LoCon with a third matrix", ".diff": "full differences"}
OTHER_KINDS |= {"ia3_": "(IA)³", "vera_lambda": "VeRA", "lora_E": "AdaLoRA", "ranknum": "AdaLoRA", "hira_": "HiRA"}
OTHER_KINDS |= {"randlora_": "RandLoRA", "vblora_": "VB-LoRA", "gralora_": "GraLoRA", "lora_velora": "VeLoRA"}
OTHER_KINDS |= {"hra_u": "HRA", "fourierft_": "FourierFT", "miss_block": "MiSS"}
OTHER_KINDS |= {"lora_embedding": "an embedding", "bundle_emb": "bundled embeddings", "emb_params": "an embedding"}
OTHER_KINDS |= {"lora_te3_": "a third text encoder", "base_layer": "base weights"}
OTHER_KINDS |= {".bias": "biases", "modules_to_save": "modules that were trained as a whole"}
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


def dimensions_of(module: str) -> tuple[int, ...]:
    """How many dimensions the matrices of a layer may have: 2 of a linear one, 4 of a convolution.

    Args:
        module: its name, as ``parse_name`` reads it.
    """
    last = module.rpartition(".")[2]
    if last in ("proj_in", "proj_out"):  # linear in some models
        return (2, 4)
    return (4,) if last.startswith("conv") or module in ("patch_embed.proj", "pos_embed.proj") else (2,)


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
