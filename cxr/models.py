"""Preset + LoRA -> a ready diffusers pipeline, in the device and number format that suit this machine."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch

from cxr.adapters import describe_adapter, list_adapters, read_adapter
from cxr.attach import ADAPTER_NAME, MergedLora, attach, check_fits
from cxr.devices import DTYPE_VARIABLE, choose_device, choose_unet_dtype
from cxr.families import FAMILIES, Family, TextCondition
from cxr.families.family import SCHEDULERS
from cxr.families.files import ModelFolder
from cxr.model_files import check_files, folder_sha256, read_pipeline, read_preview_projection
from cxr.presets import HUB_PREFIX, Preset, find_preset
from cxr.schema import AdapterInfo, ModelInfo

CUDA_MICRO_BATCH_SIZE = 4


@dataclass
class LoadedModel:
    """A pipeline that is ready to generate, with what the recipe has to say about it.

    Whoever runs the pipeline or changes its LoRA holds ``lock``: a pipeline used by two threads at once gives wrong
    images without any error. ``generate`` does so by itself.

    Args:
        pipeline: of diffusers; its denoising network in the format that ``info.weight_dtype`` names, text encoder in
            float32 where that is feasible, VAE in float32 or bfloat16.
        info: which model and LoRA these are.
        adapter: the loaded LoRA, or None.
        micro_batch_size: images that are denoised together, always exactly so many.
        preview_projection: weights of the latent channels and a bias that make a grey preview in [-1, 1], or None.
        family: how the networks of this architecture are called.
        notes: what the user should know about where the model came from.
        embeddings: texts that the text encoder, as it is now, has read already, whether each was the negative one,
            and what came out.
    """

    pipeline: Any
    info: ModelInfo
    adapter: AdapterInfo | None = None
    micro_batch_size: int = 1
    preview_projection: tuple[tuple[float, ...], float] | None = None
    family: Family = FAMILIES["StableDiffusionPipeline"]
    notes: tuple[str, ...] = ()
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    embeddings: dict[tuple[str, bool], TextCondition] = field(default_factory=dict, repr=False)
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

    @property
    def network(self) -> Any:
        """The network that denoises: a UNet or a transformer."""
        return getattr(self.pipeline, self.family.network)

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """UNet and VAE in float32 for a while. The way back is exact: float32 holds all values of smaller formats."""
        weight = self._adapter_weight
        self._cast_to(torch.float32, torch.float32, weight)
        try:
            yield
        finally:
            self._cast_to(self.weight_dtype, _vae_dtype(self.weight_dtype), weight)

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
        _cast(self.network, unet_dtype)
        _cast(self.pipeline.vae, vae_dtype)
        if adapter_weight is not None:
            self.set_adapter_weight(adapter_weight)


def load_model(
    model: str | None = None, adapter: str | None = "default", *, weight_dtype: str | None = None
) -> LoadedModel:
    """Load a base model and its LoRA, from this disk or from the Hugging Face Hub.

    Args:
        model: as for ``cxr.presets.find_preset``; None for the model that ships with the program.
        adapter: "default" for the model's own LoRA where it has one, "none", a name in ``lora_weights/``,
            "local:PATH" or "hub:owner/name/file".
        weight_dtype: number format of the denoising network as a recipe names it, "bfloat16"; None for the one that
            suits.
    Raises:
        ModelError: the model is unknown, incomplete or unreadable; HubError where the Hub is the reason.
        AdapterError: the LoRA is unknown, unreadable, unsafe or foreign to the model.
    """
    preset = find_preset(model)
    source = _on_this_disk(_adapter_source(preset, adapter))
    if source is not None:
        describe_adapter(source)  # a bad LoRA is told before seconds are spent on the base model
    loaded = _load_base(preset, weight_dtype)
    if source is not None:
        loaded.load_adapter(source)
    return loaded


def _load_base(preset: Preset, weight_dtype: str | None) -> LoadedModel:
    device = choose_device()
    files = _model_folder(preset, device)
    family = check_files(files, preset.family)
    pipeline = read_pipeline(files, family, device)
    _set_scheduler(pipeline, preset.scheduler)
    network = getattr(pipeline, family.network)
    dtype = getattr(torch, weight_dtype) if weight_dtype else _network_dtype(family, network, device)
    _cast(network, dtype)
    _cast(pipeline.vae, _vae_dtype(dtype))
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
        micro_batch_size=CUDA_MICRO_BATCH_SIZE if device.type == "cuda" else 1,
        preview_projection=read_preview_projection(files.path),
        family=family,
        notes=files.notes,
    )


def _model_folder(preset: Preset, device: torch.device) -> ModelFolder:
    if preset.folder is not None:
        return ModelFolder(preset.name, preset.folder)
    from cxr.hub.models import download_model  # huggingface_hub takes its time to import, and most need no Hub

    return download_model(preset, variant="fp16" if device.type == "cuda" else None)


def _set_scheduler(pipeline: Any, name: str | None) -> None:
    """Sample with another scheduler than the model's own, on the same noise schedule."""
    if name is not None and type(pipeline.scheduler).__name__ != name:
        assert name in SCHEDULERS, f"{name} of the table of presets is not a known scheduler"
        pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config)


def _network_dtype(family: Family, network: torch.nn.Module, device: torch.device) -> torch.dtype:
    if family.is_probed:
        return choose_unet_dtype(network, device)
    if device.type == "cuda":
        return family.cuda_dtype
    return torch.bfloat16 if os.environ.get(DTYPE_VARIABLE) == "bfloat16" else torch.float32


def _vae_dtype(weight_dtype: torch.dtype) -> torch.dtype:
    # bfloat16 moves a decoded picture by 0.4 grey levels (root mean square) in half the time; float16 may overflow.
    return torch.float32 if weight_dtype == torch.float16 else weight_dtype


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
        names = {info.name for info in list_adapters()}
        return preset.default_adapter if preset.default_adapter in names else None
    return None if adapter in (None, "", "none") else adapter


def _on_this_disk(source: str | None) -> str | None:
    if source is None or not source.startswith(HUB_PREFIX):
        return source
    from cxr.hub import download_adapter  # huggingface_hub takes its time to import, and most need no Hub

    return f"local:{download_adapter(source.removeprefix(HUB_PREFIX)).path}"
