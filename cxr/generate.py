"""Request + model -> iterator of progress and images, one seed per image."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxr import __version__
from cxr.models import LoadedModel, cast
from cxr.pixels import is_flat, resize, to_uint8
from cxr.schema import FailedImage, GeneratedImage, GenerationRequest, Recipe, StepProgress
from cxr.seeds import generator_for, initial_latents

LOCK_POLL_S = 0.05  # how often a waiting request looks whether it has been stopped
PREVIEW_UPSCALING = 4  # latents are 8 times smaller than the image
RECORDED_PACKAGES = ("torch", "diffusers", "transformers", "peft")

Event = StepProgress | GeneratedImage | FailedImage


def generate(
    request: GenerationRequest,
    model: LoadedModel,
    *,
    stop: threading.Event | None = None,
    preview_every: int = 0,
) -> Iterator[Event]:
    """Make the images of a request, one after the other.

    The model is locked from the first item to the last, or until the iterator is closed, so that one pipeline never
    serves two threads at once. Image k depends on ``request.seeds[k]`` and on no other image.

    Args:
        request: what to make.
        model: what to make it with.
        stop: once set, the iterator ends within one denoising step; images already given stay valid.
        preview_every: put a small preview into the progress of every so-manieth step; 0 for none.
    Yields:
        StepProgress after each denoising step, then a GeneratedImage or FailedImage for each image, in order.
    """
    stop = stop or threading.Event()
    if not _acquire(model.lock, stop):
        return
    try:
        model.set_adapter_weight(request.adapter_weight)
        run = _Run(request, model, stop, preview_every)
        for first in range(0, request.num_images, model.micro_batch_size):
            if stop.is_set():
                return
            yield from run.micro_batch(range(first, min(first + model.micro_batch_size, request.num_images)))
    finally:
        model.lock.release()


def recipe_for(request: GenerationRequest, model: LoadedModel, seed: int) -> Recipe:
    """What ``generate`` writes down about the image of that seed; known before the image is made."""
    info = model.info
    return Recipe(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        seed=seed,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        scheduler=info.scheduler,
        model=info.model,
        model_revision=info.model_revision,
        adapter=info.adapter,
        adapter_sha256=info.adapter_sha256,
        # Without a LoRA its weight changes nothing, and equal images have equal recipes.
        adapter_weight=request.adapter_weight if model.adapter else 0.0,
        width=info.resolution,
        height=info.resolution,
        weight_dtype=info.weight_dtype,
        device=info.device,
        micro_batch_size=model.micro_batch_size,
        library_versions=dict(_library_versions()),
    )


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


@dataclass
class _Run:
    """One request on its way through the model."""

    request: GenerationRequest
    model: LoadedModel
    stop: threading.Event
    preview_every: int

    def __post_init__(self) -> None:
        self.began = time.perf_counter()
        self.embeddings = _encode(self.request, self.model)

    def micro_batch(self, indices: Sequence[int]) -> Iterator[Event]:
        """Progress and results of the images with these indices."""
        latents = yield from self._denoise(indices)
        if latents is None:
            return
        for index, pixels in zip(indices, decode(latents, self.model), strict=False):  # False: filled-up rows
            reason = _fault(pixels)
            weight_dtype = self.model.info.weight_dtype
            if reason and weight_dtype != "float32":
                pixels, weight_dtype = self._in_float32(indices, index), "float32"
                reason = _fault(pixels)
            if self.stop.is_set() and reason:
                return
            seed = self.request.seeds[index]
            if pixels is None or reason:
                yield FailedImage(index, seed, reason)
                continue
            recipe = dataclasses.replace(recipe_for(self.request, self.model, seed), weight_dtype=weight_dtype)
            yield GeneratedImage(index, pixels, recipe)

    def _denoise(self, indices: Sequence[int]) -> Generator[StepProgress, None, Tensor | None]:
        """Yield the progress of every step; return the finished latents, or None when stopped."""
        seeds = [self.request.seeds[index] for index in indices]
        # The shape of a batch decides the last bits of a result: a short batch is filled up, never run smaller.
        seeds += [seeds[-1]] * (self.model.micro_batch_size - len(seeds))
        scheduler = copy.deepcopy(self.model.pipeline.scheduler)  # it counts steps: one per run, never shared
        scheduler.set_timesteps(self.request.num_inference_steps, device=self.model.device)
        latents, generators = _noise(seeds, self.model, scheduler)
        num_steps = len(scheduler.timesteps)
        for step, timestep in enumerate(scheduler.timesteps, start=1):
            if self.stop.is_set():
                return None
            noisy = latents
            latents, noise_pred = _denoise_step(
                self.model, scheduler, noisy, timestep, self.embeddings, self.request.guidance_scale, generators
            )
            preview = None
            if self.preview_every and step % self.preview_every == 0:
                preview = _preview(self.model, scheduler, noisy, noise_pred, timestep)
            yield self._progress(indices, step, num_steps, preview)
        return latents

    def _progress(
        self, indices: Sequence[int], step: int, num_steps: int, preview: NDArray[np.uint8] | None
    ) -> StepProgress:
        # A micro-batch works on several images at once: its steps are counted as if one image followed another.
        done = step * len(indices) - 1
        index = indices[0] + done // num_steps
        elapsed_s = time.perf_counter() - self.began
        progress = StepProgress(index, self.request.num_images, done % num_steps + 1, num_steps, elapsed_s, None, preview)
        return dataclasses.replace(progress, remaining_s=elapsed_s * (1 / progress.fraction - 1))

    def _in_float32(self, indices: Sequence[int], index: int) -> NDArray[np.uint8] | None:
        """The image once more in float32, whose range the smaller formats may have left."""
        unet, weight_dtype = self.model.pipeline.unet, self.model.weight_dtype
        cast(unet, torch.float32)
        try:
            steps = self._denoise(indices)
            while True:
                next(steps)
        except StopIteration as finished:
            latents: Tensor | None = finished.value
        finally:
            cast(unet, weight_dtype)  # exact: float32 holds every value of the smaller formats
        return None if latents is None else decode(latents, self.model)[indices.index(index)]


@torch.inference_mode()
def decode(latents: Tensor, model: LoadedModel) -> list[NDArray[np.uint8] | None]:
    """Turn finished latents into pictures.

    Args:
        latents: [B, C, h, w] float32, in the UNet's scale.
        model: whose VAE to use.
    Returns:
        For each row [H, W] uint8, or None where the result holds NaN or infinite values.
    """
    torch.set_flush_denormal(True)
    images = model.pipeline.vae.decode(latents / model.pipeline.vae.config.scaling_factor, return_dict=False)[0]
    return [to_uint8(image[None])[0] if bool(torch.isfinite(image).all()) else None for image in images]


def _fault(pixels: NDArray[np.uint8] | None) -> str:
    """Why this is no image, or an empty text."""
    if pixels is None:
        return "the model's result holds NaN or infinite values; try another seed or a lower adapter_weight"
    if is_flat(pixels):
        return "the picture is empty (one even grey); try another seed or a lower guidance_scale"
    return ""


def _acquire(lock: threading.Lock, stop: threading.Event) -> bool:
    while not stop.is_set():
        if lock.acquire(timeout=LOCK_POLL_S):
            return True
    return False


@torch.inference_mode()
def _encode(request: GenerationRequest, model: LoadedModel) -> Tensor:
    """Text embeddings [1, tokens, width], or [2, ...] with the negative prompt's first when guidance is on."""
    torch.set_flush_denormal(True)
    guided = request.guidance_scale > 1
    prompt_embeds, negative_embeds = model.pipeline.encode_prompt(
        request.prompt, model.device, 1, guided, negative_prompt=request.negative_prompt
    )
    return torch.cat([negative_embeds, prompt_embeds]) if guided else prompt_embeds


