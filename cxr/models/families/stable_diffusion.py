"""Stable Diffusion 1 and 2, and the embedded model: a UNet that reads one CLIP text encoder."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from cxr.models.families.family import SCHEDULERS, Family, TextCondition


class StableDiffusion(Family):
    """``StableDiffusionPipeline``."""

    name = "StableDiffusionPipeline"
    components: ClassVar = {
        "unet": ("UNet2DConditionModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": ("CLIPTextModel",),
        "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
        "scheduler": SCHEDULERS,
    }
    network = "unet"
    is_probed = True
    ignored = frozenset({"safety_checker", "feature_extractor", "image_encoder"})
    # Safety checker off: it is trained on photographs and blacks out harmless radiographs.
    left_out: ClassVar = {
        "safety_checker": None,
        "feature_extractor": None,
        "image_encoder": None,
        "requires_safety_checker": False,
    }

    def embed(self, pipeline: Any, text: str, device: torch.device, *, is_negative: bool) -> TextCondition:
        """See ``Family.embed``; a negative text is read like any other."""
        tokenizer = pipeline.tokenizer
        length = tokenizer.model_max_length
        tokens = tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return TextCondition(pipeline.text_encoder(tokens.input_ids.to(device))[0])

    def predict(self, pipeline: Any, sample: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        """See ``Family.predict``."""
        output: Tensor = pipeline.unet(sample, timestep, text.embeddings, return_dict=False)[0].float()
        return output
