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

import diffusers
import torch

from cxr.lora.find import AdapterFile, adapter_names, read_adapters
from cxr.lora.loaded import LoadedAdapters
from cxr.models.batch_size import choose_micro_batch_size, decode_zeros
from cxr.models.devices import choose_device, choose_unet_dtype, vae_dtype
from cxr.models.families import FAMILIES, Family, TextCondition
from cxr.models.families.family import SCHEDULERS
from cxr.models.model_folder import (
    check_files,
    find_model_folder,
    folder_sha256,
    read_pipeline,
    read_preview_projection,
)
from cxr.models.presets import HUB_PREFIX, Preset, find_preset
from cxr.request.model_info import AdapterInfo, ModelInfo


@dataclass
class LoadedModel:
    """A pipeline that is ready to generate, with what the recipe has to say about it.

    Whoever runs the pipeline or changes its LoRA holds ``lock``: a pipeline used by two threads at once gives wrong
    images without any error. ``generate`` does so by itself.

    Args:
        pipeline: of diffusers; its denoising network in the format that ``info.weight_dtype`` names, text encoder in
            float32 where that is feasible, VAE in float32 or bfloat16.
        info: which model and LoRA these are.
        micro_batch_size: images that are denoised together, always exactly so many.
        preview_projection: weights of the latent channels and a bias that make a grey preview in [-1, 1], or None.
        family: how the networks of this architecture are called.
        prompt_form: the kind of text that it was trained with, for requests that are to be reworded.
        notes: what the user should know about where the model came from.
        embeddings: texts that the text encoder, as it is now, has read already, whether each was the negative one,
            and what came out.
    """

    pipeline: Any
    info: ModelInfo
    micro_batch_size: int = 1
    preview_projection: tuple[tuple[float, ...], float] | None = None
    family: Family = FAMILIES["StableDiffusionPipeline"]
    prompt_form: str = "plain"
    notes: tuple[str, ...] = ()
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    embeddings: dict[tuple[str, bool], TextCondition] = field(default_factory=dict, repr=False)
    _adapters: LoadedAdapters = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._adapters = LoadedAdapters(self.pipeline)

    @property
    def adapters(self) -> tuple[AdapterInfo, ...]:
        """The loaded LoRAs."""
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
        """Where the pipeline runs."""
        return torch.device(self.info.device)

    @property
    def network(self) -> Any:
        """The network that denoises: a UNet or a transformer."""
        return getattr(self.pipeline, self.family.network)

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
        _cast(self.pipeline.vae, torch.float32)
        try:
            yield
        finally:
            _cast(self.pipeline.vae, before)

    @contextmanager
    def with_lora_layers(self) -> Iterator[None]:
        """The LoRAs as diffusers attaches them, as layers beside the weights, for a while."""
        weight = self._adapters.weight
        self._unmerge()
        if weight:
            self._adapters.enable_layers(weight)
        try:
            yield
        finally:
            if weight is not None:
                self.set_adapter_weight(weight)

    def set_adapter_weight(self, weight: float) -> None:
        """Scale the LoRAs. At 0 they are bypassed, so that the result is the base model's, bit by bit.

        Args:
            weight: 0 to 2, on top of each LoRA's own; ignored when no LoRA is loaded.
        """
        if self._adapters.set_weight(weight):
            self.embeddings.clear()  # a LoRA may change the text encoder, too

    def load_adapter(self, source: str | Path | tuple[AdapterFile, ...]) -> None:
        """Put LoRAs into the pipeline in place of the present ones. Nothing is changed unless all of them fit.

        Args:
            source: as for ``cxr.lora.find.read_adapters``, or what that returned.
        Raises:
            AdapterError: unknown, unreadable, unsafe, or made for another model.
        """
        files = source if isinstance(source, tuple) else read_adapters(source)
        try:
            self._adapters.load(files)
        finally:
            self._note_adapters()

    def unload_adapter(self) -> None:
        """Take the LoRAs out again, without a trace."""
        self._adapters.unload()
        self._note_adapters()

    def _note_adapters(self) -> None:
        adapter, adapter_sha256 = self._adapters.recipe_fields
        self.info = dataclasses.replace(self.info, adapter=adapter, adapter_sha256=adapter_sha256)
        self.embeddings.clear()

    def _unmerge(self) -> None:
        self._adapters.unmerge()
        self.embeddings.clear()

    def _cast_to(self, dtype: torch.dtype, adapter_weight: float | None) -> None:
        self._unmerge()  # what is put back later must be in the format of then
        _cast(self.network, dtype)
        _cast(self.pipeline.vae, vae_dtype(dtype))
        if adapter_weight is not None:
            self.set_adapter_weight(adapter_weight)


