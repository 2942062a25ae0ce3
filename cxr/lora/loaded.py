"""The LoRAs of one pipeline: loaded, weighed, switched and taken out, so that the base keeps its very bits."""

from __future__ import annotations

import contextlib

import torch
from diffusers import DiffusionPipeline

from cxr.lora.attach import attach, check_fits
from cxr.lora.find import AdapterFile, recipe_fields
from cxr.lora.merged_weights import MergedLora, adapted_layers
from cxr.request.errors import AdapterError
from cxr.request.model_info import AdapterInfo

ADAPTER_NAME = "cxr"  # peft's internal name of the first LoRA; those after it get a number


class LoadedAdapters:
    """The LoRAs in a pipeline, in the order in which they were named.

    Whoever calls a method holds the model's lock.

    Args:
        pipeline: without any LoRA.
    """

    def __init__(self, pipeline: DiffusionPipeline) -> None:
        self.pipeline = pipeline
        self.weight: float | None = None  # None: never set, nothing is merged
        self._files: tuple[AdapterFile, ...] = ()
        self._merged: MergedLora | None = None

    @property
    def infos(self) -> tuple[AdapterInfo, ...]:
        """Descriptions of the loaded LoRAs."""
        return tuple(file.info for file in self._files)

    @property
    def recipe_fields(self) -> tuple[str, str]:
        """``adapter`` and ``adapter_sha256`` of recipes."""
        return recipe_fields(self._files)

    def load(self, files: tuple[AdapterFile, ...]) -> None:
        """Put LoRAs into the pipeline in place of the present ones; if one does not fit, the present ones stay.

        Args:
            files: as ``cxr.lora.find.read_adapters`` gives them.
        Raises:
            AdapterError: one of them is made for another model, or its file has changed since.
        """
        for file in files:
            check_fits(self.pipeline, file.lora, file.info.name)
        before = self._files
        self.unload()
        try:
            self._attach(files)
        except BaseException:
            with contextlib.suppress(AdapterError):  # its file may have gone; then the base is left alone
                self._attach(before)
            raise

    def unload(self) -> None:
        """Take the LoRAs out again, without a trace."""
        self.unmerge()
        if self._files:
            self.pipeline.unload_lora_weights()
        self._files = ()

    def set_weight(self, weight: float) -> bool:
        """Scale all LoRAs on top of their own weights; at 0 the result is the base model's, bit by bit.

        Args:
            weight: 0 to 2; ignored when no LoRA is loaded.
        Returns:
            Whether anything changed.
        """
        if not self._files or weight == self.weight:
            return False
        self.unmerge()
        self._merged = MergedLora(self.pipeline, dict(zip(self._names(), self._weights(weight), strict=True)))
        self.weight = weight
        return True

    def unmerge(self) -> None:
        """Put the base's own weights back; the LoRAs stay attached and switched off."""
        if self._merged is not None:
            self._merged.undo()
        self._merged, self.weight = None, None

    def enable_layers(self, weight: float) -> None:
        """Run the LoRAs as diffusers does, as layers beside the weights, until the next ``set_weight``."""
        self.unmerge()
        if self._files:
            self.pipeline.enable_lora()
            self.pipeline.set_adapters(self._names(), adapter_weights=self._weights(weight))

    def _attach(self, files: tuple[AdapterFile, ...]) -> None:
        try:
            for name, file in zip(_peft_names(len(files)), files, strict=True):
                attach(self.pipeline, file.lora, file.info.name, name)
        except BaseException:
            self.pipeline.unload_lora_weights()  # a half-loaded LoRA leaves its layers behind
            raise
        for layer in adapted_layers(self.pipeline):
            base = layer.get_base_layer().weight
            for matrix in (*layer.lora_A.values(), *layer.lora_B.values()):
                matrix.to(dtype=base.dtype, memory_format=torch.channels_last)  # as the rest of the network
        self._files = files

    def _names(self) -> list[str]:
        return _peft_names(len(self._files))

    def _weights(self, weight: float) -> list[float]:
        return [weight * file.weight for file in self._files]


def _peft_names(count: int) -> list[str]:
    return [ADAPTER_NAME, *(f"{ADAPTER_NAME}_{number}" for number in range(1, count))][:count]
