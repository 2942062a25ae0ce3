"""Request + model -> iterator of progress and images, one seed per image."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxr import __version__
from cxr.generate.model import LoadedModel
from cxr.generate.sampling import Denoiser, decode, encode
from cxr.images.pixels import is_flat
from cxr.models.batch_size import free_memory, is_out_of_memory
from cxr.prompts.rewording import with_sent_prompt
from cxr.request.errors import GenerationError
from cxr.request.events import FailedImage, GeneratedImage, GreyLevels, StepProgress
from cxr.request.generation_request import GenerationRequest
from cxr.request.recipe import Recipe
from cxr.request.settings import SHARED

LOCK_POLL_S = 0.05  # how often a waiting request looks whether it has been stopped
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
        preview_every: put a small preview into the progress of every n-th step; 0 for none.
    Yields:
        StepProgress after each denoising step, then a GeneratedImage or FailedImage for each image, in order.

    Raises:
        GenerationError: memory does not suffice, not even for one image at a time.
    """
    alone = [request.part(k, k + 1) for k in range(request.num_images)]
    return generate_each(alone, model, stop=stop, preview_every=preview_every)


def generate_each(
    requests: Sequence[GenerationRequest],
    model: LoadedModel,
    *,
    stop: threading.Event | None = None,
    preview_every: int = 0,
) -> Iterator[Event]:
    """Make one image of each request, as ``generate`` does; image k is ``requests[k]``'s, the same as if made alone.

    Args:
        requests: of one image each, which differ in nothing but prompt, negative prompt and seed: they share
            micro-batches.
        model: what to make them with.
        stop: as for ``generate``.
        preview_every: as for ``generate``.
    Yields:
        As ``generate``. Where memory does not suffice for a micro-batch, the images that remain are made in halved
        ones, and their recipes say so.
    Raises:
        GenerationError: memory does not suffice, not even for one image at a time.
    """
    assert len({shared_settings(request) for request in requests}) <= 1, "requests of one call share their settings"
    stop = stop or threading.Event()
    if not requests or not _acquire(model.lock, stop):
        return
    try:
        model.set_adapter_weight(requests[0].adapter_weight)
        sent = [with_sent_prompt(request, model.prompt_form) for request in requests]
        yield from _Run(sent, model, stop, preview_every).events()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise GenerationError(_out_of_memory(model)) from error
    finally:
        model.lock.release()


def shared_settings(request: GenerationRequest) -> tuple[float, ...]:
    """What images of one micro-batch have in common; requests of other settings are made by another call."""
    return tuple(getattr(request, name) for name in SHARED)


def recipe_for(request: GenerationRequest, model: LoadedModel, seed: int) -> Recipe:
    """What ``generate`` writes down about the image of that seed; known before the image is made."""
    request = with_sent_prompt(request, model.prompt_form)
    info, settings = model.info, request.image_settings | {"seed": seed}
    # What changes nothing has one value, so that equal images have equal recipes: a LoRA's weight without a LoRA, and
    # the end of guidance without guidance.
    if not model.adapter:
        settings["adapter_weight"] = 0.0
    if request.guidance_scale == 1:
        settings["guidance_stop"] = 1.0
    return Recipe(
        **settings,
        scheduler=info.scheduler,
        model=info.model,
        model_revision=info.model_revision,
        adapter=info.adapter,
        adapter_sha256=info.adapter_sha256,
        width=info.resolution,
        height=info.resolution,
        weight_dtype=info.weight_dtype,
        device=info.device,
        micro_batch_size=model.micro_batch_size,
        library_versions=dict(_library_versions()),
        num_threads=torch.get_num_threads() if info.device == "cpu" else 0,
    )


