"""Put a checked LoRA into a pipeline, through peft, or leave the pipeline as it was."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from cxr.lora.base_guess import describe_width, guess_base
from cxr.lora.lora_file import LoraFile, LoraLayer, tensors_of
from cxr.lora.merged_weights import networks_of
from cxr.models.model_folder import no_progress_bars
from cxr.request.errors import AdapterError

TORCH_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


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
        reason = _misfit(networks.get(layer.component), _in_model(networks, layer))
        if reason:
            looks, own = guess_base(file.layers), _own_base(pipeline)
            hint = f" (it looks made for {looks}, and the loaded model is {own})" if looks != own else ""
            raise AdapterError(f"LoRA {name!r} is for another model{hint}: {reason}")


def attach(pipeline: DiffusionPipeline, file: LoraFile, name: str, adapter_name: str) -> None:
    """Load the LoRA's layers beside the weights of the networks that it changes.

    Args:
        pipeline: which ``check_fits`` found to fit.
        file: the checked file.
        name: what to call it in messages.
        adapter_name: peft's name for it, not in use yet.
    Raises:
        AdapterError: the file has changed since, or peft refused it; a part of the LoRA may be attached.
    """
    networks = networks_of(pipeline)
    state = _state(networks, file)
    try:
        for component in file.components:
            layers = [_in_model(networks, layer) for layer in file.layers if layer.component == component]
            with no_progress_bars(), warnings.catch_warnings():
                # Several LoRAs in one network are meant.
                warnings.filterwarnings("ignore", "Already found a `peft_config` attribute", UserWarning)
                _load(pipeline, component, state, _lora_settings(component, layers), adapter_name)
    except Exception as error:
        raise AdapterError(f"LoRA {name!r} cannot be loaded into this model: {error}") from error


def _load(
    pipeline: DiffusionPipeline, component: str, state: dict[str, Tensor], settings: dict[str, Any], adapter_name: str
) -> None:
    options = {"adapter_name": adapter_name, "metadata": settings, "_pipeline": pipeline}
    network = getattr(pipeline, component)
    if component == "unet":
        pipeline.load_lora_into_unet(state, None, unet=network, **options)
    elif component == "transformer":
        pipeline.load_lora_into_transformer(state, transformer=network, **options)
    else:
        pipeline.load_lora_into_text_encoder(state, None, text_encoder=network, prefix=component, **options)


def _state(networks: dict[str, nn.Module], file: LoraFile) -> dict[str, Tensor]:
    state = {}
    for name, dtype, shape, raw in tensors_of(file):
        tensor = torch.from_numpy(np.frombuffer(raw, np.uint8).copy()).view(TORCH_DTYPES[dtype]).reshape(shape)
        module = _module_name(networks.get(name.component), name.component, name.module)
        state[f"{name.component}.{module}.{name.part}"] = tensor
    return state


def _lora_settings(component: str, layers: list[LoraLayer]) -> dict[str, Any]:
    """Arguments of peft's LoraConfig, from shapes and alphas alone: the file's own settings are not trusted."""
    rank, alpha = layers[0].rank, _alpha(layers[0])
    settings = {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {f"^{layer.module}": layer.rank for layer in layers if layer.rank != rank},
        "alpha_pattern": {f"^{layer.module}": _alpha(layer) for layer in layers if _alpha(layer) != alpha},
        "target_modules": [layer.module for layer in layers],
    }
    return {f"{component}.{name}": value for name, value in settings.items()}


def _alpha(layer: LoraLayer) -> float:
    # Where nothing says alpha, each layer's scale alpha / rank is 1.
    return layer.rank if layer.alpha is None else layer.alpha


def _module_name(network: nn.Module | None, component: str, module: str) -> str:
    """The module's name in the model: transformers 5 dropped the level text_model of CLIPTextModel."""
    if component.startswith("text_encoder") and network is not None:
        level, bare = "text_model.", module.removeprefix("text_model.")
        return level + bare if hasattr(network, "text_model") else bare
    return module


def _in_model(networks: dict[str, nn.Module], layer: LoraLayer) -> LoraLayer:
    module = _module_name(networks.get(layer.component), layer.component, layer.module)
    return dataclasses.replace(layer, module=module)


def _misfit(network: nn.Module | None, layer: LoraLayer) -> str:
    """Why the layer is not one of the model's, or an empty text."""
    if network is None:
        return f"this one has no {layer.component}"
    try:
        module = network.get_submodule(layer.module)
    except AttributeError:
        return f"this one has no layer {layer.module!r}"
    module = getattr(module, "base_layer", module)  # peft wraps a layer that has a LoRA already
    if not isinstance(module, (nn.Linear, nn.Conv2d)):
        return f"its layer {layer.module!r} cannot take a LoRA here"
    out_size, in_size, *kernel = module.weight.shape
    fits_a = layer.shape_a == (layer.rank, in_size, *kernel)
    fits_b = layer.shape_b == (out_size, layer.rank, *[1 for _ in kernel])
    if fits_a and fits_b:
        return ""
    there = f"{layer.shape_b[0]} x {layer.shape_a[1]}"
    return f"layer {layer.module!r} has {there} values there and {out_size} x {in_size} here"


def _own_base(pipeline: DiffusionPipeline) -> str:
    unet = getattr(pipeline, "unet", None)
    width = getattr(getattr(unet, "config", None), "cross_attention_dim", None)
    return describe_width(width) if isinstance(width, int) else f"a {type(pipeline).__name__}"
