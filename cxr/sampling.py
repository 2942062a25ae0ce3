"""The sampler in short steps: text and noise in, latents, previews and pictures out.

Each function that runs a network sets the flushing of denormal numbers itself: it is a property of the calling thread,
a page may call every step from another thread, and without it the last bits of an image could differ.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxr.models import LoadedModel
from cxr.pixels import resize, to_grey, to_uint8
from cxr.schema import GreyLevels
from cxr.seeds import generator_for, initial_latents

MAX_KNOWN_TEXTS = 64  # of 0.1 to 0.6 MB each
PREVIEW_UPSCALING = 4  # latents are 8 times smaller than the image


@torch.inference_mode()
def encode(model: LoadedModel, prompt: str, negative_prompt: str, guidance_scale: float) -> Tensor:
    """Text embeddings [1, tokens, width], or [2, ...] with the negative prompt's first when guidance is on."""
    torch.set_flush_denormal(True)
    texts = [negative_prompt, prompt] if guidance_scale > 1 else [prompt]
    # One by one, as the pipeline's encode_prompt does: a batch of two may differ in the last bits.
    return torch.cat([_embed(model, text) for text in texts])


def _embed(model: LoadedModel, text: str) -> Tensor:
    """Embeddings [1, tokens, width] of a text, cut at the token limit; ``prompts.inspect_prompt`` tells the user."""
    known = model.embeddings
    if text not in known:
        known[text] = _run_text_encoder(model, text)
        if len(known) > MAX_KNOWN_TEXTS:
            known.pop(next(iter(known)))  # the one that was met first
    return known[text]


def _run_text_encoder(model: LoadedModel, text: str) -> Tensor:
    tokenizer = model.pipeline.tokenizer
    length = tokenizer.model_max_length
    tokens = tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    embeddings: Tensor = model.pipeline.text_encoder(tokens.input_ids.to(model.device))[0]
    return embeddings


class Denoiser:
    """One micro-batch on its way from noise to latents; gives what ``StableDiffusionPipeline.__call__`` gives.

    Args:
        model: what to denoise with; the caller holds its lock.
        embeddings: what ``encode`` returned, for each image of the micro-batch.
        guidance: strength, used when there are two embeddings, and the share of the steps after which it ends.
        seeds: one per image of the micro-batch.
        num_inference_steps: steps of the scheduler.

    Attributes:
        timesteps: what to give to ``step``, in order.
        latents: [B, C, h, w] float32, the present state.
    """

    def __init__(
        self,
        model: LoadedModel,
        embeddings: Sequence[Tensor],
        guidance: tuple[float, float],
        seeds: list[int],
        num_inference_steps: int,
    ) -> None:
        self.model, (self.guidance_scale, stop) = model, guidance
        # Once and not in each step: diffusers' own `unet.dtype` walks through all layers.
        self.dtype = next(model.pipeline.unet.parameters()).dtype
        # All negative prompts' before all prompts': [tokens, width] of each image in either half.
        self.text = torch.stack(list(embeddings), dim=1).flatten(0, 1).to(self.dtype)
        self.guided = embeddings[0].shape[0] == 2
        self.scheduler = copy.deepcopy(model.pipeline.scheduler)  # it counts steps: one per run, never shared
        self.scheduler.set_timesteps(num_inference_steps, device=model.device)
        self.timesteps: Sequence[Tensor] = self.scheduler.timesteps
        # Few steps are left to guide at the end: the picture is decided, only its texture is not (arXiv 2404.07724).
        self.unguided_from = int(np.ceil(stop * len(self.timesteps)))
        self.num_taken = 0
        unet = model.pipeline.unet.config
        shape = (unet.in_channels, unet.sample_size, unet.sample_size)
        self.latents = initial_latents(seeds, shape).to(model.device) * self.scheduler.init_noise_sigma
        self._step_options = self._noise_source(seeds, shape)

    @torch.inference_mode()
    def step(self, timestep: Tensor) -> None:
        """Take one step: ``latents`` becomes the next, less noisy state."""
        torch.set_flush_denormal(True)
        if self.guided and self.num_taken >= self.unguided_from:
            self.guided, self.text = False, self.text.chunk(2)[1]
        self.num_taken += 1
        unet_input = torch.cat([self.latents] * 2) if self.guided else self.latents
        unet_input = self.scheduler.scale_model_input(unet_input, timestep).to(self.dtype)
        output = self.model.pipeline.unet(unet_input, timestep, self.text, return_dict=False)[0].float()
        if self.guided:
            negative, positive = output.chunk(2)
            output = negative + self.guidance_scale * (positive - negative)
        self._noisy, self._output, self._timestep = self.latents, output, timestep
        self.latents = self.scheduler.step(output, timestep, self.latents, return_dict=False, **self._step_options)[0]

    @torch.inference_mode()
    def preview(self) -> NDArray[np.uint8]:
        """What the first image is going to be, guessed after a step without the VAE: [4h, 4w] uint8."""
        # With 61 trailing steps diffusers' rounding adds a 62nd at timestep -1.
        signal = self.scheduler.alphas_cumprod[max(int(self._timestep), 0)].to(self._noisy)
        prediction_type = self.scheduler.config.prediction_type
        expected = predicted_original(self._noisy[:1], self._output[:1], signal, prediction_type)
        return project_to_grey(expected, self.model.preview_projection)

    def _noise_source(self, seeds: list[int], shape: tuple[int, int, int]) -> dict[str, Any]:
        """Each image's own generator, for those schedulers that add noise on the way."""
        if "generator" not in inspect.signature(self.scheduler.step).parameters:
            return {}
        generators = [generator_for(seed) for seed in seeds]
        for generator in generators:
            torch.randn(shape, generator=generator)  # go on behind the starting noise, do not repeat it
        return {"generator": generators}


