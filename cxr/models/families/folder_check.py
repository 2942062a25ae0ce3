"""What a model folder must hold, checked by name before any class is looked up or any weight is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cxr.images.guarded import read_regular, reason_of
from cxr.models.families import FAMILIES, Family
from cxr.request.errors import ModelError

INDEX, ADAPTER = "model_index.json", "adapter_config.json"
MAX_SETTINGS_BYTES = 100_000_000  # vocabularies have tens of millions
# Settings that make the libraries import code that comes with the weights, or ask the Hub for kernels.
CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipeline", "custom_pipelines", "custom_code"})
CODE_KEYS |= {"use_kernels", "kernel_config", "quantization_config"}
IMPLEMENTATION = re.compile(r"_?\w+_implementation(_internal)?", re.ASCII)  # of attention, of experts
VOCABULARIES = ("tokenizer.json", "vocab.json")  # as large as a million entries, and nothing below is a setting
OWN_IMPLEMENTATIONS = (None, "eager", "sdpa", "flex_attention")  # anything else may come from the Hub as a kernel
LIBRARIES = frozenset({"diffusers", "transformers"})


@dataclass(frozen=True)
class ModelFolder:
    """A model on this disk.

    Args:
        name: what messages and recipes call it.
        path: its folder in diffusers format.
        revision: "hub:ID@commit", or "" where the content's hash is to say it.
        variant: "fp16" to read the files of that name, or None.
        notes: what the user should know about where it came from.
    """

    name: str
    path: Path
    revision: str = ""
    variant: str | None = None
    notes: tuple[str, ...] = ()


def check_index(index: Mapping[str, object], name: str, expected: str | None = None) -> Family:
    """The family that a model_index.json stands for.

    Args:
        name: of the model, for messages.
        expected: the only pipeline class that is allowed, or None for all known ones.
    Raises:
        ModelError: it names another pipeline, another component class, or code of its own.
    """
    check_settings(index, INDEX, name)
    found = index.get("_class_name")
    choices = [expected] if expected else list(FAMILIES)
    if not isinstance(found, str) or found not in choices:
        shown = found if isinstance(found, str) else "a class of its own"
        raise ModelError(f"model {name!r} is {str(shown)[:60]!r}; this program runs {', '.join(choices)}")
    family = FAMILIES[found]
    for component, value in index.items():
        if not component.startswith("_") and isinstance(value, list) and component not in family.ignored:
            _check_component(family, component, value, name)
    if missing := [component for component in family.components if not isinstance(index.get(component), list)]:
        raise ModelError(f"model {name!r} {_not_made_of(family)}: {missing[0]} is missing")
    return family


def read_model_settings(model: ModelFolder, name: str) -> dict[str, object]:
    """One of the model's JSON files.

    Raises:
        ModelError: it is not a JSON object.
    """
    path, label = model.path / name, f"model {model.name!r} has an unreadable {name}"
    try:
        settings = json.loads(read_regular(path, MAX_SETTINGS_BYTES).decode())
    except OSError as error:
        raise ModelError(f"{label}: it is {reason_of(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{label}: {error}") from error
    if not isinstance(settings, dict):
        raise ModelError(f"{label}: it is not a JSON object")
    return settings


def check_folders(model: ModelFolder, parts: Iterable[str]) -> dict[str, dict[str, object]]:
    """Look through a model's folders before a library does: for pipes, and for settings that would run code.

    Args:
        parts: its folders that are going to be read.
    Returns:
        The settings in them, by file.
    Raises:
        ModelError: there is such a thing, or settings cannot be read.
    """
    found = {}
    folders = [model.path / part for part in ("", *parts)]
    for path in (path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())):
        file = path.relative_to(model.path).as_posix()
        if path.exists() and not path.is_file() and not path.is_dir():  # reading it might never end
            raise ModelError(f"model {model.name!r} is refused: {file} is not a regular file")
        if path.name == ADAPTER and "/" in file:  # transformers would add it, unseen, and read the base that it names
            raise ModelError(f"model {model.name!r} is refused: it holds a LoRA of its own ({file}); use --adapter")
        if path.suffix == ".json" and "/" in file and path.is_file():
            found[file] = read_model_settings(model, file)
            check_settings(found[file], file, model.name)
    return found


def check_settings(settings: Mapping[str, object], file: str, name: str) -> None:
    """Refuse settings, nested ones too, that would run code which comes with the weights or from the Hub.

    Raises:
        ModelError: there is such a setting.
    """
    for key, value in settings.items() if file.endswith(VOCABULARIES) else _nested(settings):
        is_foreign = IMPLEMENTATION.fullmatch(key) and not isinstance(value, dict) and value not in OWN_IMPLEMENTATIONS
        if is_foreign or (key in CODE_KEYS and value is not None):
            raise ModelError(f"model {name!r} wants to run code of its own ({key[:60]} in {file}) and is refused")


def _nested(settings: object) -> Iterator[tuple[str, object]]:
    """All settings; the parts of an implementation for each sub-model count as its own."""
    left: list[tuple[str, object]] = [("", settings)]
    while left:
        above, value = left.pop()
        if isinstance(value, dict):
            inside = [(above if IMPLEMENTATION.fullmatch(above) else key, entry) for key, entry in value.items()]
            yield from inside
            left += inside
        elif isinstance(value, list):
            left += [(above, entry) for entry in value]


def _check_component(family: Family, component: str, value: list[object], name: str) -> None:
    allowed = family.components.get(component)
    if allowed is None and any(value):
        raise ModelError(f"model {name!r} {_not_made_of(family)}: {component[:60]!r} is not part of it")
    if allowed is not None and (len(value) != 2 or value[0] not in LIBRARIES or value[1] not in allowed):
        raise ModelError(f"model {name!r} {_not_made_of(family)}: its {component} is {str(value[-1:])[1:-1][:60]}")


def _not_made_of(family: Family) -> str:
    return f"is not a {family.name} made of {', '.join(family.components[part][0] for part in family.weighted)}"