class _Run:
    """Requests of one image each on their way through the model, whose lock is held."""

    def __init__(
        self, requests: Sequence[GenerationRequest], model: LoadedModel, stop: threading.Event, preview_every: int
    ) -> None:
        self.requests, self.model, self.stop, self.preview_every = requests, model, stop, preview_every
        self.micro_batch_size = model.micro_batch_size
        self.num_settled = 0  # images that were given, as a picture or as a failure
        self.began = time.perf_counter()

    def events(self) -> Iterator[Event]:
        """Progress and results of all images; micro-batches are halved for good when memory runs out."""
        while self.num_settled < len(self.requests) and not self.stop.is_set():
            first = self.num_settled
            try:
                yield from self.micro_batch(range(first, min(first + self.micro_batch_size, len(self.requests))))
            except (RuntimeError, MemoryError) as error:
                if self.micro_batch_size == 1 or not is_out_of_memory(error):
                    raise
                self.micro_batch_size //= 2
            else:
                continue
            free_memory()  # here, where the error and what its frames hold are gone

    def micro_batch(self, indices: Sequence[int]) -> Iterator[Event]:
        """Progress and results of the images with these indices."""
        latents = yield from self._denoise(indices)
        if latents is None:
            return
        pictures = decode(latents, self.model, self.requests[0].bit_depth)
        for row, index in enumerate(indices):
            for result in self._result(index, pictures[row], row, indices):
                self.num_settled += 1
                yield result

    def _result(
        self, index: int, pixels: GreyLevels | None, row: int, indices: Sequence[int]
    ) -> Iterator[GeneratedImage | FailedImage]:
        weight_dtype, reason = self.model.info.weight_dtype, _fault(pixels)
        if reason and weight_dtype != "float32":
            pixels, weight_dtype = self._in_float32(indices, row), "float32"
            reason = _fault(pixels)
            if self.stop.is_set() and reason:
                return  # it was not the model that failed
        request = self.requests[index]
        if pixels is None or reason:
            yield FailedImage(index, request.seed, reason)
            return
        recipe = recipe_for(request, self.model, request.seed)
        made_with: dict[str, Any] = {"weight_dtype": weight_dtype, "micro_batch_size": self.micro_batch_size}
        yield GeneratedImage(index, pixels, dataclasses.replace(recipe, **made_with))

    def _denoise(self, indices: Sequence[int]) -> Generator[StepProgress, None, Tensor | None]:
        """Yield the progress of every step; return the finished latents, or None when stopped."""
        batch = [self.requests[index] for index in indices]
        # The shape of a batch decides the last bits of a result: a short batch is filled up, never run smaller.
        batch += [batch[-1]] * (self.micro_batch_size - len(batch))
        request, model = batch[0], self.model
        embeddings = [encode(model, one.model_prompt, one.negative_prompt, one.guidance_scale) for one in batch]
        guidance, seeds = (request.guidance_scale, request.guidance_stop), [one.seed for one in batch]
        denoiser = Denoiser(model, embeddings, guidance, seeds, request.num_inference_steps)
        for step, timestep in enumerate(denoiser.timesteps, start=1):
            if self.stop.is_set():
                return None
            denoiser.step(timestep)
            wants_preview = self.preview_every > 0 and step % self.preview_every == 0
            preview = denoiser.preview() if wants_preview else None
            yield self._progress(indices, step, len(denoiser.timesteps), preview)
        return denoiser.latents

    def _progress(
        self, indices: Sequence[int], step: int, num_steps: int, preview: NDArray[np.uint8] | None
    ) -> StepProgress:
        # A micro-batch works on several images at once: its steps are counted as if one image followed another.
        done = step * len(indices) - 1
        progress = StepProgress(
            image_index=indices[0] + done // num_steps,
            num_images=len(self.requests),
            step=done % num_steps + 1,
            num_inference_steps=num_steps,
            elapsed_s=time.perf_counter() - self.began,
            preview=preview,
        )
        return dataclasses.replace(progress, remaining_s=progress.elapsed_s * (1 / progress.fraction - 1))

    def _in_float32(self, indices: Sequence[int], row: int) -> GreyLevels | None:
        """One image once more in float32, whose range the smaller formats may have left."""
        steps = self._denoise(indices)
        with self.model.in_float32():
            try:
                while True:
                    next(steps)
            except StopIteration as finished:
                latents: Tensor | None = finished.value
            return None if latents is None else decode(latents, self.model, self.requests[0].bit_depth)[row]


def _fault(pixels: GreyLevels | None) -> str:
    """Why this is no image, or an empty text."""
    if pixels is None:
        return "the model's result holds NaN or infinite values; try another seed or a lower adapter_weight"
    if is_flat(pixels):
        return "the picture is empty (one even grey); try another seed or a lower guidance_scale"
    return ""


def _out_of_memory(model: LoadedModel) -> str:
    whose = "this machine" if model.info.device == "cpu" else "the graphics card"
    return f"{whose} has too little free memory for one image; close what else uses it, or use a smaller model"


def _acquire(lock: threading.Lock, stop: threading.Event) -> bool:
    while not stop.is_set():
        if lock.acquire(timeout=LOCK_POLL_S):
            return True
    return False


@cache
def _library_versions() -> tuple[tuple[str, str], ...]:
    return (("cxr", __version__), *((name, version(name)) for name in RECORDED_PACKAGES))
