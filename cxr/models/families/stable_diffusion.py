"""Stable Diffusion 1 and 2, the embedded model, and Stable Diffusion XL: a UNet that reads CLIP."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from cxr.models.families.family import SCHEDULERS, Family
from cxr.models.families.text_condition import TextCondition

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from diffusers.configuration_utils import FrozenDict

TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")


class StableDiffusion(Family):
    """``StableDiffusionPipeline``: one text encoder."""

    name = "StableDiffusionPipeline"
    components: ClassVar = {
        "unet": ("UNet2DConditionModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": ("CLIPTextModel",),
        "tokenizer": TOKENIZERS,
        "scheduler": SCHEDULERS,
    }
    network = "unet"
    is_plain_unet = True
    ignored = frozenset({"safety_checker", "feature_extractor", "image_encoder"})
    # Safety checker off: it is trained on photographs and blacks out harmless radiographs.
    left_out: ClassVar = {**dict.fromkeys(ignored), "requires_safety_checker": False}

    def embed(
        self, pipeline: DiffusionPipeline, text: str, device: torch.device, *, is_negative: bool
    ) -> TextCondition:
        """Read one text as ``Family.embed`` says; a negative one is read like any other."""
        tokenizer = pipeline.tokenizer
        length = tokenizer.model_max_length
        tokens = tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return TextCondition(pipeline.text_encoder(tokens.input_ids.to(device))[0])

    def predict(self, pipeline: DiffusionPipeline, sample: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        """Run the UNet once, as ``Family.predict`` says."""
        output: Tensor = pipeline.unet(sample, timestep, text.embeddings, return_dict=False)[0].float()
        return output


class StableDiffusionXL(Family):
    """``StableDiffusionXLPipeline``: two text encoders; the UNet gets the size and the crop of the image, too."""

    name = "StableDiffusionXLPipeline"
    components: ClassVar = {
        "unet": ("UNet2DConditionModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": ("CLIPTextModel",),
        "text_encoder_2": ("CLIPTextModelWithProjection",),
        "tokenizer": TOKENIZERS,
        "tokenizer_2": TOKENIZERS,
        "scheduler": SCHEDULERS,
    }
    network = "unet"
    ignored = frozenset({"feature_extractor", "image_encoder"})
    # The watermark is for colour pictures; every file says by itself that it is synthetic.
    left_out: ClassVar = {**dict.fromkeys(ignored), "add_watermarker": False}

    def embed(
        self, pipeline: DiffusionPipeline, text: str, device: torch.device, *, is_negative: bool
    ) -> TextCondition:
        """Read one text as ``Family.embed`` says; an empty negative one is all zeros where the model was trained so."""
        embeddings, _, pooled, _ = pipeline.encode_prompt(text, device=device, do_classifier_free_guidance=False)
        if is_negative and not text and pipeline.config.force_zeros_for_empty_prompt:
            return TextCondition(torch.zeros_like(embeddings), torch.zeros_like(pooled))
        return TextCondition(embeddings, pooled)

    def predict(self, pipeline: DiffusionPipeline, sample: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        """Run the UNet once, as ``Family.predict`` says; the image counts as whole and of its native size."""
        assert text.pooled is not None, "this family's texts have a pooled vector"
        height, width = (side * pipeline.vae_scale_factor for side in sample.shape[-2:])
        time_ids = text.pooled.new_tensor([[height, width, 0, 0, height, width]]).repeat(len(sample), 1)
        added = {"text_embeds": text.pooled, "time_ids": time_ids}
        output = pipeline.unet(sample, timestep, text.embeddings, added_cond_kwargs=added, return_dict=False)
        noise_pred: Tensor = output[0].float()
        return noise_pred

    def unscale(self, latents: Tensor, config: FrozenDict) -> Tensor:
        """Latents as the autoencoder knows them; some models also say the mean and spread of each channel.

        Args:
            latents: [B, C, h, w] float32, as the network knows them.
            config: of the autoencoder.
        """
        if (spread := _spread(latents, config)) is None:
            return super().unscale(latents, config)
        mean, std = spread
        unscaled: Tensor = latents * std / config.scaling_factor + mean
        return unscaled

    def scale(self, latents: Tensor, config: FrozenDict) -> Tensor:
        """As ``Family.scale``, with the mean and spread of each channel."""
        if (spread := _spread(latents, config)) is None:
            return super().scale(latents, config)
        mean, std = spread
        scaled: Tensor = (latents - mean) * config.scaling_factor / std
        return scaled


def _spread(latents: Tensor, config: FrozenDict) -> tuple[Tensor, Tensor] | None:
    """Mean and spread of each channel, [1, C, 1, 1], where the autoencoder says them."""
    if getattr(config, "latents_mean", None) is None or getattr(config, "latents_std", None) is None:
        return None
    mean, std = (latents.new_tensor(row).view(1, -1, 1, 1) for row in (config.latents_mean, config.latents_std))
    return mean, std
