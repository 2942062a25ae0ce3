"""How strong a LoRA wants to be: lora_alpha, from the file's metadata or from the settings that peft writes beside it.

A layer adds alpha / rank times its product. Where nothing says alpha, the rank is taken and the user is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr.lora.safetensors_header import damaged
from cxr.request.errors import AdapterError

MAX_ALPHA = 10_000
MAX_SETTINGS_BYTES = 256 * 2**10
SETTINGS_NAME = "adapter_config.json"  # of peft
METADATA_KEY = "lora_adapter_metadata"  # of diffusers
# Settings of peft that change what the two matrices mean; this program applies plain LoRA only.
UNSUPPORTED_SETTINGS = (
    *("use_dora", "use_rslora", "alpha_pattern", "lora_bias", "modules_to_save", "layer_replication"),
    *("use_qalora", "trainable_token_indices", "fan_in_fan_out"),
)

Shapes = tuple[tuple[int, ...], tuple[int, ...]]


def component_alphas(
    path: Path, metadata: Mapping[str, str], layers: Mapping[tuple[str, str], Shapes]
) -> dict[str, float]:
    """lora_alpha of each component, from the metadata that diffusers writes, else from peft's adapter_config.json.

    Args:
        path: of the LoRA file.
        metadata: of the file.
        layers: shapes of the two matrices of each (component, module).
    Raises:
        AdapterError: the settings are unreadable, out of range, or of more than a plain LoRA.
    """
    components = dict.fromkeys(component for component, _ in layers)
    try:
        settings = json.loads(metadata.get(METADATA_KEY, "{}"))
        alphas = {name: _alpha(path, settings, f"{name}.") for name in components}
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise damaged(path, "its LoRA settings cannot be read") from error
    beside = _settings_beside(path)
    if len(components) == 1 and beside.get("r") in {shape_a[0] for shape_a, _ in layers.values()}:
        (component,) = components
        if alphas[component] is None:
            alphas[component] = _alpha(path, beside, "")
    return {name: alpha for name, alpha in alphas.items() if alpha is not None}


def check_alpha(path: Path, alpha: object) -> float:
    """One alpha as a number.

    Raises:
        AdapterError: it is no number above 0 and at most `MAX_ALPHA`.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
        raise damaged(path, "its LoRA settings cannot be read: lora_alpha is not a number")
    if not 0 < alpha <= MAX_ALPHA:
        raise damaged(path, f"its lora_alpha is {alpha!s:.20}; above 0 and at most {MAX_ALPHA:,} is allowed")
    return float(alpha)


def _alpha(path: Path, settings: Mapping[str, Any], prefix: str) -> float | None:
    for setting in UNSUPPORTED_SETTINGS:
        if settings.get(prefix + setting):
            raise AdapterError(f"LoRA file {path.name!r} uses {setting}, which this program cannot apply")
    alpha = settings.get(f"{prefix}lora_alpha")
    return None if alpha is None else check_alpha(path, alpha)


def _settings_beside(path: Path) -> dict[str, Any]:
    """What peft wrote into the file's folder; empty unless it can be read."""
    beside = path.parent / SETTINGS_NAME
    try:
        if not beside.is_file() or beside.stat().st_size > MAX_SETTINGS_BYTES:
            return {}
        settings = json.loads(beside.read_text(encoding="utf-8"))
        # A list of settings or of ranks is nothing that could be compared.
        return settings if isinstance(settings, dict) and type(settings.get("r")) is int else {}
    except (OSError, ValueError, RecursionError):
        return {}
