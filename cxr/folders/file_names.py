"""Names as tables write them -> the files that they mean: other separators, roots, suffixes, spellings of letters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path


class FileNames:
    """The images of a folder by every name that a table may have for them.

    Args:
        folder: that names are relative to, maybe after some folders that are not here.
        paths: the images in it.
    """

    def __init__(self, folder: Path, paths: Iterable[Path]) -> None:
        self.folder = folder
        self._paths: dict[str, Path] = {}
        self._by_stem: dict[str, list[str]] = {}
        for path in paths:
            key = "/".join(_parts(path.relative_to(folder).as_posix()))
            self._paths[key] = path
            self._by_stem.setdefault(_stem(key), []).append(key)

    def find(self, name: str) -> Path | None:
        """The file that a name means; None if it is not here.

        Raises:
            ValueError: it may mean several.
        """
        parts = _parts(name)
        for start in range(len(parts)):  # of an absolute path, or one that begins above this folder
            if found := self._paths.get("/".join(parts[start:])):
                return found
        keys = self._by_stem.get(_stem(parts[-1]), []) if parts else []
        whole = [key for key in keys if key.rpartition("/")[2] == parts[-1]]
        keys = whole or keys
        if len(keys) > 1:
            raise ValueError(f"{name} may be {keys[0]} or {keys[1]}; name their folders, too")
        return self._paths[keys[0]] if keys else None


def _parts(name: str) -> list[str]:
    """Folders and name, composed letters composed (macOS takes them apart), without case."""
    text = unicodedata.normalize("NFC", name.strip()).replace("\\", "/").casefold()
    return [part for part in re.sub(r"^[a-z]:", "", text).split("/") if part not in ("", ".")]


def _stem(key: str) -> str:
    name = key.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and re.fullmatch(r"[a-z]{3,5}|jp2", suffix) else name
