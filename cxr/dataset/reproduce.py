"""An image made again from its own recipe, and how far it is from what lies there."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cxr.generate.images import generate
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.images.pixels import to_bits
from cxr.images.recipe_file import differing_libraries, differing_values
from cxr.lora.choice import LOCAL_PREFIX, parse_adapters
from cxr.models.batch_size import BATCH_SIZES
from cxr.models.devices import choose_device
from cxr.models.hub.names import HUB_PREFIX
from cxr.models.openvino.library import is_installed
from cxr.models.preset_table import PRESETS
from cxr.models.presets import find_preset
from cxr.request.errors import DataError, ModelError
from cxr.request.events import FailedImage, GeneratedImage, GreyLevels
from cxr.request.generation_request import GenerationRequest
from cxr.request.init_image import InitImage
from cxr.request.model_info import is_earlier_model, where_to_find
from cxr.request.recipe import COMPILED, OPENVINO, PYTORCH, Recipe, needed_picture

# What other threads, libraries or devices may change: last bits, no structure.
MAX_LEVELS, MIN_PSNR_DB = 2.0, 45.0
# The most that a recipe may make this machine do; beyond it the image is made with this machine's own settings.
MAX_THREADS, MAX_BATCH_SIZE = max(64, os.cpu_count() or 1), BATCH_SIZES[-1]
IDENTICAL, WITHIN, DIFFERENT = "identical", "within tolerance", "different"


@dataclass(frozen=True)
class Comparison:
    """What came of making one image again.

    Args:
        verdict: `IDENTICAL`, `WITHIN` (`MAX_LEVELS` and `MIN_PSNR_DB`) or `DIFFERENT`.
        max_levels: largest difference, in grey levels of 256.
        psnr_db: peak signal to noise ratio; infinite when identical.
        changed: what is not as the recipe says: "device cuda (here cpu)", "torch 2.13.0 (here 2.14.0)".
    """

    verdict: str
    max_levels: float
    psnr_db: float
    changed: tuple[str, ...]


class Reproducer:
    """Makes images again; a model is loaded once for all images of the same recipe's model.

    Args:
        model: instead of the one that recipes name, which may be a folder that lies elsewhere now.
        adapter: instead of the recipes' LoRA.
        init_images: pictures that images may have begun from.
    """

    def __init__(
        self, model: str | None = None, adapter: str | None = None, init_images: Sequence[InitImage] = ()
    ) -> None:
        self.model, self.adapter = model, adapter
        self.init_images = {picture.sha256: picture for picture in init_images}
        self._loaded: dict[tuple[str, str, str, int | None, str], LoadedModel] = {}

    def check(self, pixels: GreyLevels, recipe: Recipe, bits: int) -> Comparison:
        """Make the image of a recipe and compare.

        Args:
            pixels: [H, W] of the image that lies there.
            bits: of the pixels, 8, 12 or 16; an export may have fewer than the image that it comes from.
        Raises:
            CxrError: the model, the LoRA or the picture of the recipe is not here, or it makes no image.
        """
        request = self._request_of(recipe)
        model = self._load(recipe)
        if recipe.num_threads and model.info.device == "cpu":
            torch.set_num_threads(min(recipe.num_threads, MAX_THREADS))
        (event,) = (event for event in generate(request, model) if isinstance(event, (GeneratedImage, FailedImage)))
        if isinstance(event, FailedImage):
            raise DataError(f"the recipe gives no image here: {event.reason}")
        again = event.pixels if recipe.bit_depth < bits else to_bits(event.pixels, bits)
        return compare(pixels, again, bits, _changed(recipe, event.recipe))

    def _request_of(self, recipe: Recipe) -> GenerationRequest:
        if recipe.is_derived and recipe.init_image_sha256 not in self.init_images:
            others = " and ".join(self.init_images)
            raise DataError(
                needed_picture(recipe) + (f", not {others}" if others else "") + "; name it with --init-image"
            )
        return recipe.request_from(self.init_images.get(recipe.init_image_sha256))

    def _load(self, recipe: Recipe) -> LoadedModel:
        source, adapter = self._sources(recipe)
        # On another device the bytes differ anyway, however many images are denoised together.
        as_there = recipe.device == choose_device().type and recipe.micro_batch_size <= MAX_BATCH_SIZE
        micro_batch_size = recipe.micro_batch_size if as_there else None
        engine = recipe.engine if _can_run(recipe.engine) else PYTORCH
        key = (source, adapter, recipe.weight_dtype, micro_batch_size, engine)
        if key not in self._loaded:
            self._loaded.clear()  # one at a time
            self._loaded[key] = load_model(
                source, adapter, weight_dtype=recipe.weight_dtype, micro_batch_size=micro_batch_size, engine=engine
            )
        model = self._loaded[key]
        if model.info.model_revision != recipe.model_revision:
            found = "name that model with --model"
            if is_earlier_model(recipe.model_revision):
                found = where_to_find(recipe.model_revision, recipe.adapter_sha256)
            raise DataError(
                f"the image was made with {recipe.model} {recipe.model_revision}, here is {model.info.model_revision}; "
                + found
            )
        if model.info.adapter_sha256 != recipe.adapter_sha256:
            found = where_to_find("", recipe.adapter_sha256) or "name that file with --adapter local:PATH"
            raise DataError(
                f"the image was made with the LoRA {recipe.adapter} sha256:{recipe.adapter_sha256}, here is "
                f"sha256:{model.info.adapter_sha256}; {found}"
            )
        return model

    def _sources(self, recipe: Recipe) -> tuple[str, str]:
        """Model and LoRA that the user has named or that ship: a third party's image opens no other file.

        Raises:
            DataError: the recipe names others.
        """
        model, adapter = self.model, self.adapter or (recipe.adapter if recipe.adapter_sha256 else "none")
        if model is None or model.removeprefix(HUB_PREFIX) == recipe.model:
            named, model = model is not None, recipe.model_source
            if not named and not _ships(recipe.model):
                raise DataError(
                    f"the image was made with the model {recipe.model}, which does not come with this program; if you "
                    "trust it, name it with --model"
                )
        sources = [] if self.adapter else [choice.source for choice in parse_adapters(adapter)]
        if any(source.startswith(LOCAL_PREFIX) for source in sources):
            raise DataError("the image names its LoRA by a path; name the file with --adapter local:PATH")
        if any(source.startswith(HUB_PREFIX) for source in sources):
            raise DataError(f"the image names the LoRA {adapter} of the Hub; if you trust it, name it with --adapter")
        return model, adapter


def _can_run(engine: str) -> bool:
    """Whether an engine is here; a third party's recipe never starts a compiler on a CPU, which takes minutes."""
    return {OPENVINO: is_installed(), COMPILED: choose_device().type == "cuda"}.get(engine, True)


