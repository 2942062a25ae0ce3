"""A pipeline that is ready to generate: its LoRA, its number formats, and what recipes say about it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from diffusers import DiffusionPipeline, ModelMixin
from torch import Tensor

from cxr.lora.find import AdapterFile, read_adapters
from cxr.lora.loaded import LoadedAdapters
from cxr.models.devices import cast_weights, vae_dtype
from cxr.models.families import FAMILIES, Family, TextCondition
from cxr.models.step_gains import StepGains
from cxr.request.model_info import AdapterInfo, ModelInfo
from cxr.request.recipe import COMPILED


class Engine(Protocol):
    """Runs a UNet in place of PyTorch; whoever calls a method holds the model's lock."""

    def predict(self, sample: Tensor, timestep: Tensor, embeddings: Tensor) -> Tensor:
        """Run the UNet once, with one text."""

    def forget(self) -> None:
        """Drop what was made from the weights, which have changed."""


@dataclass
class LoadedModel:
    """A pipeline that is ready to generate, with what recipes say about it.

    Whoever runs the pipeline or changes its LoRA holds ``lock``: a pipeline used by two threads at once gives wrong
    images without any error. ``generate`` does so by itself.

    Args:
        pipeline: of diffusers; its denoising network in the format that ``info.weight_dtype`` names, text encoder in
            float32 where that is feasible, VAE in float32 or bfloat16.
        info: which model and LoRA these are.
        micro_batch_size: images that are denoised together, always exactly so many.
        preview_projection: weights of the latent channels and a bias that make a grey preview in [-1, 1], or None.
        mark_psnr: of the mark in the pixels of its pictures, in dB; None for pictures without one.
        step_gains: what its expected latents are multiplied with at each step, or None.
        family: how the networks of this architecture are called.
        prompt_form: the kind of text that it was trained with, for requests that are to be reworded.
        notes: what the user should know about where the model came from.
        engine: runs the UNet in place of PyTorch, or None: OpenVINO, or on ZeroGPU what was compiled ahead.
        embeddings: texts that the text encoder, as it is now, has read already, whether each was the negative one,
            and what came out.
    """

    pipeline: DiffusionPipeline
    info: ModelInfo
    micro_batch_size: int = 1
    preview_projection: tuple[tuple[float, ...], float] | None = None
    mark_psnr: float | None = None
    step_gains: StepGains | None = None
    family: Family = FAMILIES["StableDiffusionPipeline"]
    prompt_form: str = "plain"
    notes: tuple[str, ...] = ()
    engine: Engine | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    embeddings: dict[tuple[str, bool], TextCondition] = field(default_factory=dict, repr=False)
    _adapters: LoadedAdapters = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._adapters = LoadedAdapters(self.pipeline)

    @property
    def adapters(self) -> tuple[AdapterInfo, ...]:
        return self._adapters.infos

    @property
    def adapter(self) -> AdapterInfo | None:
        """The first of the loaded LoRAs, or None."""
        return next(iter(self.adapters), None)

    @property
    def weight_dtype(self) -> torch.dtype:
        """Number format of the UNet."""
        dtype: torch.dtype = getattr(torch, self.info.weight_dtype)
        return dtype

    @property
    def device(self) -> torch.device:
        return torch.device(self.info.device)

    @property
    def network(self) -> ModelMixin:
        """The network that denoises: a UNet or a transformer."""
        return getattr(self.pipeline, self.family.network)

    def predict(self, sample: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        """Run the denoising network once, as ``Family.predict`` says, by whichever engine the model was loaded with."""
        if self.engine is None:
            output = self.family.predict(self.pipeline, sample, timestep, text)
            # The memory of a CUDA graph is written again by the next step.
            return output.clone() if self.info.engine == COMPILED else output
        return self.engine.predict(sample, timestep, text.embeddings)

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """UNet and VAE in float32 for a while. The way back is exact: float32 holds all values of smaller formats."""
        weight = self._adapters.weight
        self._cast_to(torch.float32, weight)
        try:
            yield
        finally:
            self._cast_to(self.weight_dtype, weight)

    @contextmanager
    def vae_in_float32(self) -> Iterator[None]:
        """The VAE alone in float32 for a while, and exactly back."""
        before = next(self.pipeline.vae.parameters()).dtype
        cast_weights(self.pipeline.vae, torch.float32)
        try:
            yield
        finally:
            cast_weights(self.pipeline.vae, before)

    def set_adapter_weight(self, weight: float) -> None:
        """Scale the LoRAs. At 0 they are bypassed, so that the result is the base model's, bit by bit.

        Args:
            weight: 0 to 2, on top of each LoRA's own; ignored when no LoRA is loaded.
        """
        if self._adapters.set_weight(weight):
            self._forget_weights()

    def load_adapter(self, source: str | Path | tuple[AdapterFile, ...]) -> None:
        """Put LoRAs into the pipeline in place of the present ones. Nothing is changed unless all of them fit.

        Args:
            source: as for ``cxr.lora.find.read_adapters``, or what that returned; () takes the present ones out without
                a trace.
        Raises:
            AdapterError: unknown, unreadable, unsafe, or made for another model.
        """
        files = source if isinstance(source, tuple) else read_adapters(source)
        try:
            self._adapters.load(files)
        finally:
            adapter, adapter_sha256 = self._adapters.recipe_fields
            self.info = dataclasses.replace(self.info, adapter=adapter, adapter_sha256=adapter_sha256)
            self._forget_weights()

    def _unmerge(self) -> None:
        self._adapters.unmerge()
        self._forget_weights()

    def _forget_weights(self) -> None:
        """Drop what was made from the weights as they were; a LoRA may change the text encoder, too."""
        self.embeddings.clear()
        if self.engine is not None:
            self.engine.forget()

    def _cast_to(self, dtype: torch.dtype, adapter_weight: float | None) -> None:
        self._unmerge()  # what is put back later must be in the format it will have then
        cast_weights(self.network, dtype)
        cast_weights(self.pipeline.vae, vae_dtype(dtype))
        if adapter_weight is not None:
            self.set_adapter_weight(adapter_weight)
