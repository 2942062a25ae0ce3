"""How strong a LoRA wants to be: from the file's metadata, or from the settings that peft writes beside it.

A layer adds alpha / rank times its product, or alpha / √rank when it is rank-stabilised. Where nothing says alpha, the
rank is taken and the user is told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cxr.lora.safetensors_header import damaged
from cxr.lora.tensor_names import COMPONENTS
from cxr.request.errors import AdapterError
from cxr.request.messages import shown

MAX_ALPHA = 10_000
MAX_TEXT_BYTES = 256 * 2**10
SETTINGS_NAME = "adapter_config.json"  # of peft
METADATA_KEY = "lora_adapter_metadata"  # of diffusers
LORA = "LORA"  # what peft calls the plain kind
CONVERTED_KEY = "adapter_config"  # of this program: what lay beside a file that it converted
# Settings of peft that change what the two matrices mean; this program applies plain LoRA only.
UNSUPPORTED_SETTINGS = (
    *("use_dora", "lora_bias", "modules_to_save", "layer_replication", "use_qalora", "trainable_token_indices"),
    *("target_parameters", "use_bdlora", "arrow_config", "kasa_config", "monteclora_config"),
    "alora_invocation_tokens",
)
# Ways to start training that leave the base model as it is. PiSSA, OLoRA, LoftQ, CorDA and others take a part of its
# weights out, so that their product is only right on a base that was changed in the same way.
PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
# A pattern is a regular expression of a third party; with few wildcards and groups, none of them repeated, it cannot
# take long.
_ATOM = r"(\w|(\.|\\[dw]|\[[\w-]+\])[*+]?|\\\.)"
_GROUP = rf"\((\?:)?{_ATOM}+(\|{_ATOM}+)*\)(?![*+])"
_CHOICE = rf"\^?({_ATOM}|{_GROUP})+\$?"
SIMPLE_PATTERN = re.compile(rf"{_CHOICE}(\|{_CHOICE})*", re.ASCII)
PLAIN_PATTERN = re.compile(r"\^?\w+(\.\w+)*", re.ASCII)
MAX_WILDCARDS, MAX_CHOICES, MAX_WILD_PATTERNS = 3, 8, 50


@dataclass(frozen=True)
class LoraSettings:
    """What settings say of one network's layers.

    Args:
        lora_alpha: of all layers, or None where nothing says it.
        alpha_pattern: peft's pattern -> alpha of the layers whose name ends so.
        use_rslora: whether layers are rank-stabilised.
    """

    lora_alpha: float | None = None
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    use_rslora: bool = False

    def alpha(self, module: str) -> float | None:
        """The alpha of one layer: of the first pattern that fits its name, as peft chooses, else that of all.

        Args:
            module: name of the layer in its network.
        """
        ends = [f"^{module}", module, *(module[dot.end() :] for dot in re.finditer(r"\.", module))]
        fitting = [end for end in ends if end in self._order]
        fitting += [pattern for pattern in self._wild if re.match(rf"(.*\.)?({pattern})$", module)]
        return self.alpha_pattern[min(fitting, key=self._order.__getitem__)] if fitting else self.lora_alpha

    @cached_property
    def _order(self) -> dict[str, int]:
        return {pattern: number for number, pattern in enumerate(self.alpha_pattern)}

    @cached_property
    def _wild(self) -> list[str]:
        return [pattern for pattern in self.alpha_pattern if not PLAIN_PATTERN.fullmatch(pattern)]


def read_lora_settings(
    path: Path, metadata: Mapping[str, str], ranks: Mapping[tuple[str, str], int]
) -> dict[str, LoraSettings]:
    """The settings of each component, from the metadata that diffusers writes, else from peft's adapter_config.json.

    Args:
        ranks: of each (component, module).
    Raises:
        AdapterError: the settings are unreadable, out of range, or of more than a plain LoRA.
    """
    components = dict.fromkeys(component for component, _ in ranks)
    try:
        inside = json.loads(metadata.get(METADATA_KEY, "{}"))
        # Of a single network that was saved by itself, diffusers does not say in front which one it is.
        is_bare = len(components) == 1 and not any(key.partition(".")[0] in COMPONENTS for key in inside)
        settings = {name: _check(path, inside, "" if is_bare else f"{name}.") for name in components}
        beside = parse_object(metadata.get(CONVERTED_KEY) or read_text_beside(path))
        if type(beside.get("r")) is not int:  # a list of ranks is nothing that could be compared
            beside = {}
        described = {beside.get("r"), *(beside.get("rank_pattern") or {}).values()}
        if described & set(ranks.values()):
            for component, found in settings.items():
                if found.lora_alpha is None:
                    settings[component] = _check(path, beside, "")
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise damaged(path, "its LoRA settings cannot be read") from error
    return settings


def check_alpha(path: Path, alpha: object) -> float:
    """One alpha as a number.

    Raises:
        AdapterError: it is not a number above 0 and at most `MAX_ALPHA`.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
        raise damaged(path, "its LoRA settings cannot be read: lora_alpha is not a number")
    if not 0 < alpha <= MAX_ALPHA:
        raise damaged(path, f"its lora_alpha is {alpha!s:.20}; above 0 and at most {MAX_ALPHA:,} is allowed")
    return float(alpha)


