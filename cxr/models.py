"""Preset + LoRA -> a ready diffusers pipeline, in the device and number format that suit this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from cxr.adapters import AdapterFile, LoraLayer, describe_adapter, peft_key, read_adapter
from cxr.devices import choose_device, choose_unet_dtype
from cxr.errors import AdapterError, ModelError
from cxr.presets import Preset, find_preset
from cxr.schema import AdapterInfo, ModelInfo

ADAPTER_NAME = "cxr"  # peft's internal name; one LoRA at a time
CUDA_MICRO_BATCH_SIZE = 4

# What a complete model folder holds. A row of several names needs one of them.
REQUIRED_FILES = (
    ("model_index.json",),
    ("scheduler/scheduler_config.json",),
    ("text_encoder/config.json",),
    ("text_encoder/model.safetensors",),
    ("tokenizer/vocab.json", "tokenizer/tokenizer.json"),
    ("tokenizer/merges.txt", "tokenizer/tokenizer.json"),
    ("unet/config.json",),
    ("unet/diffusion_pytorch_model.safetensors",),
    ("vae/config.json",),
    ("vae/diffusion_pytorch_model.safetensors",),
)
COMPONENT_CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}
HASHED_SUFFIXES = {".json", ".txt", ".safetensors"}


@dataclass
class LoadedModel:
    """A pipeline that is ready to generate, with what the recipe has to say about it.

    Whoever runs the pipeline or changes its LoRA holds ``lock``: a pipeline used by two threads at once gives wrong
    images without any error. ``generate`` does so by itself.

    Args:
        pipeline: VAE and text encoder in float32, UNet in the format that ``info.weight_dtype`` names.
        info: which model and LoRA these are.
        adapter: the loaded LoRA, or None.
        micro_batch_size: images that are denoised together, always exactly so many.
        preview_projection: weights of the latent channels and a bias that make a grey preview in [-1, 1], or None.
    """

    pipeline: StableDiffusionPipeline
    info: ModelInfo
    adapter: AdapterInfo | None = None
    micro_batch_size: int = 1
    preview_projection: tuple[tuple[float, ...], float] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _adapter_weight: float | None = None

    @property
    def weight_dtype(self) -> torch.dtype:
        """Number format of the UNet."""
        dtype: torch.dtype = getattr(torch, self.info.weight_dtype)
        return dtype

    @property
    def device(self) -> torch.device:
        """Where the pipeline runs."""
        return torch.device(self.info.device)

    def set_adapter_weight(self, weight: float) -> None:
        """Scale the LoRA. At 0 it is bypassed, so that the result is the base model's, bit by bit.

        Args:
            weight: 0 to 2; ignored when no LoRA is loaded.
        """
        if self.adapter is None or weight == self._adapter_weight:
            return
        self._adapter_weight = None  # unknown, should the next lines fail
        if weight == 0:
            self.pipeline.disable_lora()
        else:
            self.pipeline.enable_lora()
            self.pipeline.set_adapters(ADAPTER_NAME, adapter_weights=weight)
        self._adapter_weight = weight

    def load_adapter(self, source: str | Path) -> None:
        """Put a LoRA into the pipeline in place of the present one. Nothing is changed unless the file fits.

        Args:
            source: as for ``cxr.adapters.describe_adapter``.
        Raises:
            AdapterError: unknown, unreadable, unsafe, or made for another model.
        """
        file = read_adapter(source)
        self.unload_adapter()
        _attach(self.pipeline, file)
        cast(self.pipeline.unet, self.weight_dtype)
        self.adapter = file.info
        self.info = dataclasses.replace(self.info, adapter=file.info.name, adapter_sha256=file.info.sha256)

    def unload_adapter(self) -> None:
        """Take the LoRA out again, without a trace."""
        if self.adapter is None:
            return
        self.pipeline.unload_lora_weights()
        self.adapter, self._adapter_weight = None, None
        self.info = dataclasses.replace(self.info, adapter="none", adapter_sha256="")


def load_model(model: str | None = None, adapter: str | None = "default") -> LoadedModel:
    """Load a base model and its LoRA from local files.

    Args:
        model: None or "embedded" for the model that ships with the program, or a folder in diffusers format.
        adapter: "default" for the model's own LoRA where it has one, "none", a name in ``lora_weights/``, or
            "local:PATH".
    Raises:
        ModelError: the model is unknown, incomplete or unreadable.
        AdapterError: the LoRA is unknown, unreadable, unsafe or foreign to the model.
    """
    preset = find_preset(model)
    source = _adapter_source(preset, adapter)
    if source is not None:
        describe_adapter(source)  # a bad LoRA is told before seconds are spent on the base model
    _check_files(preset)
    device = choose_device()
    pipeline = _read_pipeline(preset).to(device)
    weight_dtype = choose_unet_dtype(pipeline.unet, device)
    cast(pipeline.unet, weight_dtype)
    info = ModelInfo(
        model=preset.name,
        model_revision=f"sha256:{_folder_sha256(preset.folder)}",
        adapter="none",
        adapter_sha256="",
        resolution=pipeline.unet.config.sample_size * pipeline.vae_scale_factor,
        scheduler=type(pipeline.scheduler).__name__,
        weight_dtype=str(weight_dtype).removeprefix("torch."),
        device=device.type,
    )
    loaded = LoadedModel(
        pipeline,
        info,
        micro_batch_size=CUDA_MICRO_BATCH_SIZE if device.type == "cuda" else 1,
        preview_projection=_read_preview_projection(preset.folder),
    )
    if source is not None:
        loaded.load_adapter(source)
    return loaded


def cast(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Change the number format of a network's weights, LoRA included."""
    torch.nn.Module.to(network, dtype=dtype)  # diffusers' own `to` does the same and logs a warning each time


