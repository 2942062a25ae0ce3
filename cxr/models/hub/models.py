"""A whole model of the Hub: only the files that its family needs, in one variant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cxr.models.families import Family
from cxr.models.families.files import INDEX, ModelFolder, check_index, has_variant, shards, weight_file
from cxr.models.hub.connection import is_offline
from cxr.models.hub.download import fetch
from cxr.models.hub.listing import Listing, ask_cache, ask_hub
from cxr.models.presets import COMMIT, Preset
from cxr.request.errors import HubError, HubUnreachableError, ModelError


def download_model(preset: Preset, *, variant: str | None = None) -> ModelFolder:
    """The model's folder in the Hub's cache, downloaded where it is not there yet.

    A pinned model that is complete in the cache is taken from there without asking the Hub; any other is asked for, and
    taken from the cache when the Hub cannot be reached.

    Args:
        preset: of a model of the Hub.
        variant: "fp16" to take the smaller files where the model has them.
    Raises:
        HubError: the Hub refused, or the model is not one that this program runs.
        HubUnreachableError: the Hub cannot be reached, and the cache holds no complete copy.
    """
    kept = ask_cache(preset.hub_id, preset.revision)
    if kept is not None and (preset.is_pinned or is_offline()):
        why = "The Hub may not be asked (HF_HUB_OFFLINE)"
        found = _complete(preset, kept, variant, () if preset.is_pinned else _copy_note(preset, why))
        if found is not None:
            return found
    try:
        if is_offline():
            raise HubUnreachableError(f"the Hub may not be asked for {preset.hub_id}: HF_HUB_OFFLINE is set")
        return _from(preset, ask_hub(preset.hub_id, preset.revision), variant, _pin_note(preset))
    except HubUnreachableError as error:
        note = _copy_note(preset, "The Hub cannot be reached")
        found = None if kept is None else _complete(preset, kept, variant, note)
        if found is None:
            raise HubUnreachableError(f"{error}, and this machine holds no complete copy of it") from error
        return found


def _complete(preset: Preset, kept: Listing, variant: str | None, note: tuple[str, ...]) -> ModelFolder | None:
    """The cache's copy, or None where files of it are missing or damaged."""
    try:
        return _from(preset, kept, variant, note)
    except HubError:
        return None


def _from(preset: Preset, listing: Listing, variant: str | None, notes: tuple[str, ...]) -> ModelFolder:
    """Fetch what is missing of a listing; all of it is checked."""
    index = _read(preset, listing, INDEX)
    family = check_index(index, preset.name, preset.family)
    if variant is not None and not has_variant(family, listing.files, variant):
        variant = None
    paths = sorted({INDEX, *_settings(family, listing), *_weights(preset, family, listing, variant)})
    folder = fetch(listing, paths, preset.revision)
    revision = f"hub:{listing.repo_id}@{listing.commit}"
    return ModelFolder(preset.name, folder, revision, variant, (*preset.notes, *notes))


def _settings(family: Family, listing: Listing) -> Iterator[str]:
    """Everything small in the folders of the components; one missing file is told by its name."""
    for choices in family.required_files:
        if not any(name in listing.files for name in choices):
            raise HubError(f"{listing.repo_id} is incomplete: {choices[0]} is missing on the Hub")
    for name in listing.files:
        folder, _, rest = name.partition("/")
        if folder in family.components and "/" not in rest and ".safetensors" not in rest:
            yield name


def _weights(preset: Preset, family: Family, listing: Listing, variant: str | None) -> Iterator[str]:
    for component in family.weighted:
        file = weight_file(component, listing.files, variant)
        if file is None:
            raise HubError(f"{listing.repo_id} is incomplete: {component} has no .safetensors file on the Hub")
        yield file
        if file.endswith(".json"):
            yield from shards(_read(preset, listing, file), file, preset.name).values()


def _read(preset: Preset, listing: Listing, path: str) -> dict[str, Any]:
    folder = fetch(listing, [path], preset.revision)
    try:
        content = json.loads((folder / path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"model {preset.name!r} has an unreadable {path}: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"model {preset.name!r} has an unreadable {path}: it is not a JSON object")
    return content


def _copy_note(preset: Preset, why: str) -> tuple[str, ...]:
    return (f"{why}; the copy of {preset.hub_id} on this machine is used.",)


def _pin_note(preset: Preset) -> tuple[str, ...]:
    if COMMIT.fullmatch(preset.revision or ""):
        return ()
    return (f"{preset.hub_id} is unpinned: its newest files were taken; the recipe names the commit.",)
