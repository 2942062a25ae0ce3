"""How a LoRA fares while it is trained: the loss on held-out patients, and images of fixed seeds to look at."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from numpy.typing import NDArray
from torch import Tensor

from cxr.folders.sheet import SheetRow
from cxr.generate.noise import initial_latents
from cxr.images.pixels import to_uint8
from cxr.models.batch_size import free_memory
from cxr.request.errors import GenerationError
from cxr.train.full_lora.base_model import BaseModel
from cxr.train.full_lora.batches import VALIDATION_SHARES, Batches
from cxr.train.full_lora.components import load_vae, sampling_scheduler
from cxr.train.full_lora.denoising import TrainedDenoiser

NUM_INFERENCE_STEPS, GUIDANCE_SCALE = 20, 5.0


@torch.no_grad()
def validation_loss(denoiser: TrainedDenoiser, batches: Batches) -> dict[str, float]:
    """Mean squared error on held-out patients, with the same noise at every call and without min-SNR weights.

    Returns:
        "loss", the mean, and "loss_at_125" and its like, at one timestep each; nothing if no patient is held out.
    """
    count = denoiser.num_timesteps
    rows = [denoiser.errors(batches.validation_batch(index, count)).cpu() for index in range(len(batches.validation))]
    if not rows:
        return {}
    means = torch.stack(rows).mean(dim=0).tolist()
    at = {f"loss_at_{int(share * count)}": mean for share, mean in zip(VALIDATION_SHARES, means, strict=True)}
    return {"loss": sum(means) / len(means)} | at


@torch.no_grad()
def validation_images(denoiser: TrainedDenoiser, base: BaseModel, batches: Batches) -> list[SheetRow]:
    """Draw the prompts of the settings with seeds 0, 1, … through diffusers' own pipeline, without changing the LoRA.

    Args:
        denoiser: what to draw with.
        base: whose VAE, which is in memory only for this, and noise schedule to use.
        batches: knows the prompts' embeddings.
    Raises:
        GenerationError: an image holds NaN.
    """
    settings = batches.settings
    pipeline = _pipeline(denoiser, base)
    drawn = {
        prompt: [_draw(pipeline, prompt, seed, batches, denoiser) for seed in range(settings.validation_images)]
        for prompt in settings.validation_prompts
    }
    vae = load_vae(base, batches.device)
    rows = []
    for prompt, all_latents in drawn.items():
        images = (vae.decode(latents.float() / vae.config.scaling_factor).sample for latents in all_latents)
        rows.append(SheetRow(prompt, tuple(_grey(image) for image in images)))
    del vae
    free_memory()
    return rows


def _pipeline(denoiser: TrainedDenoiser, base: BaseModel) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """A pipeline of the UNet alone: texts come embedded, and latents leave undecoded."""
    parts = {"unet": denoiser.unet, "scheduler": sampling_scheduler(base)}
    absent = dict.fromkeys(("vae", "text_encoder", "tokenizer"))
    if base.is_xl:
        pipeline = StableDiffusionXLPipeline(**parts, **absent, text_encoder_2=None, tokenizer_2=None)
    else:
        absent |= dict.fromkeys(("safety_checker", "feature_extractor"))
        pipeline = StableDiffusionPipeline(**parts, **absent, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _draw(
    pipeline: StableDiffusionPipeline | StableDiffusionXLPipeline,
    prompt: str,
    seed: int,
    batches: Batches,
    denoiser: TrainedDenoiser,
) -> Tensor:
    """Latents [1, C, h, w] of one image."""
    rows = {name: value.to(denoiser.dtype) for name, value in batches.embed([prompt, ""]).items()}
    names = {"text": "prompt_embeds", "pooled": "pooled_prompt_embeds"}
    embedded = {names[name]: value[:1] for name, value in rows.items()}
    embedded |= {f"negative_{names[name]}": value[1:] for name, value in rows.items()}
    side = batches.resolution // batches.base.scale_factor
    latents = initial_latents([seed], (denoiser.unet.config.in_channels, side, side))
    result: Tensor = pipeline(
        **embedded,
        latents=latents.to(batches.device, denoiser.dtype),
        height=batches.resolution,
        width=batches.resolution,
        num_inference_steps=NUM_INFERENCE_STEPS,
        guidance_scale=GUIDANCE_SCALE,
        output_type="latent",
    ).images
    return result


def _grey(image: Tensor) -> NDArray[np.uint8]:
    try:
        picture: NDArray[np.uint8] = to_uint8(image)[0]
        return picture
    except ValueError as error:
        raise GenerationError("a validation image holds NaN; start again with a lower --learning-rate") from error
