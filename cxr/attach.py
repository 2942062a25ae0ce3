"""Put a checked LoRA into a pipeline, through peft, or leave the pipeline as it was.

For generation its product is added to the weights that it changes, since extra layers cost a small model a fifth of its
speed. Those weights are kept and put back, so that nothing of the LoRA stays behind.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline
from peft.tuners.lora import LoraLayer as PeftLoraLayer
from torch import Tensor, nn

from cxr.errors import AdapterError
from cxr.lora_file import LoraFile, LoraLayer, peft_key
from cxr.model_files import no_progress_bars

ADAPTER_NAME = "cxr"  # peft's internal name; one LoRA at a time


def check_fits(pipeline: StableDiffusionPipeline, file: LoraFile, name: str) -> None:
    """Raise unless the model has every layer of the LoRA in the same size; changes nothing.

    Args:
        pipeline: with or without a LoRA of its own.
        file: the checked file.
        name: what to call it in messages.
    Raises:
        AdapterError: it was made for another model.
    """
    for layer in file.layers:
        _check_layer(pipeline, _in_model(pipeline, layer), name)


def attach(pipeline: StableDiffusionPipeline, file: LoraFile, name: str) -> None:
    """Load the LoRA's layers into the UNet and the text encoder; arguments as for ``check_fits``, which comes first.

    Raises:
        AdapterError: peft refused it; the pipeline is without a LoRA again.
    """
    layers = tuple(_in_model(pipeline, layer) for layer in file.layers)
    state = {_in_model_key(pipeline, key): value for key, value in safetensors.torch.load(file.content).items()}
    try:
        for component, load in (
            ("unet", pipeline.load_lora_into_unet),
            ("text_encoder", pipeline.load_lora_into_text_encoder),
        ):
            own = [layer for layer in layers if layer.component == component]
            if own:
                settings = _lora_settings(component, own, file.alphas.get(component))
                network = {component: getattr(pipeline, component)}
                with no_progress_bars():
                    load(state, None, **network, adapter_name=ADAPTER_NAME, metadata=settings, _pipeline=pipeline)
    except Exception as error:
        pipeline.unload_lora_weights()  # a half-loaded LoRA leaves its layers behind
        raise AdapterError(f"LoRA {name!r} cannot be loaded into this model: {error}") from error


class MergedLora:
    """The LoRA of a pipeline, added to its weights; ``undo`` puts the very same weights back.

    Args:
        pipeline: with a LoRA attached.
        weight: scale of the LoRA; at 0 nothing is added.
    """

    def __init__(self, pipeline: StableDiffusionPipeline, weight: float) -> None:
        self.pipeline = pipeline
        self.originals: list[tuple[nn.Parameter, Tensor]] = []
        if weight:
            pipeline.set_adapters(ADAPTER_NAME, adapter_weights=weight)
            for layer in self._layers():
                parameter = layer.get_base_layer().weight
                self.originals.append((parameter, parameter.data))
                product = layer.get_delta_weight(ADAPTER_NAME).float()
                parameter.data = (parameter.data.float() + product).to(parameter.data)
        pipeline.disable_lora()  # the layers of the LoRA itself have nothing more to add

    def undo(self) -> None:
        """Give the pipeline back its own weights; the LoRA stays attached and switched off."""
        for parameter, original in self.originals:
            parameter.data = original
        self.originals = []

    def _layers(self) -> list[PeftLoraLayer]:
        networks = (self.pipeline.unet, self.pipeline.text_encoder)
        layers = [module for network in networks for module in network.modules() if isinstance(module, PeftLoraLayer)]
        return [layer for layer in layers if ADAPTER_NAME in layer.lora_A]


def _lora_settings(component: str, layers: list[LoraLayer], alpha: float | None) -> dict[str, Any]:
    """Arguments of peft's LoraConfig, from the shapes and the alpha alone: the file's own settings are not trusted."""
    rank = layers[0].rank
    other_ranks = {f"^{layer.module}": layer.rank for layer in layers if layer.rank != rank}
    settings = {
        "r": rank,
        "lora_alpha": rank if alpha is None else alpha,
        "rank_pattern": other_ranks,
        # Without an alpha in the file each layer's scale alpha / rank is 1.
        "alpha_pattern": dict(other_ranks) if alpha is None else {},
        "target_modules": [layer.module for layer in layers],
    }
    return {f"{component}.{name}": value for name, value in settings.items()}


def _in_model_key(pipeline: StableDiffusionPipeline, name: str) -> str:
    name = peft_key(name)
    # transformers 5 dropped this level of CLIPTextModel; LoRA files from before still name it.
    if not hasattr(pipeline.text_encoder, "text_model"):
        name = name.replace("text_encoder.text_model.", "text_encoder.", 1)
    return name


def _in_model(pipeline: StableDiffusionPipeline, layer: LoraLayer) -> LoraLayer:
    name = _in_model_key(pipeline, f"{layer.component}.{layer.module}")
    return dataclasses.replace(layer, module=name.removeprefix(f"{layer.component}."))


def _check_layer(pipeline: StableDiffusionPipeline, layer: LoraLayer, name: str) -> None:
    """Raise unless the layer exists in the model with matching sizes."""
    try:
        module = getattr(pipeline, layer.component).get_submodule(layer.module)
    except AttributeError as error:
        raise AdapterError(f"LoRA {name!r} is for another model: this one has no layer {layer.module!r}") from error
    module = getattr(module, "base_layer", module)  # peft wraps a layer that has a LoRA already
    if not isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
        raise AdapterError(f"LoRA {name!r} is for another model: its layer {layer.module!r} cannot take a LoRA here")
    out_size, in_size, *kernel = module.weight.shape
    fits_a = layer.shape_a == (layer.rank, in_size, *kernel)
    fits_b = layer.shape_b == (out_size, layer.rank, *[1 for _ in kernel])
    if not fits_a or not fits_b:
        raise AdapterError(
            f"LoRA {name!r} is for another model: layer {layer.module!r} has "
            f"{layer.shape_b[0]} x {layer.shape_a[1]} values there and {out_size} x {in_size} here"
        )
