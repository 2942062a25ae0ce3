"""A whole model of the Hub: only the files that its family needs, in one variant."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from cxr.models.families import Family
from cxr.models.families.folder_check import INDEX, ModelFolder, check_index, read_model_settings
from cxr.models.families.weight_files import weight_file, weight_files
from cxr.models.hub.fetch import fetch, from_hub_or_cache
from cxr.models.hub.listing import Listing
from cxr.models.hub.names import COMMIT
from cxr.models.preset_table import Preset
from cxr.request.errors import HubError


def download_model(preset: Preset, *, variant: str | None = None) -> ModelFolder:
    """The model's folder in the Hub's cache, downloaded where it is not there yet.

    Args:
        preset: of a model of the Hub.
        variant: "fp16" to take the smaller files where the model has them.
    Raises:
        HubError: the Hub refused, or the model is not one that this program runs.
        HubUnreachableError: the Hub cannot be reached, and the cache holds no complete copy.
    """
    lacking = "this machine holds no complete copy of it"
    take = partial(_take, preset, variant)
    (folder, commit, variant), why = from_hub_or_cache(preset.hub_id, preset.revision, take, lacking)
    notes = preset.notes
    if why:
        notes += (f"{why}; the copy of {preset.hub_id} on this machine is used.",)
    elif not COMMIT.fullmatch(preset.revision or ""):
        notes += (f"{preset.hub_id} is unpinned: its newest files were taken; the recipe names the commit.",)
    return ModelFolder(preset.name, folder, f"hub:{preset.hub_id}@{commit}", variant, notes)


def _take(preset: Preset, variant: str | None, listing: Listing) -> tuple[Path, str, str | None]:
    """Fetch what is missing of a listing; all of it is checked. Gives the folder, its commit and its variant."""
    index = read_model_settings(ModelFolder(preset.name, fetch(listing, [INDEX])), INDEX)
    family = check_index(index, preset.name, preset.family)
    if not all(weight_file(component, listing.files, variant) for component in family.weighted):
        variant = None
    paths = sorted({INDEX, *_settings(family, listing), *_weights(preset, family, listing, variant)})
    return fetch(listing, paths), listing.commit, variant


def _settings(family: Family, listing: Listing) -> Iterator[str]:
    """Everything small in the folders of the components; a missing file is named."""
    for choices in family.required_files:
        if not any(name in listing.files for name in choices):
            raise HubError(f"{listing.repo_id} is incomplete: {choices[0]} is missing on the Hub")
    for name in listing.files:
        folder, _, rest = name.partition("/")
        if folder in family.components and "/" not in rest and ".safetensors" not in rest:
            yield name


def _weights(preset: Preset, family: Family, listing: Listing, variant: str | None) -> Iterator[str]:
    def read(file: str) -> dict[str, object]:
        return read_model_settings(ModelFolder(preset.name, fetch(listing, [file])), file)

    for component in family.weighted:
        files = weight_files(component, listing.files, variant, read, preset.name)
        if not files:
            raise HubError(f"{listing.repo_id} is incomplete: {component} has no .safetensors file on the Hub")
        yield from files
