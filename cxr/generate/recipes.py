"""What is written down about an image: its recipe, known before it is made."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

import torch

from cxr import __version__
from cxr.generate.loaded_model import LoadedModel
from cxr.prompts.rewording import with_sent_prompt
from cxr.request.generation_request import GenerationRequest
from cxr.request.notices import COMPOSITE_SOURCE_TYPE
from cxr.request.recipe import OPENVINO, RECORDED_LIBRARIES, Recipe


def recipe_for(request: GenerationRequest, model: LoadedModel, seed: int) -> Recipe:
    """What ``generate`` writes down about the image of that seed; known before the image is made."""
    request = with_sent_prompt(request, model.prompt_form)
    info, settings = model.info, request.image_settings | {"seed": seed}
    # Settings without effect get a fixed value, so that equal images have equal recipes: a LoRA's weight without a
    # LoRA, and the end of guidance without guidance.
    if not model.adapter:
        settings["adapter_weight"] = 0.0
    if request.guidance_scale == 1:
        settings["guidance_stop"] = 1.0
    if request.init_image is not None:
        settings |= {"init_image_sha256": request.init_image.sha256, "digital_source_type": COMPOSITE_SOURCE_TYPE}
    return Recipe(
        **settings,
        **info.in_recipes,
        width=info.resolution,
        height=info.resolution,
        micro_batch_size=model.micro_batch_size,
        library_versions=_library_versions(info.engine),
        num_threads=torch.get_num_threads() if info.device == "cpu" else 0,
    )


def _library_versions(engine: str) -> dict[str, str]:
    versions = dict(_recorded_versions())
    return versions | {engine: version(engine)} if engine == OPENVINO else versions


@cache
def _recorded_versions() -> tuple[tuple[str, str], ...]:
    return tuple((name, __version__ if name == "cxr" else version(name)) for name in RECORDED_LIBRARIES)
