"""What stands before and after the sampler: texts as the networks receive them, and pictures of finished latents.

As in `cxr.generate.sampling`, each function that runs a network sets the flushing of denormal numbers itself.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from cxr.generate.loaded_model import LoadedModel
from cxr.images.pixel_mark import mark_for
from cxr.images.pixels import to_grey
from cxr.models.families import TextCondition
from cxr.request.events import GreyLevels

MAX_KNOWN_TEXTS = 64  # of 0.1 to 0.6 MB each


@torch.inference_mode()
def encode(model: LoadedModel, prompt: str, negative_prompt: str, guidance_scale: float) -> TextCondition:
    """What the networks receive of one prompt: a batch of 1, or of 2 with the negative prompt first if guided."""
    torch.set_flush_denormal(True)
    if guidance_scale <= 1:
        return _embed(model, prompt, is_negative=False)
    # One by one, as the pipeline's encode_prompt does: a batch of two may differ in the last bits.
    both = [_embed(model, negative_prompt, is_negative=True), _embed(model, prompt, is_negative=False)]
    return TextCondition.joined(both, torch.cat)


def _embed(model: LoadedModel, text: str, *, is_negative: bool) -> TextCondition:
    """A text as the model reads it, cut at the token limit; ``prompts.inspect_prompt`` tells the user."""
    known, key = model.embeddings, (text, is_negative)
    if key not in known:
        known[key] = model.family.embed(model.pipeline, text, model.device, is_negative=is_negative)
        if len(known) > MAX_KNOWN_TEXTS:
            known.pop(next(iter(known)))  # the oldest one
    return known[key]


@torch.inference_mode()
def decode(latents: Tensor, model: LoadedModel, bit_depth: int = 8) -> list[GreyLevels | None]:
    """Turn finished latents into pictures.

    Args:
        latents: [B, C, h, w] float32, as the denoising network gives them: scaled by the VAE's scaling_factor.
        model: whose VAE to use.
        bit_depth: 8 or 16; for 16 the VAE runs in float32, as smaller formats know few more than 256 levels.
    Returns:
        For each row [H, W] uint8 or uint16, or None where the result holds NaN or infinite values.
    """
    torch.set_flush_denormal(True)
    with model.vae_in_float32() if bit_depth > 8 else contextlib.nullcontext():
        vae = model.pipeline.vae
        unscaled = model.family.unscale(latents, vae.config).to(next(vae.parameters()).dtype)
        images = vae.decode(unscaled, return_dict=False)[0].float()
    return [_picture(image, model, bit_depth) if bool(torch.isfinite(image).all()) else None for image in images]


def _picture(image: Tensor, model: LoadedModel, bit_depth: int) -> GreyLevels:
    """Grey levels of one decoded image, [C, H, W] float32 in -1 to 1, with the mark if its model has one."""
    if model.mark_psnr is not None:
        unit = (image.mean(dim=0) * 0.5 + 0.5).clamp(0, 1).cpu().numpy()
        image = image + 2 * torch.from_numpy(mark_for(unit, model.mark_psnr)).to(image)
    pixels: GreyLevels = to_grey(image[None], bit_depth)[0]
    return pixels