def _check(path: Path, settings: Mapping[str, Any], prefix: str) -> LoraSettings:
    label = f"LoRA file {path.name!r}"
    for setting in UNSUPPORTED_SETTINGS:
        if settings.get(prefix + setting):
            raise AdapterError(f"{label} uses {setting}, which this program cannot apply")
    start = settings.get(f"{prefix}init_lora_weights")
    if not isinstance(start, (str, bool, type(None))) or start not in PLAIN_STARTS:
        raise AdapterError(
            f"{label} was trained from init_lora_weights {str(start)[:20]!r}, which changes the base model too; "
            "convert it to a plain LoRA: save_pretrained with path_initial_model_for_weight_conversion, of peft"
        )
    stabilised = settings.get(f"{prefix}use_rslora") or False
    if not isinstance(stabilised, bool):  # "false" would count as true
        raise damaged(
            path, f"its LoRA settings cannot be read: use_rslora is {str(stabilised)[:20]!r}, not true or false"
        )
    if (kind := settings.get(f"{prefix}peft_type") or LORA) != LORA:
        raise AdapterError(
            f"{label} is {shown(kind)} by its settings, which this program cannot apply; use a plain LoRA"
        )
    alpha, pattern = settings.get(f"{prefix}lora_alpha"), settings.get(f"{prefix}alpha_pattern") or {}
    _check_pattern(label, pattern)
    if stabilised and alpha is None:
        raise damaged(path, "its LoRA settings say use_rslora, and no lora_alpha that would be scaled by it")
    return LoraSettings(
        None if alpha is None else check_alpha(path, alpha),
        {name: check_alpha(path, value) for name, value in pattern.items()},
        stabilised,
    )


def _check_pattern(label: str, pattern: Mapping[str, object]) -> None:
    wild = [name for name in pattern if not PLAIN_PATTERN.fullmatch(name)]
    if not all(map(_is_simple, wild)) or len(wild) > MAX_WILD_PATTERNS:
        raise AdapterError(f"{label} uses an alpha_pattern of more than plain names, which this program cannot apply")


def _is_simple(pattern: str) -> bool:
    is_short = len(re.findall(r"[*+(]", pattern)) <= MAX_WILDCARDS and pattern.count("|") <= MAX_CHOICES
    if not is_short or SIMPLE_PATTERN.fullmatch(pattern) is None:
        return False
    try:
        re.compile(pattern)
    except re.error:  # [z-a]
        return False
    return True


def read_text_beside(path: Path) -> str:
    """What peft wrote into the file's folder; empty unless it can be read."""
    return read_small_text(path.with_name(SETTINGS_NAME))


def read_small_text(path: Path) -> str:
    """A small file of a third party; empty unless it can be read and has at most `MAX_TEXT_BYTES`."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_TEXT_BYTES:
            return ""
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def parse_object(text: str) -> dict[str, Any]:
    """The JSON object in a text; empty if there is none."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
