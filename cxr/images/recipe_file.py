"""A picture that this program made -> the recipe in it. The only reader of uploaded pictures, which may be anything."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cxr import __version__
from cxr.images.guarded import FOREIGN, read_regular, reason_of
from cxr.images.png import NO_RECIPE, read_recipe
from cxr.images.png_text import DAMAGED, PNG_END, PNG_SIGNATURE
from cxr.request.errors import DataError
from cxr.request.model_info import ModelInfo
from cxr.request.recipe import OPENVINO, RECORDED_LIBRARIES, Recipe

MAX_FILE_BYTES = 5_000_000


def read_recipe_file(path: Path, folder: Path) -> Recipe:
    """Read the recipe of an uploaded picture, which may be anything. Nothing of it is decoded but the recipe's text.

    Args:
        folder: that it has to lie in.
    Raises:
        DataError: it is not a regular file in the folder, is too large or not a whole PNG, or holds no recipe whose
            values are allowed. The message does not repeat the file's name.
    """
    data = _read_file(path, folder)
    if data.startswith(b"\xff\xd8\xff"):  # a JPEG holds none, so that nothing of it is read
        raise DataError(f"the picture {NO_RECIPE}")
    if not data.startswith(PNG_SIGNATURE):
        raise DataError("the file is not a picture that can be read here; use a PNG")
    if not data.endswith(PNG_END):  # nothing may stand behind the picture
        raise DataError(f"the picture cannot be read as a PNG: {DAMAGED}")
    return read_recipe(data, "the picture")


def find_differences(recipe: Recipe, info: ModelInfo) -> list[str]:
    """What is loaded here that the picture was not made with, in words; empty if it can be made again as it was.

    Args:
        info: of the model that is loaded.
    """
    differences = []
    if recipe.model_revision != info.model_revision:
        same_name = recipe.model == info.model
        differences.append(f"another version of the model {info.model}" if same_name else f"the model {recipe.model}")
    if recipe.adapter_sha256 != info.adapter_sha256:
        same_name = recipe.adapter == info.adapter
        differences.append(f"another version of the LoRA {info.adapter}" if same_name else f"the LoRA {recipe.adapter}")
    if (recipe.width, recipe.height) != (info.resolution,) * 2:
        differences.append(f"{recipe.width} × {recipe.height} pixels")
    names = ("scheduler", "weight_dtype", "device", "engine")
    differences += [str(then) for _, then, _ in differing_values(recipe, info, names)]
    here = {name: found for name in recipe.library_versions if (found := _version(name)) is not None}
    return differences + [f"{name} {then} (here {now})" for name, then, now in differing_libraries(recipe, here)]


def differing_values(
    recipe: Recipe, here: Recipe | ModelInfo, names: Sequence[str]
) -> list[tuple[str, object, object]]:
    """The values that differ here: name, value in the recipe, value here; 0 and "" are unknown."""
    pairs = [(name, getattr(recipe, name), getattr(here, name)) for name in names]
    return [(name, then, now) for name, then, now in pairs if then != now and then]


def differing_libraries(recipe: Recipe, here: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """The same for libraries, by their versions here."""
    then = sorted(recipe.library_versions.items())
    return [(name, version, here[name]) for name, version in then if here.get(name, version) != version]


def _read_file(path: Path, folder: Path) -> bytes:
    try:
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise DataError("the picture is not an uploaded file")
        return read_regular(path, MAX_FILE_BYTES, through_links=False)
    except OSError as error:
        if error.strerror == FOREIGN or error.errno == errno.ELOOP:
            raise DataError("the picture is not an uploaded file") from error
        if error.errno == errno.EFBIG:
            raise DataError(
                f"the picture has more than {MAX_FILE_BYTES // 1_000_000} MB; use a smaller file"
            ) from error
        raise DataError(f"the picture cannot be read: {reason_of(error)}") from error


def _version(name: str) -> str | None:
    """Version of a library of this installation; None if the name is not one of those that recipes hold."""
    if name == "cxr":
        return __version__
    if name not in (*RECORDED_LIBRARIES, OPENVINO):
        return None
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
