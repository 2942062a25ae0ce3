"""Add the LoRAs of a pipeline to the weights that they change, and put the very same weights back.

Extra layers cost a small model a fifth of its speed; their product added to the weights costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from diffusers import DiffusionPipeline
from peft.tuners.lora import LoraLayer as PeftLoraLayer
from torch import Tensor, nn

from cxr.lora.tensor_names import COMPONENTS


def networks_of(pipeline: DiffusionPipeline) -> dict[str, nn.Module]:
    """The pipeline's networks that LoRAs know, by name."""
    found = {name: getattr(pipeline, name, None) for name in COMPONENTS}
    return {name: network for name, network in found.items() if isinstance(network, nn.Module)}


class MergedLora:
    """The LoRAs of a pipeline, added to its weights; ``undo`` puts the very same weights back.

    Args:
        pipeline: with LoRAs attached.
        weights: peft's name of each LoRA and its scale; at 0 nothing is added.
    """

    def __init__(self, pipeline: DiffusionPipeline, weights: Mapping[str, float]) -> None:
        self.originals: list[tuple[nn.Parameter, Tensor]] = []
        used = {name: weight for name, weight in weights.items() if weight}
        try:
            for layer in adapted_layers(pipeline):
                self._add(layer, {name: weight for name, weight in used.items() if name in layer.lora_A})
        except BaseException:
            self.undo()
            raise
        pipeline.disable_lora()  # the layers of the LoRAs themselves have nothing more to add

    def _add(self, layer: PeftLoraLayer, weights: Mapping[str, float]) -> None:
        if not weights:
            return
        parameter = layer.get_base_layer().weight
        total = parameter.data.float()
        for name, weight in weights.items():
            layer.set_scale(name, weight)
            total = total + layer.get_delta_weight(name).float()
        self.originals.append((parameter, parameter.data))
        parameter.data = total.to(parameter.data)

    def undo(self) -> None:
        """Give the pipeline back its own weights; the LoRAs stay attached and switched off."""
        for parameter, original in self.originals:
            parameter.data = original
        self.originals = []


def adapted_layers(pipeline: DiffusionPipeline) -> Iterator[PeftLoraLayer]:
    """The layers that carry LoRAs."""
    for network in networks_of(pipeline).values():
        for module in network.modules():
            if isinstance(module, PeftLoraLayer):
                yield module
