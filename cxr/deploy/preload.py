"""Which files of a model of the Hub are worth having on a Space's disk before it starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from cxr.models.families import FAMILIES
from cxr.models.families.folder_check import INDEX
from cxr.models.families.weight_files import weight_file
from cxr.models.hub.names import ALLOWED_SUFFIXES

COMPONENTS = sorted({component for family in FAMILIES.values() for component in family.components})
WEIGHTS_SUFFIX = ".safetensors"
HALF = "fp16"


def preload_line(hub_id: str, revision: str | None, names: Iterable[str], *, half_precision: bool) -> str:
    """One entry of preload_from_hub: the repository, the files that the program reads, and the commit.

    Repositories hold the same weights several times; without a list all would be downloaded.

    Args:
        hub_id: "owner/name".
        revision: commit, branch or tag; None for the newest.
        names: of all files in the repository.
        half_precision: take the float16 files, as on a GPU, if all components have them.
    """
    inside = {name for name in names if name == INDEX or _is_component(name)}
    weighted = [part for part in COMPONENTS if any(weight_file(part, inside, variant) for variant in (None, HALF))]
    use_half = half_precision and all(weight_file(part, inside, HALF) for part in weighted)
    chosen = {name for name in inside if name.endswith(ALLOWED_SUFFIXES) and WEIGHTS_SUFFIX not in name}
    for part in weighted:
        file = weight_file(part, inside, HALF if use_half else None)
        chosen |= {file} if file else set()
        if file and file.endswith(".json"):  # it lists several
            chosen |= {name for name in inside if _is_shard(name, part) and (HALF in name) == use_half}
    return " ".join([hub_id, ",".join(sorted(chosen)), *([revision] if revision else [])])


def _is_component(name: str) -> bool:
    return name.count("/") == 1 and name.split("/")[0] in COMPONENTS


def _is_shard(name: str, component: str) -> bool:
    path = PurePosixPath(name)
    return path.parent.name == component and path.suffix == WEIGHTS_SUFFIX and "-of-" in path.name
