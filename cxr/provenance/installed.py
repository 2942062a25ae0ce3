"""Signatures are optional: what they need is asked for in one sentence where it is missing."""

from __future__ import annotations

import importlib.util

from cxr.request.errors import DataError

LIBRARIES = {"c2pa": "c2pa-python", "cryptography": "cryptography"}


def missing_libraries() -> str:
    """A sentence that names what to install; empty where signatures can be made and read."""
    missing = [name for module, name in LIBRARIES.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return ""
    return f"signatures need {' and '.join(missing)}; install with: pip install {' '.join(missing)}"


def check_installed() -> None:
    """Refuse where a library is not installed.

    Raises:
        DataError: it is not; names what to install.
    """
    if missing := missing_libraries():
        raise DataError(missing)
