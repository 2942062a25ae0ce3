"""Parts of reports that were measured before: the same images, networks and code give the same figures again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from cxr import __version__
from cxr.images.atomic import write_whole
from cxr.metrics.result import Json, to_plain
from cxr.models.decisions import versions_of
from cxr.request.errors import CxrError

PACKAGE = Path(__file__).parents[1]
VERSIONED = ("numpy", "pillow", "scipy", "torch", "torchmetrics")
MEASURING = ("evaluate", "folders", "images", "judges", "labels", "metrics")  # the rooms whose code figures depend on


class ResultCache:
    """Results on disk, one file each, found by a hash of everything that they depend on.

    Args:
        folder: None keeps nothing.
        circumstances: what all results depend on besides their images: versions of libraries, for example.
    """

    def __init__(self, folder: Path | None, circumstances: Sequence[str]) -> None:
        self.folder = folder and folder / "results"
        self.circumstances = [code_sha256(), *circumstances]

    def get(self, part: str, inputs: Sequence[str], compute: Callable[[], object]) -> Json:
        """The result of ``compute`` as plain values, from disk if it was computed before.

        Args:
            part: what it is.
            inputs: identities of the images and networks, and settings.
            compute: called if nothing is found; a full or read-only disk only makes the next run slower.
        """
        if self.folder is None:
            return to_plain(compute())
        key = hashlib.sha256(json.dumps([part, *self.circumstances, *inputs]).encode()).hexdigest()
        path = self.folder / f"{key[:32]}.json"
        with contextlib.suppress(OSError, ValueError):
            return json.loads(path.read_text(encoding="utf-8"))
        result = to_plain(compute())
        with contextlib.suppress(CxrError):
            write_whole(path, json.dumps(result).encode())
        return result


@cache
def code_sha256() -> str:
    """Of all code that measures: figures of other code are other figures."""
    digest = hashlib.sha256()
    for path in sorted(path for room in MEASURING for path in (PACKAGE / room).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of everything that figures depend on."""
    return {"cxr": __version__, "python": platform.python_version()} | versions_of(VERSIONED)
