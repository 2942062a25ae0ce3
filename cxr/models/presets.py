"""What the user calls a model -> its preset, and what a preset says of prompts, values and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr.models.hub.names import HUB_ID, HUB_PREFIX, MOVED, REVISION
from cxr.models.preset_table import PRESETS, Preset
from cxr.request.errors import ModelError


def request_defaults(model: str | None) -> dict[str, Any]:
    """A model's own default values of a request; empty if it uses the program's.

    Args:
        model: as for ``find_preset``.
    Raises:
        ModelError: as ``find_preset``.
    """
    return dict(find_preset(model).defaults)


def prompt_form_of(model: str | None) -> str:
    """The form in which a model reads prompts; "plain" if that was not recorded, and for an unknown model.

    Args:
        model: as for ``find_preset``.
    """
    try:
        return find_preset(model).prompt_form
    except ModelError:
        return "plain"


def image_size(unet: Mapping[str, Any], vae: Mapping[str, Any]) -> tuple[int, int]:
    """Side of a model's images in pixels, and how many times smaller its latents are.

    Args:
        unet: its config.json.
        vae: config.json of its autoencoder.
    Raises:
        KeyError: they do not say.
        TypeError: what they say is not a size.
    """
    scale_factor = 2 ** (len(vae["block_out_channels"]) - 1)
    return int(unet["sample_size"]) * scale_factor, scale_factor


def find_preset(model: str | None) -> Preset:
    """The preset of that name, or one for a local folder or a model of the Hub that is not in the table.

    Args:
        model: None or "" for the model that ships with the program, a name of the table, the path of a folder in
            diffusers format, or "owner/name", "owner/name@revision" of the Hub, with or without "hub:" before it. A
            folder that exists wins over a model of the Hub.
    Raises:
        ModelError: none of these, or a model of the table that cannot be used.
    """
    if not model:
        return PRESETS["embedded"]
    if model in PRESETS:
        if PRESETS[model].unusable:
            raise ModelError(f"model {model!r} cannot be used here: {PRESETS[model].unusable}")
        return PRESETS[model]
    if not model.startswith(HUB_PREFIX) and (folder := _folder_of(model)):
        # The folder's own name, not its path: recipes are published and must not reveal where a user's files are.
        return Preset(folder.resolve().name, folder=folder)
    hub_id, at, revision = model.removeprefix(HUB_PREFIX).partition("@")
    if not HUB_ID.fullmatch(hub_id) or ".." in model or (at and not REVISION.fullmatch(revision)):
        names = ", ".join(name for name, preset in PRESETS.items() if not preset.unusable)
        raise ModelError(
            f"model {model!r} is unknown; use {names}, the path of a folder in diffusers format, "
            "or owner/name[@revision] of the Hugging Face Hub"
        )
    current = MOVED.get(hub_id, hub_id)
    notes = () if current == hub_id else (f"{hub_id} is gone from the Hub; {current} is used in its place.",)
    return Preset(current, hub_id=current, revision=revision or None, notes=notes)


def _folder_of(path: str) -> Path | None:
    """The folder at a path; None if there is none that can be looked at, whatever the text is."""
    try:
        folder = Path(path).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long, in a closed folder, or "~" of an unknown user
        return None
