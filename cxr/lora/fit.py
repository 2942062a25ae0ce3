"""Whether a LoRA fits a pipeline, layer by layer, and for which base model it looks made if not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from diffusers import DiffusionPipeline
from torch import nn

from cxr.lora.lora_file import LoraFile, LoraLayer
from cxr.lora.tensor_names import COMPONENTS
from cxr.request.errors import AdapterError

# Width of the text embeddings that a UNet attends to.
CROSS_ATTENTION_BASES = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}
# Width of a text encoder: CLIP ViT-L/14 (1), OpenCLIP ViT-H (2).
TEXT_ENCODER_BASES = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2"}


def networks_of(pipeline: DiffusionPipeline) -> dict[str, nn.Module]:
    """The pipeline's networks that LoRAs know, by name."""
    found = {name: getattr(pipeline, name, None) for name in COMPONENTS}
    return {name: network for name, network in found.items() if isinstance(network, nn.Module)}


def check_fits(pipeline: DiffusionPipeline, file: LoraFile, name: str) -> None:
    """Raise unless the model has every layer of the LoRA in the same size; changes nothing.

    Args:
        pipeline: with or without LoRAs of its own.
        file: the checked file.
        name: what to call it in messages.
    Raises:
        AdapterError: it was made for another model; the message says for which, as far as its sizes tell.
    """
    if not hasattr(pipeline, "unload_lora_weights"):
        raise AdapterError(f"LoRA {name!r} cannot be loaded: models of {type(pipeline).__name__} take none; use none")
    networks = networks_of(pipeline)
    for layer in file.layers:
        if reason := _misfit(networks.get(layer.component), layer):
            looks, own = guess_base(file.layers), _own_base(pipeline)
            hint = f" (it looks made for {looks}, and the loaded model is {own})" if looks != own else ""
            raise AdapterError(f"LoRA {name!r} is for another model{hint}: {reason}")


def name_in_model(network: nn.Module | None, component: str, module: str) -> str:
    """The module's name in the model: transformers 5 dropped the level text_model of CLIPTextModel."""
    if component.startswith("text_encoder") and network is not None:
        level, bare = "text_model.", module.removeprefix("text_model.")
        return level + bare if hasattr(network, "text_model") else bare
    return module


def guess_base(layers: Iterable[LoraLayer]) -> str:
    """What the LoRA looks made for; "an unknown model" when no layer gives it away.

    Args:
        layers: of one file.
    """
    layers = list(layers)
    for layer in layers:
        if layer.component == "unet" and layer.module.endswith((".attn2.to_k", ".attn2.to_v")):
            return _describe_width(layer.shape_a[1])
    components = {layer.component for layer in layers}
    if "transformer" in components:
        return "a diffusion transformer (Sana, PixArt)"
    if "text_encoder_2" in components:
        return "Stable Diffusion XL (it has a second text encoder)"
    for layer in layers:
        if layer.component == "text_encoder" and layer.module.endswith(("q_proj", "k_proj", "v_proj")):
            width = layer.shape_a[1]
            base = TEXT_ENCODER_BASES.get(width)
            return f"{base} (text encoder width {width})" if base else f"a model of text encoder width {width}"
    return "an unknown model"


def _describe_width(cross_attention_dim: int) -> str:
    """A base by the width of its cross-attention: "Stable Diffusion 2 (cross-attention width 1024)"."""
    width = f"cross-attention width {cross_attention_dim}"
    base = CROSS_ATTENTION_BASES.get(cross_attention_dim)
    return f"{base} ({width})" if base else f"a model of {width}"


def _misfit(network: nn.Module | None, layer: LoraLayer) -> str:
    """Why the layer is not one of the model's, or an empty text."""
    if network is None:
        return f"this one has no {layer.component}"
    name = name_in_model(network, layer.component, layer.module)
    try:
        module = network.get_submodule(name)
    except AttributeError:
        return f"this one has no layer {name!r}"
    module = getattr(module, "base_layer", module)  # peft wraps a layer that has a LoRA already
    if not isinstance(module, (nn.Linear, nn.Conv2d)) or getattr(module, "groups", 1) != 1:
        return f"its layer {name!r} cannot take a LoRA here"
    out_size, in_size, *kernel = module.weight.shape
    fits_a = layer.shape_a == (layer.rank, in_size, *kernel)
    fits_b = layer.shape_b == (out_size, layer.rank, *[1 for _ in kernel])
    if fits_a and fits_b:
        return ""
    there = [layer.shape_b[0], *layer.shape_a[1:]]
    return f"layer {name!r} has {_product(there)} values there and {_product([out_size, in_size, *kernel])} here"


def _product(sizes: Iterable[int]) -> str:
    return " x ".join(map(str, sizes))


def _own_base(pipeline: DiffusionPipeline) -> str:
    unet = getattr(pipeline, "unet", None)
    width = getattr(getattr(unet, "config", None), "cross_attention_dim", None)
    return _describe_width(width) if isinstance(width, int) else f"a {type(pipeline).__name__}"


def layers_in_model(pipeline: DiffusionPipeline, file: LoraFile, component: str) -> list[LoraLayer]:
    """The layers of one network under the names that the model gives them."""
    network = networks_of(pipeline)[component]
    return [
        dataclasses.replace(layer, module=name_in_model(network, component, layer.module))
        for layer in file.layers
        if layer.component == component
    ]


def peft_settings(component: str, layers: list[LoraLayer]) -> dict[str, object]:
    """Arguments of peft's LoraConfig, from shapes and alphas alone: the file's own settings are not trusted."""
    rank, alpha = layers[0].rank, layers[0].scaled_alpha
    settings = {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {f"^{layer.module}": layer.rank for layer in layers if layer.rank != rank},
        "alpha_pattern": {f"^{layer.module}": layer.scaled_alpha for layer in layers if layer.scaled_alpha != alpha},
        "target_modules": [layer.module for layer in layers],
    }
    return {f"{component}.{name}": value for name, value in settings.items()}
