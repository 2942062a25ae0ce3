"""Names as tables write them -> the files that they mean: other separators, roots, suffixes, spellings of letters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


class FileNames:
    """The images of a folder by every name that a table may have for them.

    Args:
        folder: that names are relative to, perhaps below further folders that are not here.
        paths: the images in it.
    """

    def __init__(self, folder: Path, paths: Iterable[Path]) -> None:
        self.folder = folder
        self._paths: dict[str, Path] = {}
        self._exact: dict[str, Path] = {}
        self._alike: set[str] = set()  # names of two files, but for capitals or how letters are composed
        self._by_stem: dict[str, list[str]] = {}
        for path in paths:
            name = path.relative_to(folder).as_posix()
            key = "/".join(_parts(name))
            self._alike |= {key} & self._paths.keys()
            self._paths[key] = self._exact[name] = path
            self._by_stem.setdefault(_stem(key), []).append(key)

    def find(self, name: str, is_unique: Callable[[str], bool] = lambda stem: True) -> Path | None:
        """The file that a name means; None if it is not here.

        Args:
            name: as a table has it.
            is_unique: whether the table has only one name with this stem: then differing folders still mean this file.
        Raises:
            ValueError: it may mean several.
        """
        if found := self._exact.get(name):
            return found
        parts = _parts(name)
        for start in range(len(parts)):  # of an absolute path, or one that begins above this folder
            key = "/".join(parts[start:])
            if key in self._alike:
                raise ValueError(f"{name} may be one of two files whose names differ by capitals only; rename one")
            if found := self._paths.get(key):
                return found
        stem = stem_of(name)
        keys = self._by_stem.get(parts[-1] if parts else "") or self._by_stem.get(stem, [])
        keys = [key for key in keys if key.rpartition("/")[2] == parts[-1]] or keys
        within = [key for key in keys if _is_within(key.split("/")[:-1], parts[:-1])]
        if not within and not is_unique(stem):
            return None
        keys = within or keys
        if len(keys) > 1:
            raise ValueError(f"{name} may be {keys[0]} or {keys[1]}; name their folders, too")
        return self._paths[keys[0]] if keys else None


def stem_of(name: str) -> str:
    """The last part of a name, without a suffix and without case."""
    return _stem("/".join(_parts(name)))


def _is_within(folders: Sequence[str], others: Sequence[str]) -> bool:
    """Whether one list of folders is the end of the other."""
    length = min(len(folders), len(others))
    return folders[len(folders) - length :] == others[len(others) - length :]


def _parts(name: str) -> list[str]:
    """Folders and name, composed letters composed (macOS takes them apart), without case."""
    text = unicodedata.normalize("NFC", name.strip()).replace("\\", "/").casefold()
    return [part for part in re.sub(r"^[a-z]:", "", text).split("/") if part not in ("", ".")]


def _stem(key: str) -> str:
    name = key.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and re.fullmatch(r"[a-z]{3,5}|jp2", suffix) else name