@torch.inference_mode()
def decode(latents: Tensor, model: LoadedModel, bit_depth: int = 8) -> list[GreyLevels | None]:
    """Turn finished latents into pictures.

    Args:
        latents: [B, C, h, w] float32, as the UNet gives them: multiplied by vae.config.scaling_factor.
        model: whose VAE to use.
        bit_depth: 8 or 16; for 16 the VAE runs in float32, as smaller formats know few more than 256 levels.
    Returns:
        For each row [H, W] uint8 or uint16, or None where the result holds NaN or infinite values.
    """
    torch.set_flush_denormal(True)
    with model.vae_in_float32() if bit_depth > 8 else contextlib.nullcontext():
        vae = model.pipeline.vae
        unscaled = (latents / vae.config.scaling_factor).to(next(vae.parameters()).dtype)
        images = vae.decode(unscaled, return_dict=False)[0].float()
    return [to_grey(image[None], bit_depth)[0] if bool(torch.isfinite(image).all()) else None for image in images]


def predicted_original(sample: Tensor, model_output: Tensor, alpha_cumprod: Tensor, prediction_type: str) -> Tensor:
    """The clean latents that the model expects at the end, seen from one step.

    Args:
        sample: [B, C, h, w], the noisy latents that went into the step.
        model_output: [B, C, h, w], what the UNet said about them.
        alpha_cumprod: scalar in [0, 1], share of signal at this timestep.
        prediction_type: the scheduler's: "v_prediction", "epsilon" or "sample".
    Source:
        Salimans and Ho, Progressive Distillation (2022), appendix D.
    """
    signal, noise = alpha_cumprod.sqrt(), (1 - alpha_cumprod).sqrt()
    if prediction_type == "v_prediction":
        return signal * sample - noise * model_output
    if prediction_type == "epsilon":
        return (sample - noise * model_output) / signal.clamp(min=1e-3)
    return model_output


def project_to_grey(latents: Tensor, projection: tuple[tuple[float, ...], float] | None) -> NDArray[np.uint8]:
    """A small grey picture of latents: one weighted sum of their channels, enlarged.

    Args:
        latents: [1, C, h, w] float32.
        projection: weight of each channel and a bias, giving grey in [-1, 1]; None shows the channels' mean with its
            contrast stretched.
    Returns:
        [4h, 4w] uint8.
    """
    if projection is None:
        grey = latents.mean(dim=1, keepdim=True)
        grey = (grey - grey.mean()) / (2.5 * grey.std()).clamp(min=1e-6)
    else:
        weights, bias = projection
        grey = (latents * latents.new_tensor(weights).view(1, -1, 1, 1)).sum(dim=1, keepdim=True) + bias
    height, width = grey.shape[-2:]
    enlarged = resize(torch.nan_to_num(grey), (height * PREVIEW_UPSCALING, width * PREVIEW_UPSCALING))
    return to_uint8(enlarged)[0]
