"""Find and describe LoRA files: those in ``lora_weights/``, and those that the user points at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr.lora.choice import LOCAL_PREFIX, AdapterChoice, parse_adapters
from cxr.lora.facts import read_card
from cxr.lora.lora_file import LoraFile, read_lora_file
from cxr.lora.safetensors_header import PICKLE_SUFFIXES
from cxr.models.hub.names import HUB_PREFIX
from cxr.request.errors import AdapterError
from cxr.request.model_info import AdapterInfo

LORA_ROOT = Path(__file__).resolve().parents[2] / "lora_weights"
WEIGHTS_NAME = "pytorch_lora_weights.safetensors"


@dataclass(frozen=True)
class AdapterFile:
    """A LoRA that passed every check: its description, what is in the file, and its share of the strength."""

    info: AdapterInfo
    lora: LoraFile
    weight: float = 1.0


def list_adapters() -> tuple[AdapterInfo, ...]:
    """Describe every usable LoRA in ``lora_weights/``, by name; broken ones are left out."""
    found = []
    for name in adapter_names():
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
    return read_adapter(AdapterChoice(source) if isinstance(source, str) else source).info


def describe_adapters(text: str) -> tuple[AdapterInfo, ...]:
    """As ``describe_adapter``, for one LoRA or several with their weights, as ``parse_adapters`` reads them."""
    return tuple(file.info for file in read_adapters(text))


def read_adapters(source: str | Path) -> tuple[AdapterFile, ...]:
    """Read and check what a text names, or the one LoRA at a Path.

    Raises:
        AdapterError: one of them is unknown, unreadable, foreign or unsafe, or the same file is there twice.
    """
    if isinstance(source, Path):
        return (read_adapter(source),)
    files = tuple(read_adapter(choice) for choice in parse_adapters(source, _exists))
    if len({file.info.sha256 for file in files}) != len(files):
        raise AdapterError(f"adapter {source!r} names the same LoRA twice; give it one weight")
    return files


def read_adapter(choice: AdapterChoice | Path) -> AdapterFile:
    """Read and check one LoRA; errors as for ``describe_adapter``."""
    source = choice if isinstance(choice, Path) else choice.source
    path = find_adapter(source)
    lora = read_lora_file(path)
    ranks = [layer.rank for layer in lora.layers]
    alphas = [layer.alpha for layer in lora.layers if layer.alpha is not None]
    info = AdapterInfo(
        name=_display_name(source, path),
        path=path,
        sha256=lora.sha256,
        rank=max(ranks),
        lora_alpha=alphas[0] if alphas else float(max(ranks)),
        num_tensors=lora.num_tensors,
        size_bytes=lora.num_bytes,
        **read_card(path, lora.metadata),
        notes=_notes(lora, alphas),
        components=lora.components,
        num_layers=len(lora.layers),
        min_rank=min(ranks),
        has_alpha=bool(alphas),
    )
    return AdapterFile(info, lora, 1.0 if isinstance(choice, Path) else choice.weight)


def find_adapter(source: str | Path) -> Path:
    """The safetensors file that a name, "local:PATH", "hub:OWNER/NAME/FILE" or Path stands for.

    Raises:
        AdapterError: there is none, or more than one.
        HubError: the Hub refused it, or cannot be reached.
    """
    if isinstance(source, str) and source.startswith(HUB_PREFIX):
        from cxr.lora.hub_file import download_adapter  # huggingface_hub takes its time to import, and most need no Hub

        return download_adapter(source.removeprefix(HUB_PREFIX))
    if isinstance(source, str) and source.startswith(LOCAL_PREFIX):
        source = _local_path(source)
    if isinstance(source, str):
        if source not in adapter_names():
            choices = ", ".join(["none", *adapter_names()])
            raise AdapterError(f"adapter {source!r} is unknown; use {choices} or local:PATH")
        source = _entries()[source]
    if not source.is_dir():
        return source
    if (source / WEIGHTS_NAME).exists():
        return source / WEIGHTS_NAME
    files = sorted(source.glob("*.safetensors"))
    if not files:
        files = sorted(path for path in source.iterdir() if path.suffix in PICKLE_SUFFIXES)  # told how to convert it
    if len(files) != 1:
        raise AdapterError(f"adapter folder {source.name!r} holds {len(files)} .safetensors files; name the one to use")
    return files[0]


def _exists(source: str) -> bool:
    if not source.startswith(LOCAL_PREFIX):
        return source in adapter_names()
    try:
        return _local_path(source).exists()
    except (OSError, ValueError):
        return False


def _local_path(source: str) -> Path:
    try:
        return Path(source.removeprefix(LOCAL_PREFIX)).expanduser()
    except RuntimeError as error:  # "~" of a user who does not exist
        raise AdapterError(f"adapter {source!r} cannot be read: {error}") from error


def _entries() -> dict[str, Path]:
    if not LORA_ROOT.is_dir():
        return {}
    folders = {path.name: path for path in LORA_ROOT.iterdir() if path.is_dir() and any(path.glob("*.safetensors"))}
    return folders | {path.stem: path for path in LORA_ROOT.glob("*.safetensors")}


def adapter_names() -> list[str]:
    """The LoRAs in ``lora_weights/`` by name, whether they can be used or not; no file is opened."""
    return sorted(_entries())


def _display_name(source: str | Path, path: Path) -> str:
    if isinstance(source, str) and source.startswith(HUB_PREFIX):
        return source  # public, and enough to find it again
    return path.resolve().parent.name if path.name == WEIGHTS_NAME else path.stem


def _notes(lora: LoraFile, alphas: Sequence[float]) -> tuple[str, ...]:
    notes = []
    if missing := " and ".join(lora.components_without_alpha):
        notes.append(f"no alpha in the file for {missing}: the rank is used")
    if alphas and min(alphas) != max(alphas):
        notes.append(f"alpha differs between layers, from {min(alphas):g} to {max(alphas):g}")
    if any(layer.use_rslora and layer.alpha is not None for layer in lora.layers):
        notes.append("rank-stabilised: alpha is divided by the square root of the rank")
    return tuple(notes)
