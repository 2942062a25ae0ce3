"""Which files of a model of the Hub are worth having on a Space's disk before it starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

SETTINGS_SUFFIXES = {".json", ".txt", ".model"}
INDEX = "model_index.json"
COMPONENTS = ("scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "transformer", "unet", "vae")


def preload_line(hub_id: str, revision: str | None, names: Iterable[str], *, half_precision: bool) -> str:
    """One entry of preload_from_hub: the repository, the files that the program reads, and the commit.

    Repositories hold the same weights several times; without a list all would be downloaded.

    Args:
        hub_id: "owner/name".
        revision: commit, branch or tag; None for the newest.
        names: of all files in the repository.
        half_precision: take the float16 files, as on a GPU, if all components have them.
    """
    inside = [name for name in names if name == INDEX or _is_component(name)]
    weights = [name for name in inside if name.endswith(".safetensors")]
    half = {name for name in weights if ".fp16." in name}
    folders = {PurePosixPath(name).parent for name in weights}
    use_half = half_precision and {PurePosixPath(name).parent for name in half} == folders
    chosen = [name for name in weights if (name in half) == use_half and "non_ema" not in name]
    settings = [name for name in inside if PurePosixPath(name).suffix in SETTINGS_SUFFIXES]
    return " ".join([hub_id, ",".join(sorted([*settings, *chosen])), *([revision] if revision else [])])


def _is_component(name: str) -> bool:
    return name.count("/") == 1 and name.split("/")[0] in COMPONENTS