def load_model(
    model: str | None = None,
    adapter: str | None = "default",
    *,
    weight_dtype: str | None = None,
    micro_batch_size: int | None = None,
) -> LoadedModel:
    """Load a base model and its LoRA, from this disk or from the Hugging Face Hub.

    Args:
        model: as for ``cxr.models.presets.find_preset``; None for the model that ships with the program.
        adapter: "default" for the model's own LoRA where it has one, "none", a name in ``lora_weights/``,
            "local:PATH", "hub:owner/name/file", or several with weights, "clinical:0.8,local:PATH:0.5".
        weight_dtype: number format of the denoising network as a recipe names it, "bfloat16"; None for the one that
            suits.
        micro_batch_size: images that are denoised together, as a recipe names it; None for what suits.
    Raises:
        ModelError: the model is unknown, incomplete or unreadable; HubError where the Hub is the reason.
        AdapterError: the LoRA is unknown, unreadable, unsafe or foreign to the model.
    """
    preset = find_preset(model)
    source = _adapter_source(preset, adapter)
    files = () if source is None else read_adapters(source)  # a bad one is refused before seconds are spent on the base
    loaded = _load_base(preset, weight_dtype, micro_batch_size)
    if files:
        loaded.load_adapter(files)
    return loaded


def _load_base(preset: Preset, weight_dtype: str | None, micro_batch_size: int | None) -> LoadedModel:
    device = choose_device()
    files = find_model_folder(preset, variant="fp16" if device.type == "cuda" else None)
    family = check_files(files, preset.family)
    pipeline = read_pipeline(files, family, device)
    _set_scheduler(pipeline, preset.scheduler)
    network = getattr(pipeline, family.network)
    dtype = getattr(torch, weight_dtype) if weight_dtype else _network_dtype(family, network, device)
    step = partial(family.run_empty_step, pipeline)
    decode = partial(decode_zeros, pipeline.vae, network.config.sample_size)
    _cast(network, dtype)
    _cast(pipeline.vae, vae_dtype(dtype))
    info = ModelInfo(
        model=preset.name,
        model_revision=files.revision or f"sha256:{folder_sha256(files.path)}",
        adapter="none",
        adapter_sha256="",
        resolution=network.config.sample_size * pipeline.vae_scale_factor,
        scheduler=type(pipeline.scheduler).__name__,
        weight_dtype=str(dtype).removeprefix("torch."),
        device=device.type,
    )
    return LoadedModel(
        pipeline,
        info,
        micro_batch_size=micro_batch_size or choose_micro_batch_size(device, step, decode),
        preview_projection=read_preview_projection(files.path),
        family=family,
        prompt_form=preset.prompt_form,
        notes=files.notes,
    )


def _network_dtype(family: Family, network: torch.nn.Module, device: torch.device) -> torch.dtype:
    dtype = choose_unet_dtype(network, device, can_time=family.is_probed)
    return torch.bfloat16 if family.overflows_in_float16 and dtype == torch.float16 else dtype


def _set_scheduler(pipeline: Any, name: str | None) -> None:
    """Sample with another scheduler than the model's own, on the same noise schedule."""
    if name is not None and type(pipeline.scheduler).__name__ != name:
        assert name in SCHEDULERS, f"{name} of the table of presets is not a known scheduler"
        pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config)


def _cast(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Change the number format of a network's weights, LoRA included, in the layout that convolutions prefer."""
    to: Any = torch.nn.Module.to  # diffusers' own `to` does the same and logs a warning each time
    to(network, dtype=dtype, memory_format=torch.channels_last)


_models: dict[tuple[str, str | None], LoadedModel] = {}
_models_lock = threading.Lock()


def get_model(model: str | None = None, adapter: str | None = "default") -> LoadedModel:
    """As ``load_model``, but loads each pair only once per process, also when several threads ask at the same time."""
    preset = find_preset(model)
    place = str(preset.folder.resolve()) if preset.folder else f"{preset.name}: {preset.hub_id}@{preset.revision}"
    key = (place, _adapter_source(preset, adapter))
    with _models_lock:
        if key not in _models:
            _models[key] = load_model(model, adapter)
        return _models[key]


def _adapter_source(preset: Preset, adapter: str | None) -> str | None:
    if adapter == "default" and preset.default_adapter.startswith(HUB_PREFIX):
        return preset.default_adapter
    if adapter == "default":
        return preset.default_adapter if preset.default_adapter in adapter_names() else None
    return None if adapter in (None, "", "none") else adapter
