"""Preset + LoRA -> a ready diffusers pipeline, in the device and number format that suit this machine."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from cxr.adapters import describe_adapter, list_adapters, read_adapter
from cxr.attach import ADAPTER_NAME, MergedLora, attach, check_fits
from cxr.batch_size import choose_micro_batch_size, decode_zeros
from cxr.devices import choose_device, choose_unet_dtype, run_step, vae_dtype
from cxr.model_files import check_files, folder_sha256, read_pipeline, read_preview_projection
from cxr.presets import Preset, find_preset
from cxr.schema import AdapterInfo, ModelInfo


@dataclass
class LoadedModel:
    """A pipeline that is ready to generate, with what the recipe has to say about it.

    Whoever runs the pipeline or changes its LoRA holds ``lock``: a pipeline used by two threads at once gives wrong
    images without any error. ``generate`` does so by itself.

    Args:
        pipeline: UNet in the format that ``info.weight_dtype`` names, text encoder in float32, VAE in float32 or
            bfloat16.
        info: which model and LoRA these are.
        adapter: the loaded LoRA, or None.
        micro_batch_size: images that are denoised together, always exactly so many.
        preview_projection: weights of the latent channels and a bias that make a grey preview in [-1, 1], or None.
        embeddings: texts that the text encoder, as it is now, has read already, and [1, tokens, width] of each.
    """

    pipeline: StableDiffusionPipeline
    info: ModelInfo
    adapter: AdapterInfo | None = None
    micro_batch_size: int = 1
    preview_projection: tuple[tuple[float, ...], float] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    embeddings: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    _adapter_weight: float | None = None
    _merged: MergedLora | None = field(default=None, repr=False)

    @property
    def weight_dtype(self) -> torch.dtype:
        """Number format of the UNet."""
        dtype: torch.dtype = getattr(torch, self.info.weight_dtype)
        return dtype

    @property
    def device(self) -> torch.device:
        """Where the pipeline runs."""
        return torch.device(self.info.device)

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """UNet and VAE in float32 for a while. The way back is exact: float32 holds all values of smaller formats."""
        weight = self._adapter_weight
        self._cast_to(torch.float32, torch.float32, weight)
        try:
            yield
        finally:
            self._cast_to(self.weight_dtype, vae_dtype(self.weight_dtype), weight)

    @contextmanager
    def vae_in_float32(self) -> Iterator[None]:
        """The VAE alone in float32 for a while, and exactly back."""
        before = next(self.pipeline.vae.parameters()).dtype
        _cast(self.pipeline.vae, torch.float32)
        try:
            yield
        finally:
            _cast(self.pipeline.vae, before)

    @contextmanager
    def with_lora_layers(self) -> Iterator[None]:
        """The LoRA as diffusers attaches it, as layers beside the weights, for a while."""
        weight = self._adapter_weight
        self._unmerge()
        if self.adapter is not None and weight:
            self.pipeline.enable_lora()
            self.pipeline.set_adapters(ADAPTER_NAME, adapter_weights=weight)
        try:
            yield
        finally:
            if weight is not None:
                self.set_adapter_weight(weight)

    def set_adapter_weight(self, weight: float) -> None:
        """Scale the LoRA. At 0 it is bypassed, so that the result is the base model's, bit by bit.

        Args:
            weight: 0 to 2; ignored when no LoRA is loaded.
        """
        if self.adapter is None or weight == self._adapter_weight:
            return
        self._unmerge()
        self._merged = MergedLora(self.pipeline, weight)
        self._adapter_weight = weight

    def load_adapter(self, source: str | Path) -> None:
        """Put a LoRA into the pipeline in place of the present one. Nothing is changed unless the file fits.

        Args:
            source: as for ``cxr.adapters.describe_adapter``.
        Raises:
            AdapterError: unknown, unreadable, unsafe, or made for another model.
        """
        file = read_adapter(source)
        check_fits(self.pipeline, file.lora, file.info.name)
        self.unload_adapter()
        attach(self.pipeline, file.lora, file.info.name)
        _cast(self.pipeline.unet, self.weight_dtype)
        self.adapter = file.info
        self.info = dataclasses.replace(self.info, adapter=file.info.name, adapter_sha256=file.info.sha256)

    def unload_adapter(self) -> None:
        """Take the LoRA out again, without a trace."""
        if self.adapter is None:
            return
        self._unmerge()
        self.pipeline.unload_lora_weights()
        self.adapter = None
        self.info = dataclasses.replace(self.info, adapter="none", adapter_sha256="")

    def _unmerge(self) -> None:
        if self._merged is not None:
            self._merged.undo()
        self._merged, self._adapter_weight = None, None
        self.embeddings.clear()  # a LoRA may change the text encoder, too

    def _cast_to(self, unet_dtype: torch.dtype, vae_dtype: torch.dtype, adapter_weight: float | None) -> None:
        self._unmerge()  # what is put back later must be in the format of then
        _cast(self.pipeline.unet, unet_dtype)
        _cast(self.pipeline.vae, vae_dtype)
        if adapter_weight is not None:
            self.set_adapter_weight(adapter_weight)


def load_model(
    model: str | None = None,
    adapter: str | None = "default",
    *,
    weight_dtype: str | None = None,
    micro_batch_size: int | None = None,
) -> LoadedModel:
    """Load a base model and its LoRA from local files.

    Args:
        model: None or "embedded" for the model that ships with the program, or a folder in diffusers format.
        adapter: "default" for the model's own LoRA where it has one, "none", a name in ``lora_weights/``, or
            "local:PATH".
        weight_dtype: number format of the UNet as a recipe names it, "bfloat16"; None for the one that suits.
        micro_batch_size: images that are denoised together, as a recipe names it; None for what suits.
    Raises:
        ModelError: the model is unknown, incomplete or unreadable.
        AdapterError: the LoRA is unknown, unreadable, unsafe or foreign to the model.
    """
    preset = find_preset(model)
    source = _adapter_source(preset, adapter)
    if source is not None:
        describe_adapter(source)  # a bad LoRA is told before seconds are spent on the base model
    check_files(preset)
    device = choose_device()
    pipeline = read_pipeline(preset).to(device)
    dtype = getattr(torch, weight_dtype) if weight_dtype else choose_unet_dtype(pipeline.unet, device)
    _cast(pipeline.unet, dtype)
    _cast(pipeline.vae, vae_dtype(dtype))
    info = ModelInfo(
        model=preset.name,
        model_revision=f"sha256:{folder_sha256(preset.folder)}",
        adapter="none",
        adapter_sha256="",
        resolution=pipeline.unet.config.sample_size * pipeline.vae_scale_factor,
        scheduler=type(pipeline.scheduler).__name__,
        weight_dtype=str(dtype).removeprefix("torch."),
        device=device.type,
    )
    loaded = LoadedModel(
        pipeline,
        info,
        micro_batch_size=micro_batch_size or _micro_batch_size(pipeline, device),
        preview_projection=read_preview_projection(preset.folder),
    )
    if source is not None:
        loaded.load_adapter(source)
    return loaded


def _micro_batch_size(pipeline: StableDiffusionPipeline, device: torch.device) -> int:
    side = pipeline.unet.config.sample_size
    return choose_micro_batch_size(device, partial(run_step, pipeline.unet), partial(decode_zeros, pipeline.vae, side))


def _cast(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Change the number format of a network's weights, LoRA included, in the layout that convolutions prefer."""
    to: Any = torch.nn.Module.to  # diffusers' own `to` does the same and logs a warning each time
    to(network, dtype=dtype, memory_format=torch.channels_last)


_models: dict[tuple[Path, str | None], LoadedModel] = {}
_models_lock = threading.Lock()


def get_model(model: str | None = None, adapter: str | None = "default") -> LoadedModel:
    """As ``load_model``, but loads each pair only once per process, also when several threads ask at the same time."""
    preset = find_preset(model)
    key = (preset.folder.resolve(), _adapter_source(preset, adapter))
    with _models_lock:
        if key not in _models:
            _models[key] = load_model(model, adapter)
        return _models[key]


def _adapter_source(preset: Preset, adapter: str | None) -> str | None:
    if adapter == "default":
        names = {info.name for info in list_adapters()}
        return preset.default_adapter if preset.default_adapter in names else None
    return None if adapter in (None, "", "none") else adapter
