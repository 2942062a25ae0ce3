"""What a complete model folder holds: checked by name, read, and fingerprinted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError, safe_open
from transformers.utils import logging as transformers_logging

from cxr.errors import ModelError
from cxr.presets import Preset

# A row of several names needs one of them.
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


def check_files(preset: Preset) -> None:
    """Name what is missing or foreign before diffusers fails in its own words."""
    for choices in REQUIRED_FILES:
        if not any((preset.folder / name).is_file() for name in choices):
            raise ModelError(f"model {preset.name!r} is incomplete: {choices[0]} is missing in its folder")
    settings = {name: _read_json(preset, name) for (name, *_) in REQUIRED_FILES if _is_settings(preset.folder / name)}
    index = settings["model_index.json"]
    classes = {name: (index.get(name) or [None])[-1] for name in COMPONENT_CLASSES}
    if index.get("_class_name") != "StableDiffusionPipeline" or classes != COMPONENT_CLASSES:
        expected = ", ".join(COMPONENT_CLASSES.values())
        raise ModelError(f"model {preset.name!r} is not a StableDiffusionPipeline made of {expected}")


def _is_settings(path: Path) -> bool:
    return path.suffix == ".json" and path.is_file()


def _read_json(preset: Preset, name: str) -> dict[str, Any]:
    try:
        settings = json.loads((preset.folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"model {preset.name!r} has an unreadable {name}: {error}") from error
    if not isinstance(settings, dict):
        raise ModelError(f"model {preset.name!r} has an unreadable {name}: it is not a JSON object")
    return settings


def read_pipeline(preset: Preset) -> StableDiffusionPipeline:
    # Safety checker off: it is trained on photographs and blacks out harmless radiographs.
    left_out: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "image_encoder": None}
    try:
        with no_progress_bars():
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
    for component in COMPONENT_CLASSES:
        _check_weights(preset, component, getattr(pipeline, component))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _check_weights(preset: Preset, component: str, network: torch.nn.Module) -> None:
    """Raise when the file lacks weights: the libraries would fill them with random numbers and only log it."""
    name = "model.safetensors" if component == "text_encoder" else "diffusion_pytorch_model.safetensors"
    with safe_open(preset.folder / component / name, framework="pt") as file:
        # transformers 5 dropped this level of CLIPTextModel, older files still have it.
        stored = {key.removeprefix("text_model.") for key in file.keys()}  # noqa: SIM118  # not a dict
    needed = {key.removeprefix("text_model.") for key, _ in network.named_parameters()}
    if missing := sorted(needed - stored):
        raise ModelError(f"model {preset.name!r} is incomplete: {component}/{name} lacks {missing[0]} ({len(missing)})")


@contextmanager
def no_progress_bars() -> Iterator[None]:
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


def folder_sha256(folder: Path) -> str:
    """One fingerprint of the weights and settings in a model folder, whatever its path."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in HASHED_SUFFIXES and path.is_file():
            with path.open("rb") as file:
                content_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{content_sha256}\n".encode())
    return digest.hexdigest()


def read_preview_projection(folder: Path) -> tuple[tuple[float, ...], float] | None:
    path = folder / "preview.json"
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        return tuple(float(weight) for weight in settings["weights"]), float(settings["bias"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError('preview.json of the model is not {"weights": [numbers], "bias": number}') from error
