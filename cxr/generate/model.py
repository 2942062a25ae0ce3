"""Preset + LoRA -> a ready diffusers pipeline, in the device and number format that suit this machine."""

from __future__ import annotations

import os
import threading
from functools import partial

import diffusers
import torch
from diffusers import DiffusionPipeline, ModelMixin

from cxr.generate.loaded_model import LoadedModel
from cxr.lora.find import adapter_names, read_adapters
from cxr.models.batch_size import choose_micro_batch_size, decode_zeros
from cxr.models.compiled import compile_networks, is_compiling_wanted
from cxr.models.devices import DTYPE_VARIABLE, cast_weights, choose_device, choose_unet_dtype, vae_dtype
from cxr.models.families import Family
from cxr.models.families.family import SCHEDULERS
from cxr.models.hub.names import HUB_PREFIX
from cxr.models.model_folder import (
    check_files,
    find_model_folder,
    folder_sha256,
    read_pipeline,
)
from cxr.models.openvino.engine_choice import EngineChoice, choose_engine, has_choice
from cxr.models.openvino.graph_cache import keep_graph
from cxr.models.openvino.network import OpenVinoUnet
from cxr.models.own_settings import read_mark_psnr, read_preview_projection, read_step_gains
from cxr.models.presets import Preset, find_preset
from cxr.request.model_info import ModelInfo
from cxr.request.recipe import COMPILED, OPENVINO, PYTORCH


def load_model(
    model: str | None = None,
    adapter: str | None = "default",
    *,
    weight_dtype: str | None = None,
    micro_batch_size: int | None = None,
    engine: str | None = None,
) -> LoadedModel:
    """Load a base model and its LoRA, from this disk or from the Hugging Face Hub.

    Args:
        model: as for ``cxr.models.presets.find_preset``; None for the model that ships with the program.
        adapter: "default" for the model's own LoRA where it has one, "none", a name in ``lora_weights/``,
            "local:PATH", "hub:owner/name/file", or several with weights, "clinical:0.8,local:PATH:0.5".
        weight_dtype: number format of the denoising network as a recipe names it, "bfloat16"; None for the one that
            suits.
        micro_batch_size: images that are denoised together, as a recipe names it; None for what suits.
        engine: what runs the denoising network, as a recipe names it, "openvino"; None for the one that suits. PyTorch
            runs what OpenVINO cannot: other networks than a plain UNet, and GPUs.
    Raises:
        ModelError: the model is unknown, incomplete or unreadable, or OpenVINO is asked for and not there; HubError
            where the Hub is the reason.
        AdapterError: the LoRA is unknown, unreadable, unsafe or foreign to the model.
    """
    preset = find_preset(model)
    source = _adapter_source(preset, adapter)
    files = () if source is None else read_adapters(source)  # a bad one is refused before seconds are spent on the base
    loaded = _load_base(preset, weight_dtype, micro_batch_size, engine)
    if files:
        loaded.load_adapter(files)
    return loaded


def _load_base(
    preset: Preset, weight_dtype: str | None, micro_batch_size: int | None, engine: str | None
) -> LoadedModel:
    device = choose_device()
    files = find_model_folder(preset, variant="fp16" if device.type == "cuda" else None)
    family = check_files(files, preset.family)
    pipeline = read_pipeline(files, family, device)
    _set_scheduler(pipeline, preset.scheduler)
    network = getattr(pipeline, family.network)
    choice = _choose_engine(family, network, device, engine)
    measured = None if os.environ.get(DTYPE_VARIABLE) else choice.weight_dtype
    dtype = _network_dtype(family, network, device, weight_dtype or measured)
    step = partial(family.run_empty_step, pipeline)
    decode = partial(decode_zeros, pipeline.vae, network.config.sample_size)
    cast_weights(network, dtype)
    cast_weights(pipeline.vae, vae_dtype(dtype))
    # ZeroGPU has no time for it in each request; what can be compiled there is compiled ahead, by the page.
    if choice.engine == COMPILED and not os.environ.get("SPACES_ZERO_GPU"):
        compile_networks(network, pipeline.vae)
    info = ModelInfo(
        model=preset.name,
        model_revision=files.revision or f"sha256:{folder_sha256(files.path)}",
        adapter="none",
        adapter_sha256="",
        resolution=network.config.sample_size * pipeline.vae_scale_factor,
        scheduler=type(pipeline.scheduler).__name__,
        weight_dtype=str(dtype).removeprefix("torch."),
        device=device.type,
        engine=choice.engine,
    )
    kept_as = f"{info.model_revision} {info.weight_dtype}"
    return LoadedModel(
        pipeline,
        info,
        micro_batch_size=micro_batch_size or choose_micro_batch_size(device, step, decode, kept_as),
        preview_projection=read_preview_projection(files),
        mark_psnr=read_mark_psnr(files),
        step_gains=read_step_gains(files, network.config.in_channels, pipeline.scheduler.config.get("prediction_type")),
        family=family,
        prompt_form=preset.prompt_form,
        notes=files.notes + choice.notes,
        engine=OpenVinoUnet(network, keep_graph(network.config)) if choice.engine == OPENVINO else None,
    )


def _choose_engine(family: Family, network: ModelMixin, device: torch.device, engine: str | None) -> EngineChoice:
    if engine == COMPILED or (engine is None and is_compiling_wanted()):
        return EngineChoice(COMPILED)
    if engine is None:
        return choose_engine(network.config, device, is_plain=family.is_plain_unet)
    return EngineChoice(engine if has_choice(device, is_plain=family.is_plain_unet) else PYTORCH)


def _network_dtype(family: Family, network: torch.nn.Module, device: torch.device, wanted: str | None) -> torch.dtype:
    if wanted:
        named: torch.dtype = getattr(torch, wanted)
        return named
    dtype = choose_unet_dtype(network, device, can_time=family.is_plain_unet)
    return torch.bfloat16 if family.overflows_in_float16 and dtype == torch.float16 else dtype


def _set_scheduler(pipeline: DiffusionPipeline, name: str | None) -> None:
    """Sample with another scheduler than the model's own, on the same noise schedule."""
    if name is not None and type(pipeline.scheduler).__name__ != name:
        assert name in SCHEDULERS, f"{name} of the table of presets is not a known scheduler"
        pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config)


models_in_memory: dict[tuple[str, str | None], LoadedModel] = {}
_models_lock = threading.Lock()


def get_model(model: str | None = None, adapter: str | None = "default") -> LoadedModel:
    """As ``load_model``, but loads each pair only once per process, also when several threads ask at the same time."""
    preset = find_preset(model)
    place = str(preset.folder.resolve()) if preset.folder else f"{preset.name}: {preset.hub_id}@{preset.revision}"
    key = (place, _adapter_source(preset, adapter))
    with _models_lock:
        if key not in models_in_memory:
            models_in_memory[key] = load_model(model, adapter)
        return models_in_memory[key]


def _adapter_source(preset: Preset, adapter: str | None) -> str | None:
    if adapter == "default" and preset.default_adapter.startswith(HUB_PREFIX):
        return preset.default_adapter
    if adapter == "default":
        return preset.default_adapter if preset.default_adapter in adapter_names() else None
    return None if adapter in (None, "", "none") else adapter
