"""Find and describe LoRA files: those in ``lora_weights/``, and those that the user points at."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr.errors import AdapterError
from cxr.lora_file import MAX_HEADER_BYTES, LoraFile, read_lora_file
from cxr.schema import AdapterInfo

LORA_ROOT = Path(__file__).resolve().parent.parent / "lora_weights"
WEIGHTS_NAME = "pytorch_lora_weights.safetensors"
LOCAL_PREFIX = "local:"


@dataclass(frozen=True)
class AdapterFile:
    """A LoRA that passed every check: its description and what is in the file."""

    info: AdapterInfo
    lora: LoraFile


def list_adapters() -> tuple[AdapterInfo, ...]:
    """Describe every usable LoRA in ``lora_weights/``, by name; broken ones are left out."""
    found = []
    for name in _names():
        try:
            found.append(describe_adapter(name))
        except AdapterError:
            continue  # choosing it by name says what is wrong with it
    return tuple(found)


def describe_adapter(source: str | Path) -> AdapterInfo:
    """Check one LoRA completely and describe it, without loading it into a model.

    Args:
        source: a name in ``lora_weights/``, "local:PATH", or a Path of a file or of a folder that holds one.
    Raises:
        AdapterError: unknown, unreadable, foreign or unsafe.
    """
    return read_adapter(source).info


def read_adapter(source: str | Path) -> AdapterFile:
    """Read and check one LoRA; arguments and errors as for ``describe_adapter``."""
    path = find_adapter(source)
    lora = read_lora_file(path)
    card = _read_card(path)
    rank = max(layer.rank for layer in lora.layers)
    missing = " and ".join(lora.components_without_alpha)
    info = AdapterInfo(
        name=_display_name(path),
        path=path,
        sha256=hashlib.sha256(lora.content).hexdigest(),
        rank=rank,
        lora_alpha=next((lora.alphas[part] for part in ("unet", "text_encoder") if part in lora.alphas), float(rank)),
        num_tensors=lora.num_tensors,
        size_bytes=len(lora.content),
        base_model=str(card.get("base_model", "unknown")),
        license=str(card.get("license", "unknown")),
        notes=(f"no alpha in the file for {missing}: the rank is used",) if missing else (),
    )
    return AdapterFile(info, lora)


def find_adapter(source: str | Path) -> Path:
    """The safetensors file that a name, "local:PATH" or Path stands for.

    Raises:
        AdapterError: there is none, or more than one.
    """
    if isinstance(source, str) and source.startswith(LOCAL_PREFIX):
        source = Path(source.removeprefix(LOCAL_PREFIX)).expanduser()
    if isinstance(source, str):
        if source not in _names():
            choices = ", ".join(["none", *_names()])
            raise AdapterError(f"adapter {source!r} is unknown; use {choices} or local:PATH")
        source = _entries()[source]
    if not source.is_dir():
        return source
    if (source / WEIGHTS_NAME).exists():
        return source / WEIGHTS_NAME
    files = sorted(source.glob("*.safetensors"))
    if len(files) != 1:
        raise AdapterError(f"adapter folder {source.name!r} holds {len(files)} .safetensors files; name the one to use")
    return files[0]


def _entries() -> dict[str, Path]:
    if not LORA_ROOT.is_dir():
        return {}
    folders = {path.name: path for path in LORA_ROOT.iterdir() if path.is_dir() and any(path.glob("*.safetensors"))}
    return folders | {path.stem: path for path in LORA_ROOT.glob("*.safetensors")}


def _names() -> list[str]:
    return sorted(_entries())


def _display_name(path: Path) -> str:
    return path.resolve().parent.name if path.name == WEIGHTS_NAME else path.stem


def _read_card(path: Path) -> dict[str, Any]:
    card_path = path.parent / "config.json"
    try:
        if not card_path.is_file() or card_path.stat().st_size > MAX_HEADER_BYTES:
            return {}
        card = json.loads(card_path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # the card only describes; the weights have been checked by themselves
    return card if isinstance(card, dict) else {}