def _noise(seeds: list[int], model: LoadedModel, scheduler: Any) -> tuple[Tensor, list[torch.Generator]]:
    """Starting latents, and each row's generator for schedulers that add noise on the way."""
    unet = model.pipeline.unet.config
    shape = (unet.in_channels, unet.sample_size, unet.sample_size)
    latents = initial_latents(seeds, shape).to(model.device) * scheduler.init_noise_sigma
    generators = [generator_for(seed) for seed in seeds]
    for generator in generators:
        torch.randn(shape, generator=generator)  # go on behind the starting noise, do not repeat it
    return latents, generators


@torch.inference_mode()
def _denoise_step(
    model: LoadedModel,
    scheduler: Any,
    latents: Tensor,
    timestep: Tensor,
    embeddings: Tensor,
    guidance_scale: float,
    generators: list[torch.Generator],
) -> tuple[Tensor, Tensor]:
    """One step of the sampler: latents [B, C, h, w] float32 -> (next latents, guided model output), same shape."""
    # Per thread, and a page may call each step from another thread: without it the last bits could differ.
    torch.set_flush_denormal(True)
    unet = model.pipeline.unet
    guided = embeddings.shape[0] == 2
    unet_input = scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, timestep)
    text = embeddings.repeat_interleave(latents.shape[0], dim=0)
    output = unet(unet_input.to(unet.dtype), timestep, text.to(unet.dtype), return_dict=False)[0].float()
    if guided:
        negative, positive = output.chunk(2)
        output = negative + guidance_scale * (positive - negative)
    takes_noise = "generator" in inspect.signature(scheduler.step).parameters
    options = {"generator": generators} if takes_noise else {}
    return scheduler.step(output, timestep, latents, return_dict=False, **options)[0], output


@torch.inference_mode()
def _preview(
    model: LoadedModel, scheduler: Any, noisy: Tensor, model_output: Tensor, timestep: Tensor
) -> NDArray[np.uint8]:
    """A small grey picture of the first row's expected end, without the VAE: [4h, 4w] uint8."""
    alpha_cumprod = scheduler.alphas_cumprod[int(timestep)].to(noisy)
    expected = predicted_original(noisy[:1], model_output[:1], alpha_cumprod, scheduler.config.prediction_type)
    if model.preview_projection is None:
        grey = expected.mean(dim=1, keepdim=True)
        grey = (grey - grey.mean()) / (2.5 * grey.std()).clamp(min=1e-6)
    else:
        weights, bias = model.preview_projection
        grey = (expected * expected.new_tensor(weights).view(1, -1, 1, 1)).sum(dim=1, keepdim=True) + bias
    size = (grey.shape[-2] * PREVIEW_UPSCALING, grey.shape[-1] * PREVIEW_UPSCALING)
    preview: NDArray[np.uint8] = to_uint8(torch.nan_to_num(resize(grey, size)))[0]
    return preview


@cache
def _library_versions() -> tuple[tuple[str, str], ...]:
    return (("cxr", __version__), *((name, version(name)) for name in RECORDED_PACKAGES))
