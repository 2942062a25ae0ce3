"""Stable Diffusion XL: a UNet that reads two CLIP text encoders, and is told the size and the cut of the image."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from cxr.models.families.family import SCHEDULERS, Family, TextCondition


class StableDiffusionXL(Family):
    """``StableDiffusionXLPipeline``."""

    name = "StableDiffusionXLPipeline"
    components: ClassVar = {
        "unet": ("UNet2DConditionModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": ("CLIPTextModel",),
        "text_encoder_2": ("CLIPTextModelWithProjection",),
        "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
        "tokenizer_2": ("CLIPTokenizer", "CLIPTokenizerFast"),
        "scheduler": SCHEDULERS,
    }
    network = "unet"
    ignored = frozenset({"feature_extractor", "image_encoder"})
    # The watermark is for colour pictures; every file says by itself that it is synthetic.
    left_out: ClassVar = {"feature_extractor": None, "image_encoder": None, "add_watermarker": False}

    def embed(self, pipeline: Any, text: str, device: torch.device, *, is_negative: bool) -> TextCondition:
        """See ``Family.embed``; an empty negative text is all zeros where the model was trained so."""
        embeddings, _, pooled, _ = pipeline.encode_prompt(text, device=device, do_classifier_free_guidance=False)
        if is_negative and not text and pipeline.config.force_zeros_for_empty_prompt:
            return TextCondition(torch.zeros_like(embeddings), torch.zeros_like(pooled))
        return TextCondition(embeddings, pooled)

    def predict(self, pipeline: Any, sample: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        """See ``Family.predict``; the image is told to be whole and of its native size."""
        assert text.pooled is not None, "this family's texts have a pooled vector"
        height, width = (side * pipeline.vae_scale_factor for side in sample.shape[-2:])
        time_ids = text.pooled.new_tensor([[height, width, 0, 0, height, width]]).repeat(len(sample), 1)
        added = {"text_embeds": text.pooled, "time_ids": time_ids}
        output: Tensor = pipeline.unet(sample, timestep, text.embeddings, added_cond_kwargs=added, return_dict=False)[
            0
        ].float()
        return output

    def unscale(self, latents: Tensor, config: Any) -> Tensor:
        """See ``Family.unscale``; some models also say the mean and spread of each channel."""
        if getattr(config, "latents_mean", None) is None or getattr(config, "latents_std", None) is None:
            return super().unscale(latents, config)
        mean, std = (latents.new_tensor(row).view(1, -1, 1, 1) for row in (config.latents_mean, config.latents_std))
        unscaled: Tensor = latents * std / config.scaling_factor + mean
        return unscaled
