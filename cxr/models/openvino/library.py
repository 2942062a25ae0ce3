"""The door to the package ``openvino``, which need not be there and must not send anything."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cxr.request.errors import ModelError

if TYPE_CHECKING:
    from openvino import Core

ENGINE_VARIABLE = "CXR_ENGINE"
PACKAGE, TELEMETRY = "openvino", "openvino_telemetry"
HOW_TO_INSTALL = (
    "OpenVINO is not installed, and CXR_ENGINE or the images that are there ask for it; run “pip install openvino”"
)


def is_installed() -> bool:
    """Whether the package is there; nothing is imported."""
    return importlib.util.find_spec(PACKAGE) is not None


def library_version() -> str:
    """Version of the package.

    Raises:
        ModelError: it is not installed.
    """
    if not is_installed():
        raise ModelError(HOW_TO_INSTALL)
    return importlib.metadata.version(PACKAGE)


def import_openvino() -> ModuleType:
    """The package, imported without its telemetry, which would send an event at each import and each conversion.

    Raises:
        ModelError: it is not installed.
    """
    library_version()
    # A module that cannot be imported: the package then takes a stub of its own, which sends nothing.
    modules: dict[str, Any] = sys.modules
    modules.setdefault(TELEMETRY, None)
    return importlib.import_module(PACKAGE)


@cache
def core() -> Core:
    """What reads and compiles networks; one for the process."""
    return import_openvino().Core()
