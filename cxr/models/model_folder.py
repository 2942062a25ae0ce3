"""What a complete model folder holds: checked by name, read, and fingerprinted."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import safe_open
from transformers.utils import logging as transformers_logging

from cxr.models.families import Family
from cxr.models.families.folder_check import INDEX, ModelFolder, check_folders, check_index, read_model_settings
from cxr.models.families.weight_files import shards, weight_files, weight_names
from cxr.models.preset_table import Preset
from cxr.request.errors import ModelError

HASHED_SUFFIXES = {".json", ".txt", ".safetensors", ".model"}
# Levels that newer versions of the libraries renamed, and translate by themselves while reading.
RENAMED = (
    ("text_model.", ""),  # transformers 5 dropped this level of CLIPTextModel
    (".query.", ".to_q."),  # the autoencoder's attention, in files from before diffusers 0.15
    (".key.", ".to_k."),
    (".value.", ".to_v."),
    (".proj_attn.", ".to_out.0."),
)


def find_model_folder(preset: Preset, *, variant: str | None = None) -> ModelFolder:
    """Where the files of a model are on this machine; those of the Hub are downloaded first if need be.

    Args:
        preset: as ``cxr.models.presets.find_preset`` gives it.
        variant: "fp16" to take the smaller files where a model of the Hub has them.
    Raises:
        HubError: the Hub refused, cannot be reached, or holds a model that this program does not run.
    """
    if preset.folder is not None:
        return ModelFolder(preset.name, preset.folder)
    from cxr.models.hub.download import download_model  # huggingface_hub takes its time to import, and most need no Hub

    return download_model(preset, variant=variant)


def check_files(model: ModelFolder, expected: str | None = None) -> Family:
    """Name what is missing or foreign before diffusers fails in its own words, and looks up any class.

    Args:
        expected: the only pipeline class that is allowed, or None for all known ones.
    Raises:
        ModelError: a file is missing, unreadable, or of another kind of model.
    """
    if not (model.path / INDEX).is_file():
        raise ModelError(f"model {model.name!r} is incomplete: {INDEX} is missing in its folder")
    index = read_model_settings(model, INDEX)
    family = check_index(index, model.name, expected)
    for choices in family.required_files:
        if not any((model.path / name).is_file() for name in choices):
            raise ModelError(f"model {model.name!r} is incomplete: {choices[0]} is missing in its folder")
    classes = {part: value[-1] for part, value in index.items() if isinstance(value, list) and value}
    for file, settings in check_folders(model, family.components).items():
        if ".safetensors.index" in file:
            shards(settings, file, model.name)
        named = classes[file.partition("/")[0]]
        if settings.get("_class_name", named) != named:
            raise ModelError(f"model {model.name!r} is refused: {file} is of another class than {INDEX} says")
    for component in family.weighted:
        _weight_paths(model, component)
    return family


def read_pipeline(model: ModelFolder, family: Family, device: torch.device) -> DiffusionPipeline:
    """The model as a diffusers pipeline on a device, its networks in float32 but for text encoders that are too large.

    Args:
        model: as ``check_files`` has checked it.
        family: what ``check_files`` returned.
    Raises:
        ModelError: a file is unreadable or lacks weights.
    """
    _check_sentencepiece(model, family)
    dtype: torch.dtype | dict[str, torch.dtype] = torch.float32
    if device.type == "cuda" and family.cuda_text_dtype != torch.float32:
        dtype = {"default": torch.float32} | dict.fromkeys(family.text_encoders, family.cuda_text_dtype)
    try:
        with no_progress_bars():
            pipeline = family.pipeline_class().from_pretrained(
                model.path,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                variant=model.variant,
                **family.left_out,
            )
    except Exception as error:  # a third party's settings may make the libraries fail in any way
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ModelError(f"model {model.name!r} cannot be read: {reason}") from error
    for component in family.weighted:
        _check_weights(model, component, getattr(pipeline, component))
    pipeline.set_progress_bar_config(disable=True)
    if family.max_tokens is not None:
        pipeline.tokenizer.model_max_length = family.max_tokens
    return pipeline.to(device)


def _check_sentencepiece(model: ModelFolder, family: Family) -> None:
    """Transformers would ask for another library than the one that is missing."""
    for folder in (model.path / name for name in family.components if name.startswith("tokenizer")):
        needs_it = not (folder / "tokenizer.json").is_file() and any(folder.glob("*.model"))
        if needs_it and not all(importlib.util.find_spec(name) for name in ("sentencepiece", "google.protobuf")):
            raise ModelError(
                f"model {model.name!r} has a SentencePiece tokenizer; to read it, pip install sentencepiece protobuf"
            )


def _weight_paths(model: ModelFolder, component: str) -> dict[Path, str]:
    """Files of a component's weights, and what to call each."""
    names = {f"{component}/{path.name}" for path in (model.path / component).iterdir() if path.is_file()}
    files = weight_files(component, names, model.variant, partial(read_model_settings, model), model.name)
    if not files:
        wanted, _ = weight_names(component, model.variant)
        raise ModelError(f"model {model.name!r} is incomplete: {wanted} is missing in its folder")
    if missing := [name for name in files if name not in names]:
        raise ModelError(f"model {model.name!r} is incomplete: {missing[0]} is missing in its folder")
    return {model.path / name: name for name in files if not name.endswith(".json")}


def _check_weights(model: ModelFolder, component: str, network: torch.nn.Module) -> None:
    """Raise when the files lack weights: the libraries would fill them with random numbers and only log it."""
    stored: set[str] = set()
    paths = _weight_paths(model, component)
    for path in paths:
        with safe_open(path, framework="pt") as file:
            stored |= {_current_name(key) for key in file.keys()}  # noqa: SIM118  # not a dict
    if prefix := getattr(network, "base_model_prefix", ""):  # a text encoder that was saved as a part of a larger model
        stored |= {key.removeprefix(f"{prefix}.") for key in stored}
    needed = {_current_name(key) for key, _ in network.named_parameters()}
    if missing := sorted(needed - stored):
        name = next(iter(paths.values()))
        raise ModelError(f"model {model.name!r} is incomplete: {name} lacks {missing[0]} ({len(missing)})")


def _current_name(key: str) -> str:
    for old, new in RENAMED:
        key = key.replace(old, new)
    return key


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
