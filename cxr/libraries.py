"""The libraries this program needs: which versions it works with, and which of their remarks users do not see.

Versions are checked at start, before any library is imported. They are read from the names of the ``.dist-info``
folders and compared as numbers: this takes 1 ms, where importing ``importlib.metadata`` and ``packaging`` would add
50 ms to every ``--help``.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable

INSTALL = "pip install -r requirements.txt"
MIN_PYTHON = (3, 11)
# The libraries whose other versions break images or the page: the first version that works, and the first that does
# not, as in pyproject.toml. torch has no upper end: newer ones work, and only their download is large.
SUPPORTED = {
    "torch": ("2.8", None),
    "diffusers": ("0.42.1", "0.43"),
    "transformers": ("5.23", "5.24"),
    "peft": ("0.21.2", "0.22"),
    "gradio": ("6.31", "7"),
    "huggingface-hub": ("2.4", "3"),
}
# Remarks of libraries that are true and tell users nothing: logger and text.
KNOWN_REMARKS = (
    # diffusers imports transformers' image processors, which nothing here uses.
    ("transformers.utils.import_utils", "requires torchvision (not installed)"),
    # The page and the command line say themselves which words of a long prompt are left out.
    ("transformers.tokenization_utils_base", "Token indices sequence length is longer than"),
    # Of a LoRA for the UNet alone, and of one for the text encoder before its weights are in place.
    ("diffusers.loaders.lora_base", "No LoRA keys associated to"),
    ("transformers.integrations.peft", "LOAD REPORT"),
    # An empty list of modules.
    ("diffusers.models.modeling_utils", "that should be kept in float32: []"),
)


class LibraryError(RuntimeError):
    """A library is missing, or of a version that this program cannot work with; the message is for the user."""


def check_libraries() -> None:
    """Refuse versions with which the program would fail later, in a less obvious place.

    Raises:
        LibraryError: Python is too old, or libraries are missing, too old or too new; names all of them.
    """
    if sys.version_info < MIN_PYTHON:
        needed = ".".join(map(str, MIN_PYTHON))
        raise LibraryError(f"this is Python {sys.version.split()[0]}; CXR Studio needs {needed} or newer")
    found = installed_versions()
    if problems := [text for name in SUPPORTED if (text := _problem(name, found.get(name)))]:
        raise LibraryError(f"{'; '.join(problems)}; install the right versions with: {INSTALL}")


def silence_known_remarks() -> None:
    """Keep `KNOWN_REMARKS` from the user's terminal, and nothing else that libraries have to say."""
    for logger, text in KNOWN_REMARKS:
        logging.getLogger(logger).addFilter(_without(text))


def installed_versions() -> dict[str, str]:
    """The versions of the libraries in `SUPPORTED`, as their ``.dist-info`` folders are named (PEP 427).

    Returns:
        Version by name, without what is not installed. The first folder of ``sys.path`` wins, as it does on import.
    """
    versions: dict[str, str] = {}
    for folder in sys.path:
        try:
            entries = os.listdir(folder or os.curdir)  # noqa: PTH208  Path.iterdir takes twice the time
        except OSError:  # a ZIP file, or no such folder
            continue
        for entry in entries:
            if entry.endswith(".dist-info"):
                name, _, version = entry.removesuffix(".dist-info").partition("-")
                name = name.lower().replace("_", "-")
                if name in SUPPORTED:
                    versions.setdefault(name, version)
    return versions


def _without(text: str) -> Callable[[logging.LogRecord], bool]:
    return lambda record: text not in record.getMessage()


def _problem(name: str, version: str | None) -> str:
    """What is wrong with a library; empty if nothing is."""
    low, high = SUPPORTED[name]
    needed = f"{name} {low} or newer" + (f", older than {high}" if high else "")
    if version is None:
        return f"{name} is missing"
    if _numbers(version) < _numbers(low) or (high and _numbers(version) >= _numbers(high)):
        return f"{name} is {version}, but CXR Studio needs {needed}"
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version: 2.13.0+cpu is (2, 13, 0)."""
    release = re.match(r"[\d.]*", version)
    return tuple(int(part) for part in (release.group() if release else "").split(".") if part)