_models: dict[tuple[str | None, str | None], LoadedModel] = {}
_models_lock = threading.Lock()


def get_model(model: str | None = None, adapter: str | None = "default") -> LoadedModel:
    """As ``load_model``, but loads each pair only once per process, also when several threads ask at the same time."""
    with _models_lock:
        key = (model or None, adapter)
        if key not in _models:
            _models[key] = load_model(model, adapter)
        return _models[key]


def _adapter_source(preset: Preset, adapter: str | None) -> str | None:
    if adapter == "default":
        from cxr.adapters import list_adapters

        names = {info.name for info in list_adapters()}
        return preset.default_adapter if preset.default_adapter in names else None
    return None if adapter in (None, "", "none") else adapter


def _check_files(preset: Preset) -> None:
    """Name what is missing or foreign before diffusers fails in its own words."""
    for choices in REQUIRED_FILES:
        if not any((preset.folder / name).is_file() for name in choices):
            raise ModelError(f"model {preset.name!r} is incomplete: {choices[0]} is missing in its folder")
    try:
        index = json.loads((preset.folder / "model_index.json").read_text(encoding="utf-8"))
        classes = {name: index[name][1] for name in COMPONENT_CLASSES}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelError(f"model {preset.name!r} has an unreadable model_index.json") from error
    if index.get("_class_name") != "StableDiffusionPipeline" or classes != COMPONENT_CLASSES:
        raise ModelError(f"model {preset.name!r} is not a StableDiffusionPipeline with {COMPONENT_CLASSES}")


def _read_pipeline(preset: Preset) -> StableDiffusionPipeline:
    # Safety checker off: it is trained on photographs and blacks out harmless radiographs.
    left_out: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "image_encoder": None}
    try:
        with _no_progress_bars():
            pipeline = StableDiffusionPipeline.from_pretrained(
                preset.folder,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                requires_safety_checker=False,
                **left_out,
            )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ModelError(f"model {preset.name!r} cannot be read: {reason}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep the two libraries' loading bars off the screen of command line and server."""
    shown = [(module, module.is_progress_bar_enabled()) for module in (diffusers_logging, transformers_logging)]
    for module, _ in shown:
        module.disable_progress_bar()
    try:
        yield
    finally:
        for module, was_shown in shown:
            if was_shown:
                module.enable_progress_bar()


def _folder_sha256(folder: Path) -> str:
    """One fingerprint of the weights and settings in a model folder, whatever its path."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in HASHED_SUFFIXES and path.is_file():
            with path.open("rb") as file:
                content_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{content_sha256}\n".encode())
    return digest.hexdigest()


def _read_preview_projection(folder: Path) -> tuple[tuple[float, ...], float] | None:
    path = folder / "preview.json"
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        return tuple(float(weight) for weight in settings["weights"]), float(settings["bias"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError('preview.json of the model is not {"weights": [numbers], "bias": number}') from error


def _attach(pipeline: StableDiffusionPipeline, file: AdapterFile) -> None:
    layers = tuple(_in_model(pipeline, layer) for layer in file.layers)
    for layer in layers:
        _check_fits(pipeline, layer, file.info.name)
    state = {_in_model_key(pipeline, name): value for name, value in safetensors.torch.load(file.content).items()}
    try:
        for component, load in (
            ("unet", pipeline.load_lora_into_unet),
            ("text_encoder", pipeline.load_lora_into_text_encoder),
        ):
            own = [layer for layer in layers if layer.component == component]
            if own:
                settings = _lora_settings(component, own, file.alphas.get(component))
                load(
                    state,
                    network_alphas=None,
                    **{component: getattr(pipeline, component)},
                    adapter_name=ADAPTER_NAME,
                    metadata=settings,
                    _pipeline=pipeline,
                )
    except Exception as error:
        pipeline.unload_lora_weights()  # a half-loaded LoRA leaves its layers behind
        raise AdapterError(f"LoRA {file.info.name!r} cannot be loaded into this model: {error}") from error


def _lora_settings(component: str, layers: list[LoraLayer], alpha: float | None) -> dict[str, Any]:
    """peft's LoraConfig arguments, from the shapes and the alpha alone: the file's own settings are not trusted."""
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


def _check_fits(pipeline: StableDiffusionPipeline, layer: LoraLayer, name: str) -> None:
    """Raise unless the layer exists in the model with matching sizes."""
    try:
        module = getattr(pipeline, layer.component).get_submodule(layer.module)
    except AttributeError as error:
        raise AdapterError(f"LoRA {name!r} is for another model: this one has no layer {layer.module!r}") from error
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
