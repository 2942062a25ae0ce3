"""The settings of a Space at the head of its README: read, checked, and filled in for the model that was asked for.

``SpaceCard.validate`` does not serve: it asks the Hub, and a dry run must not.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path

import yaml
from huggingface_hub import SpaceCard, SpaceHardware
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from cxr.request.errors import OutputError

PYTHON_VERSION = "3.12.12"  # the newest that ZeroGPU lists; diffusers needs 3.11
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
MAX_SHORT_DESCRIPTION = 60  # characters
NEEDED_TEXTS = (
    *("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "app_file", "short_description", "license"),
)
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def read_space_card(text: str) -> SpaceCard:
    """A README with its settings.

    Raises:
        OutputError: it has none, or they are not YAML.
    """
    try:
        card = SpaceCard(text)
    except (ValueError, yaml.YAMLError) as error:
        raise OutputError(f"README.md has settings that are not YAML: {str(error).splitlines()[0]}") from error
    if not card.data.to_dict():
        raise OutputError("README.md has no settings of a Space; put them between two lines --- at its top")
    return card


def check_card(card: SpaceCard, root: Path) -> list[str]:
    """What is wrong with the settings of a Space; empty when nothing is.

    Args:
        root: folder that holds app.py and requirements.txt.
    """
    settings: dict[str, object] = card.data.to_dict()
    problems = [f"{name} is missing" for name in NEEDED_TEXTS if not isinstance(settings.get(name), str)]
    for name in ("colorFrom", "colorTo"):
        if settings.get(name) not in (None, *COLOURS):
            problems.append(f"{name} is {settings[name]!r}; use {', '.join(COLOURS)}")
    if settings.get("sdk") != "gradio":
        problems.append(f"sdk is {settings.get('sdk')!r}; use gradio")
    if settings.get("python_version") != PYTHON_VERSION:
        problems.append(f'python_version is {settings.get("python_version")!r}; use "{PYTHON_VERSION}"')
    if len(str(settings.get("short_description", ""))) > MAX_SHORT_DESCRIPTION:
        problems.append(f"short_description is longer than {MAX_SHORT_DESCRIPTION} characters")
    if not (root / str(settings.get("app_file"))).is_file():
        problems.append(f"app_file {settings.get('app_file')!r} does not exist")
    return [*problems, *_check_gradio(settings, root), *_check_lists(settings)]


def with_model(card: SpaceCard, hub_id: str, preload: str) -> SpaceCard:
    """The same README for a Space of one model of the Hub; only the settings differ.

    Args:
        card: not changed.
        hub_id: "owner/name", which the Space's page links to, or "" for a model that is uploaded with it.
        preload: what is to be downloaded when the Space is built, as preload_from_hub takes it, or "".
    """
    changed = copy.deepcopy(card)
    if hub_id:
        changed.data["models"] = [hub_id]
    if preload:
        changed.data["preload_from_hub"] = [preload]
    return changed


def gradio_floor(requirements: str) -> Version | None:
    """The lowest gradio that a requirements.txt allows, or None if it says none."""
    for line in requirements.splitlines():
        try:
            requirement = Requirement(line.partition("#")[0].strip())
        except InvalidRequirement:
            continue
        if requirement.name == "gradio":
            floors = [Version(part.version) for part in requirement.specifier if part.operator in {">=", "=="}]
            return max(floors, default=None)
    return None


def _check_gradio(settings: dict[str, object], root: Path) -> list[str]:
    floor, version = gradio_floor((root / "requirements.txt").read_text(encoding="utf-8")), settings.get("sdk_version")
    try:
        same = Version(str(version)) == floor
    except InvalidVersion:
        same = False
    if same:
        return []
    return [f"sdk_version is {version!r}, but requirements.txt begins at gradio {floor}; make them equal"]


def _check_lists(settings: dict[str, object]) -> list[str]:
    problems = []
    for name in ("models", "tags", "preload_from_hub"):
        value = settings.get(name, [])
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            problems.append(f"{name} is not a list of texts")
        elif name != "tags" and not all(HUB_ID.fullmatch(entry.split(" ")[0]) for entry in value):
            problems.append(f"{name} names something that is not OWNER/NAME")
    allowed = [value.value for value in SpaceHardware if not value.value.startswith("zero-")]
    if settings.get("suggested_hardware") not in (None, *allowed):
        problems.append(f"suggested_hardware is {settings['suggested_hardware']!r}; use {', '.join(allowed)}")
    return problems
