"""The files of a component's weights, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping

from cxr.request.errors import ModelError

SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors", re.ASCII)


def weight_names(component: str, variant: str | None) -> tuple[str, str]:
    """How the file of a component's weights is called, and how the one that lists several.

    Args:
        component: its folder.
        variant: "fp16" or None.
    """
    base = f"{component}/{'model' if component.startswith('text_encoder') else 'diffusion_pytorch_model'}"
    part = f".{variant}" if variant else ""
    return f"{base}{part}.safetensors", f"{base}.safetensors.index{part}.json"


def weight_file(component: str, names: Container[str], variant: str | None) -> str | None:
    """The one of ``weight_names`` that is there, or None."""
    return next((name for name in weight_names(component, variant) if name in names), None)


def weight_files(
    component: str, names: Container[str], variant: str | None, read: Callable[[str], Mapping[str, object]], name: str
) -> list[str]:
    """The files of a component's weights: one, or the list of several and these; none where there is neither.

    Args:
        component: its folder.
        names: of the files that there are.
        variant: "fp16" or None.
        read: gives the content of such a list.
        name: of the model, for messages.
    Raises:
        ModelError: the list names no files, or files elsewhere.
    """
    file = weight_file(component, names, variant)
    if file is None or not file.endswith(".json"):
        return [file] if file else []
    return [file, *shards(read(file), file, name)]


def shards(index: Mapping[str, object], file: str, name: str) -> list[str]:
    """The files that an index lists, which lie in its folder.

    Args:
        index: content of a ``*.safetensors.index.json``.
        file: its path in the model.
        name: of the model, for messages.
    Raises:
        ModelError: it names no files, or files elsewhere.
    """
    listed = index.get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise ModelError(f"model {name!r} has an unreadable {file}: it lists no files")
    folder = file.rpartition("/")[0]
    for value in listed.values():
        # accelerate once opened whatever path stood here (CVE-2026-69112)
        if not isinstance(value, str) or not SHARD.fullmatch(value):
            raise ModelError(f"model {name!r} is refused: {file} names a file that is not a plain .safetensors name")
    return sorted({f"{folder}/{value}" for value in listed.values()})
