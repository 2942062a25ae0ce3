"""Several LoRAs with a weight each, written as one text: ``clinical:0.8,local:/path/x.safetensors:0.5``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cxr.request.errors import AdapterError
from cxr.request.settings import SETTINGS

LOCAL_PREFIX = "local:"
MAX_ADAPTERS = 8
RESERVED = ("none", "default")
_COMMA = re.compile(r"(?<!\\),")  # one inside a name or path is written "\,"
_WEIGHT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)", re.ASCII)


@dataclass(frozen=True)
class AdapterChoice:
    """One LoRA that was asked for: where it is, and its share of the strength, 0 to 2."""

    source: str
    weight: float = 1.0


def parse_adapters(text: str, exists: Callable[[str], bool] = lambda source: False) -> tuple[AdapterChoice, ...]:
    """Read the text; a single name, "local:PATH" or "hub:OWNER/NAME/FILE" without a weight is one LoRA at weight 1.

    Args:
        text: entries separated by commas. After an entry's last colon stands its weight, if that is a number; paths
            may hold colons.
        exists: whether a text is a LoRA as it stands, so that a file named "a,b" or a folder "run:5" is found.
    Raises:
        AdapterError: an empty entry, too many or equal ones, or a weight out of range.
    """
    if exists(text):
        return (AdapterChoice(text),)
    choices = tuple(_parse_entry(entry.strip(), exists) for entry in _COMMA.split(text))
    if len(choices) > MAX_ADAPTERS:
        raise AdapterError(f"{len(choices)} adapters are named; use at most {MAX_ADAPTERS}")
    sources = [choice.source for choice in choices]
    for source in sources:
        if not source:
            raise AdapterError(f"adapter {text!r} has an empty entry; write NAME:WEIGHT,NAME:WEIGHT")
        if sources.count(source) > 1:
            raise AdapterError(f"adapter {source!r} is named twice; give it one weight")
        if source in RESERVED and (len(choices) > 1 or text != source):
            raise AdapterError(f"adapter {source!r} has to stand alone, without a weight; name LoRAs instead")
    return choices


def format_adapters(choices: Sequence[AdapterChoice]) -> str:
    """The text that ``parse_adapters`` reads as these choices; of a single one at weight 1 it is the source itself."""
    if len(choices) == 1 and choices[0].weight == 1:
        return choices[0].source
    return ",".join(f"{choice.source.replace(',', chr(92) + ',')}:{choice.weight:g}" for choice in choices)


def _parse_entry(entry: str, exists: Callable[[str], bool]) -> AdapterChoice:
    source = entry.replace("\\,", ",")
    head, colon, tail = source.rpartition(":")
    if exists(source) or not colon or not _WEIGHT.fullmatch(tail.strip()):
        return AdapterChoice(source)
    weight = float(tail)
    highest = SETTINGS["adapter_weight"].high
    if not 0 <= weight <= highest:
        raise AdapterError(f"the weight of adapter {head!r} is {tail}; use 0 to {highest:g}")
    return AdapterChoice(head, weight)
