"""Choices made by timing, kept on this machine: else a busy moment would give the next process other bytes."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

LIBRARIES = ("torch", "diffusers", "transformers")
MAX_BYTES = 10_000


def decide_once(question: str, measure: Callable[[], str], otherwise: str) -> str:
    """The answer that this machine has given before, or one that is measured now and kept.

    Args:
        question: what is decided, for which model.
        measure: finds the answer.
        otherwise: the answer where none can be kept; nothing is timed then.
    """
    facts = _facts(question)
    path = _path(facts)
    kept = _read(path)
    if kept is not None:
        return kept
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text("", encoding="utf-8")  # before the time is spent
    except OSError:
        return otherwise
    try:
        answer = measure()
        partial.write_text(json.dumps(facts | {"answer": answer}, indent=2) + "\n", encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)  # unlike a renaming, it never replaces the answer of another process
    except OSError:  # a file system without links
        with contextlib.suppress(OSError):
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return _read(path) or otherwise


def find_decision(question: str) -> str | None:
    """The answer that this machine has given before, or None.

    Args:
        question: as for ``decide_once``.
    """
    return _read(_path(_facts(question)))


def decisions_folder() -> Path:
    """Where answers are kept; to have them measured again, delete it."""
    return cache_folder() / "decisions"


def cache_folder() -> Path:
    """What this program keeps to save time; it can be deleted at any time."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxr-studio"
    except RuntimeError:  # a user without a home, as in some containers: nothing can be kept
        return Path(os.devnull)


def machine_facts() -> dict[str, str]:
    """What answers depend on: processors and versions, and nothing that says whose machine it is."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {"cpu": _cpu_model(), "gpu": gpu, "system": platform.system()} | versions_of(LIBRARIES)


def versions_of(libraries: Iterable[str]) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in libraries}


def _facts(question: str) -> dict[str, str]:
    return {"question": question, **machine_facts()}


def _path(facts: dict[str, str]) -> Path:
    text = json.dumps(facts, sort_keys=True)
    return decisions_folder() / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            answer = json.loads(file.read(MAX_BYTES))["answer"]
    except (OSError, KeyError, RecursionError, TypeError, ValueError):
        return None
    return answer if isinstance(answer, str) else None
