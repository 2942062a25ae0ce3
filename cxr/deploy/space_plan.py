"""A Space before it is made: the very operations that upload it, its settings, and both as text.

``upload_folder`` does not serve: it makes its operations only when it sends them, and cannot fill in the README.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd, HfApi, SpaceHardware
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # it is in its documentation

from cxr.deploy.space_card import check_card, read_space_card, with_model
from cxr.deploy.space_files import SpaceFiles, collect_files
from cxr.models.hub.connection import watched
from cxr.models.preset_table import PRESETS, Preset
from cxr.models.presets import find_preset
from cxr.request.errors import HubError, OutputError, RequestError

MAX_REGULAR_BYTES = 10_000_000
# The Hub writes these into the .gitattributes of each new repository, among others.
LFS_SUFFIXES = (".safetensors", ".bin", ".onnx", ".zip", ".npz", ".npy", ".parquet", ".tar")
DEFAULT_HARDWARE = "cpu-basic"
SHOWN_SETTINGS = ("title", "sdk", "sdk_version", "python_version", "app_file", "license", "models", "preload_from_hub")


@dataclass(frozen=True)
class SpacePlan:
    """What makes up a Space.

    Args:
        repo_id: "owner/name".
        operations: one for each file; what is listed is read from them, and they are what is uploaded.
        settings: the head of the README that is uploaded.
        variables: of the Space's environment.
        hardware: name of the Hub, or None for what the Space has, at first `DEFAULT_HARDWARE`.
        private: whether only its owner sees it; counts when it is made.
    """

    repo_id: str
    operations: tuple[CommitOperationAdd, ...]
    settings: Mapping[str, object]
    variables: Mapping[str, str]
    hardware: str | None = None
    private: bool = False
    notes: tuple[str, ...] = ()


def plan_space(
    repo_id: str,
    api: HfApi,
    *,
    model: str | None = None,
    adapter: str | None = None,
    hardware: str | None = None,
    private: bool = False,
    files: SpaceFiles | None = None,
) -> SpacePlan:
    """Collect and check everything; changes nothing, neither here nor there.

    Args:
        repo_id: "owner/name" of the Space.
        api: is asked which files a model of the Hub has; for the embedded model no question is asked.
        model: name of a preset, or None for the embedded model.
        adapter: "default", "none", a LoRA in lora_weights/ or of the Hub.
        hardware: what to ask for, or None.
        private: whether only the owner is to see it.
        files: what to upload, or None for this checkout.
    Raises:
        RequestError: a value cannot be used for a Space.
        OutputError: a file or the README's settings cannot be uploaded.
        CxrError: the model or the LoRA is unknown.
    """
    _check_names(repo_id, hardware)
    preset = _preset(model)
    files = files or collect_files()
    _check_adapter(adapter, files)
    card = read_space_card((files.root / "README.md").read_text(encoding="utf-8"))
    notes = [f"left out: {line}" for line in files.left_out]
    if hub_id := preset.hub_id:
        preload, more = _preload(preset, hub_id, api, hardware or DEFAULT_HARDWARE)
        card = with_model(card, hub_id, preload)
        notes += more
    if problems := check_card(card, files.root):
        raise OutputError("README.md is not the page of a Space: " + "; ".join(problems))
    operations = tuple(
        CommitOperationAdd(name, str(card).encode() if name == "README.md" and hub_id else files.root / name)
        for name in files.paths
    )
    variables = {"CXR_MODEL": model or "embedded", "CXR_ADAPTER": adapter or "default"}
    return SpacePlan(repo_id, operations, card.data.to_dict(), variables, hardware, private, tuple(notes))


def upload_mode(operation: CommitOperationAdd) -> str:
    """How the Hub takes a file, by its documented rules: "LFS" when over 10 MB or of a listed kind, else "regular"."""
    is_large = operation.upload_info.size > MAX_REGULAR_BYTES
    return "LFS" if is_large or operation.path_in_repo.endswith(LFS_SUFFIXES) else "regular"


def describe_upload(plan: SpacePlan) -> Iterator[str]:
    """Lines of a table of all files, and the Space's settings."""
    rows = [(one.path_in_repo, one.upload_info.size, upload_mode(one)) for one in plan.operations]
    width = max(len(path) for path, _, _ in rows)
    for path, size, mode in rows:
        yield f"{path:<{width}}  {size:>12,}  {mode}"
    yield f"{f'{len(rows)} files':<{width}}  {sum(size for _, size, _ in rows):>12,}  bytes"
    large = sum(size > MAX_REGULAR_BYTES for _, size, _ in rows)
    yield f"files over 10 MB: {large}; the Hub takes them as LFS (Xet) only, and may want other files that way, too"
    yield f"Space {plan.repo_id}, {'private' if plan.private else 'public'}"
    yield f"hardware: {plan.hardware or f'{DEFAULT_HARDWARE}, or what the Space has already'}"
    for name in SHOWN_SETTINGS:
        if name in plan.settings:
            value = plan.settings[name]
            yield f"{name}: {', '.join(value) if isinstance(value, list) else value}"
    for name, value in plan.variables.items():
        yield f"variable {name}={value}"
    for note in plan.notes:
        yield f"note: {note}"


def _check_names(repo_id: str, hardware: str | None) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise RequestError(
            f"{repo_id!r} is not a valid name of a Space; use OWNER/NAME of letters, digits, -, _ and ."
        ) from error
    if repo_id.count("/") != 1:
        raise RequestError(f"{repo_id!r} names no owner; use OWNER/NAME, with your user name of Hugging Face as OWNER")
    choices = [value.value for value in SpaceHardware]
    if hardware is not None and hardware not in choices:
        raise RequestError(f"hardware {hardware!r} is unknown; use {', '.join(choices)}")


def _preset(model: str | None) -> Preset:
    preset = find_preset(model)
    if preset.folder is not None and preset.name not in PRESETS:
        names = ", ".join(PRESETS)
        raise RequestError(f"model {model!r} is a folder of this machine, which a Space does not have; use {names}")
    return preset


def _check_adapter(adapter: str | None, files: SpaceFiles) -> None:
    if adapter in (None, "", "default", "none") or str(adapter).startswith("hub:"):
        return
    if not any(name.startswith(f"lora_weights/{adapter}/") for name in files.paths):
        raise RequestError(
            f"LoRA {adapter!r} is not among the files to upload; put it into lora_weights/NAME, add it to git, and "
            "give NAME, or use default or none"
        )


def _preload(preset: Preset, hub_id: str, api: HfApi, hardware: str) -> tuple[str, list[str]]:
    """The entry for preload_from_hub, empty if the Hub does not tell the model's files, and notes."""
    revision = preset.revision
    notes = []
    if preset.gated == "yes":
        notes.append(f"{hub_id} is gated: accept its terms, and give the Space a secret HF_TOKEN that may read it")
    try:
        names = watched(lambda _: api.list_repo_files(hub_id, revision=revision), hub_id)
    except HubError as error:
        notes.append(f"{hub_id} is not preloaded but downloaded when the Space first starts, because {error}")
        return "", notes
    from cxr.deploy.preload import preload_line  # it brings torch, which takes seconds to import

    return preload_line(hub_id, revision, names, half_precision=not hardware.startswith("cpu-")), notes
