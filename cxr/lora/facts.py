"""What a LoRA says about itself, for people: facts from its card, never settings.

They come from config.json beside the file, else from the YAML head of its README.md, else from the file's own metadata.
All of it is text of third parties: kept short and to one line, and to be escaped wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cxr.lora.strength import parse_object, read_small_text
from cxr.request.messages import printable
from cxr.request.model_info import AdapterInfo

MAX_FRONT_MATTER_CHARACTERS = 8 * 2**10
MAX_DEPTH = 10  # of nested lists and mappings
MAX_FACT_CHARACTERS = 200
MAX_LISTED = 8
UNKNOWN = "unknown"
# What the fact is called in config.json and Hub model cards, and in kohya's and Stability's metadata.
KEYS = {
    "base_model": (
        *("base_model", "base_model_name_or_path"),
        *("ss_sd_model_name", "ss_base_model_version", "modelspec.architecture"),
    ),
    "license": ("license", "licence", "modelspec.license"),
    "training_data": ("training_data", "datasets", "dataset", "ss_dataset", "modelspec.training_data"),
}


def read_card(path: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    """The three facts that decide whether one may use a LoRA; an unreadable card counts as none, as it only describes.

    Args:
        path: of the LoRA file; cards lie in its folder.
        metadata: of the safetensors header.
    Returns:
        Texts by their names in `AdapterInfo`; "unknown" where nothing says so.
    """
    sources = (
        parse_object(read_small_text(path.with_name("config.json"))),
        _read_front_matter(path.with_name("README.md")),
        metadata,
    )
    return {fact: _first(sources, keys) for fact, keys in KEYS.items()}


def card_rows(info: AdapterInfo) -> tuple[tuple[str, str], ...]:
    """The card as (what, fact) rows; facts are plain text, not escaped."""
    rank = str(info.rank) if info.min_rank in (0, info.rank) else f"{info.min_rank} to {info.rank}"
    alpha = f"{info.lora_alpha:g}" if info.has_alpha else "not in the file; the rank is used"
    return (
        ("Rank", rank),
        ("Alpha", alpha),
        ("Changes", ", ".join(info.components) or UNKNOWN),
        ("Layers", f"{info.num_layers:,}"),
        ("Base model", info.base_model),
        ("Training data", info.training_data),
        ("Licence", info.license),
        ("Size", f"{info.size_bytes / 1e6:.1f} MB in {info.num_tensors:,} tensors"),
        ("SHA-256", info.sha256),
        *(("Note", note) for note in info.notes),
    )


def _first(sources: Sequence[Mapping[str, object]], keys: Sequence[str]) -> str:
    for source in sources:
        for key in keys:
            if fact := _fact(source.get(key)):
                return fact
    return UNKNOWN


def _fact(value: object) -> str:
    """A text, or a list of texts, as one short line; empty for anything else."""
    if isinstance(value, list):
        texts = [text for text in value[:MAX_LISTED] if isinstance(text, str)]
        value = ", ".join(text[:MAX_FACT_CHARACTERS] for text in texts)
    if not isinstance(value, str):
        return ""
    line = printable(" ".join(value[: 2 * MAX_FACT_CHARACTERS].split()))
    return line if len(line) <= MAX_FACT_CHARACTERS else line[: MAX_FACT_CHARACTERS - 1] + "…"


def _read_front_matter(path: Path) -> dict[str, object]:
    """The YAML between the first two lines of dashes."""
    text = read_small_text(path)
    head, fence, _ = text.removeprefix("---\n").partition("\n---")
    if not text.startswith("---\n") or not fence or len(head) > MAX_FRONT_MATTER_CHARACTERS:
        return {}
    import yaml  # cards in YAML are rare, and the command line's help should come at once

    try:
        depth = 0
        for event in yaml.parse(head, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            # A few aliases can stand for gigabytes, and deep nesting takes the parser seconds.
            if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
                return {}
        card = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError):
        return {}
    return card if isinstance(card, dict) else {}
