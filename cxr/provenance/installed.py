"""Signatures are optional: what they need is asked for in one sentence where it is missing."""

from __future__ import annotations

import importlib.util

from cxr.request.errors import DataError

LIBRARIES = {"c2pa": "c2pa-python", "cryptography": "cryptography"}


def check_installed() -> None:
    """Refuse where a library is not installed.

    Raises:
        DataError: it is not; names what to install.
    """
    if missing := [name for module, name in LIBRARIES.items() if importlib.util.find_spec(module) is None]:
        raise DataError(f"signatures need {' and '.join(missing)}; install with: pip install {' '.join(missing)}")