def _ships(name: str) -> bool:
    """Whether a name leads to nothing outside this program: it names one of its models, or none at all."""
    if name in PRESETS:
        return PRESETS[name].folder is not None
    try:
        find_preset(name)
    except ModelError:
        return True  # which loading it will say
    return False


def compare(pixels: GreyLevels, again: GreyLevels, bits: int, changed: tuple[str, ...] = ()) -> Comparison:
    """How far two pictures are from each other.

    Args:
        pixels: [H, W] uint8 or uint16.
        again: of the same kind.
        changed: for the outcome.
    """
    if pixels.shape != again.shape or pixels.dtype != again.dtype:
        return Comparison(DIFFERENT, math.inf, 0.0, changed)
    level = (2**bits - 1) / 255
    difference = (pixels.astype(np.float64) - again.astype(np.float64)) / level
    largest, mean_square = float(np.abs(difference).max()), float((difference**2).mean())
    if not largest:
        return Comparison(IDENTICAL, 0.0, math.inf, changed)
    psnr_db = 10 * math.log10(255**2 / mean_square)
    within = largest <= MAX_LEVELS and psnr_db >= MIN_PSNR_DB
    return Comparison(WITHIN if within else DIFFERENT, largest, psnr_db, changed)


def _changed(recipe: Recipe, here: Recipe) -> tuple[str, ...]:
    names = ("scheduler", "device", "weight_dtype", "micro_batch_size", "num_threads", "engine")
    versions = dict.fromkeys(recipe.library_versions, "none") | here.library_versions
    changed = [*differing_values(recipe, here, names), *differing_libraries(recipe, versions)]
    return tuple(f"{name} {then} (here {now})" for name, then, now in changed)
