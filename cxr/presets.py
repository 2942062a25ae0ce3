"""Table of base models: where they lie, what they make, and which LoRA belongs to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxr.errors import ModelError

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"


@dataclass(frozen=True)
class Preset:
    """One base model.

    Args:
        name: what the user types and what the recipe says.
        folder: the model in diffusers folder format.
        resolution: height and width of its images in pixels, or None when only the folder knows.
        license: SPDX id of the weights' licence.
        default_adapter: name of its LoRA in ``lora_weights/``, or "none".
    """

    name: str
    folder: Path
    resolution: int | None
    license: str
    default_adapter: str


PRESETS: dict[str, Preset] = {
    "embedded": Preset("embedded", EMBEDDED_FOLDER, 256, "Apache-2.0", "clinical"),
}


def find_preset(model: str | None) -> Preset:
    """The preset of that name, or one for a local folder in diffusers format.

    Args:
        model: None or "" for the model that ships with the program, a name of the table, or a folder.
    Raises:
        ModelError: neither a name of the table nor a folder.
    """
    if not model:
        return PRESETS["embedded"]
    if model in PRESETS:
        return PRESETS[model]
    folder = Path(model).expanduser()
    if not folder.is_dir():
        names = ", ".join(PRESETS)
        raise ModelError(f"model {model!r} is unknown; use {names}, or the path of a folder in diffusers format")
    # The folder's own name, not its path: recipes are published and must not tell where somebody's files lie.
    return Preset(folder.resolve().name, folder, None, "unknown", "none")
