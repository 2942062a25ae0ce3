"""A picture that this program made -> the recipe in it, checked as if somebody had typed it."""

from __future__ import annotations

import json
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cxr import __version__
from cxr.images.picture_file import read_picture
from cxr.request.errors import DataError
from cxr.request.generation_request import GenerationRequest
from cxr.request.model_info import ModelInfo
from cxr.request.recipe import Recipe

MAX_RECIPE_CHARACTERS = 64_000
MAX_NAME_CHARACTERS = 40
NO_RECIPE = "the picture holds no recipe; only PNGs that this program wrote do, as they were written"
OTHER_RECIPE = "the picture holds a recipe that this version cannot read"


def read_recipe_file(path: Path, folder: Path) -> Recipe:
    """Read the recipe of an uploaded picture, which may be anything.

    Args:
        path: of the upload.
        folder: that it has to lie in.
    Raises:
        CxrError: it is no picture, or holds no recipe whose values are allowed.
    """
    text = read_picture(path, folder).recipe_text
    if text is None:
        raise DataError(NO_RECIPE)
    if len(text) > MAX_RECIPE_CHARACTERS:
        raise DataError(f"the picture holds a recipe of more than {MAX_RECIPE_CHARACTERS:,} characters")
    recipe = _parse(text)
    request_of(recipe)
    return recipe


def request_of(recipe: Recipe) -> GenerationRequest:
    """The request for one image that a recipe stands for, checked as any other request.

    Raises:
        RequestError: a value is not allowed.
    """
    return GenerationRequest(
        prompt=recipe.prompt,
        negative_prompt=recipe.negative_prompt,
        seed=recipe.seed,
        num_inference_steps=recipe.num_inference_steps,
        guidance_scale=recipe.guidance_scale,
        adapter_weight=recipe.adapter_weight,
        guidance_stop=recipe.guidance_stop,
        bit_depth=recipe.bit_depth,
    )


def find_differences(recipe: Recipe, info: ModelInfo) -> list[str]:
    """What is loaded here that the picture was not made with, in words; empty if it can be made again as it was.

    Args:
        recipe: of the picture.
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
    for name in ("scheduler", "weight_dtype", "device"):
        if getattr(recipe, name) != getattr(info, name):
            differences.append(str(getattr(recipe, name)))
    differences += [
        f"{name} {then} (here {now})"
        for name, then in sorted(recipe.library_versions.items())
        if (now := _version(name)) is not None and now != then
    ]
    return differences


def _parse(text: str) -> Recipe:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(OTHER_RECIPE) from error
    if not isinstance(values, dict):
        raise DataError(OTHER_RECIPE)
    known = {field.name: field for field in fields(Recipe)}
    if unknown := sorted(values.keys() - known.keys()):
        name = unknown[0][:MAX_NAME_CHARACTERS]
        raise DataError(f"{OTHER_RECIPE}: it has “{name}”, which newer versions may know")
    try:
        recipe = Recipe(**values)
    except TypeError as error:
        raise DataError(f"{OTHER_RECIPE}: values are missing") from error
    # What goes into the form is checked by the request; these are compared and shown.
    for name in ("scheduler", "model", "model_revision", "adapter", "adapter_sha256", "weight_dtype", "device"):
        if not isinstance(values[name], str) or len(values[name]) > 200:
            raise DataError(f"{OTHER_RECIPE}: its {name} is no name")
    for name in ("width", "height"):
        if type(values[name]) is not int or not 0 < values[name] < 100_000:
            raise DataError(f"{OTHER_RECIPE}: its {name} is no size in pixels")
    if not _are_versions(recipe.library_versions):
        raise DataError(f"{OTHER_RECIPE}: its library_versions are no versions")
    return recipe


def _are_versions(versions: object) -> bool:
    if not isinstance(versions, dict) or len(versions) > 40:
        return False
    return all(isinstance(text, str) and len(text) <= MAX_NAME_CHARACTERS for text in (*versions, *versions.values()))


def _version(name: str) -> str | None:
    """Version of a library of this installation; None if the name is not one of those that recipes hold."""
    if name == "cxr":
        return __version__
    if name not in ("torch", "diffusers", "transformers", "peft"):
        return None
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
