"""The images of one call as they pass through the model in micro-batches, until each is a picture or a failure."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Generator, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxr.generate.encode_decode import decode, encode
from cxr.generate.init_latents import InitLatents, encode_picture, put_back, region_of
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.recipes import recipe_for
from cxr.generate.sampling import Denoiser
from cxr.images.pixels import is_flat
from cxr.models.batch_size import free_memory, is_out_of_memory
from cxr.request.events import FailedImage, GeneratedImage, GreyLevels, StepProgress
from cxr.request.generation_request import GenerationRequest

Event = StepProgress | GeneratedImage | FailedImage


class MicroBatches:
    """Requests of one image each on their way through the model, whose lock is held."""

    def __init__(
        self, requests: Sequence[GenerationRequest], model: LoadedModel, stop: threading.Event, preview_every: int
    ) -> None:
        self.requests, self.model, self.stop, self.preview_every = requests, model, stop, preview_every
        self.micro_batch_size = model.micro_batch_size
        self.num_settled = 0  # images that were given, as a picture or as a failure
        self.began = time.perf_counter()
        self.encoded: dict[str, Tensor] = {}  # pictures that images begin from, by hash

    def events(self) -> Iterator[Event]:
        """Progress and results of all images; micro-batches are halved for good when memory runs out."""
        while self.num_settled < len(self.requests) and not self.stop.is_set():
            try:
                yield from self.micro_batch(self._next_indices())
            except (RuntimeError, MemoryError) as error:
                if self.micro_batch_size == 1 or not is_out_of_memory(error):
                    raise
                self.micro_batch_size //= 2
            else:
                continue
            free_memory()  # here, where the error and what its frames hold are gone

    def _next_indices(self) -> range:
        """The next micro-batch; images with a region, which findings on one side have, share none with others."""
        first = self.num_settled
        last = min(first + self.micro_batch_size, len(self.requests))
        kinds = [request.shared_settings for request in self.requests[first:last]]
        return range(first, first + next((place for place, kind in enumerate(kinds) if kind != kinds[0]), len(kinds)))

    def micro_batch(self, indices: Sequence[int]) -> Iterator[Event]:
        """Progress and results of the images with these indices."""
        latents = yield from self._denoise(indices)
        if latents is None:
            return
        pictures = [decode(part, self.model, self.requests[0].bit_depth) for part in latents]
        for row, index in enumerate(indices):
            for result in self._result(index, [part[row] for part in pictures], row, indices):
                self.num_settled += 1
                yield result

    def _result(
        self, index: int, parts: Sequence[GreyLevels | None], row: int, indices: Sequence[int]
    ) -> Iterator[GeneratedImage | FailedImage]:
        weight_dtype, reason = self.model.info.weight_dtype, _fault(parts)
        if reason and weight_dtype != "float32":
            parts, weight_dtype = self._in_float32(indices, row), "float32"
            reason = _fault(parts)
            if self.stop.is_set() and reason:
                return  # the model did not fail
        request = self.requests[index]
        if reason:
            yield FailedImage(index, request.seed, reason)
            return
        made, *surrounding = [part for part in parts if part is not None]
        pixels = put_back(made, request, self.side, *surrounding)
        recipe = recipe_for(request, self.model, request.seed)
        recipe = dataclasses.replace(recipe, weight_dtype=weight_dtype, micro_batch_size=self.micro_batch_size)
        yield GeneratedImage(index, pixels, recipe)

    def _denoise(self, indices: Sequence[int]) -> Generator[StepProgress, None, list[Tensor] | None]:
        """Yield the progress of every step; return the finished latents, or None when stopped.

        Of images with a surrounding prompt the latents of the surrounding pictures follow.
        """
        batch = [self.requests[index] for index in indices]
        # The shape of a batch decides the last bits of a result: a short batch is filled up, never run smaller.
        batch += [batch[-1]] * (self.micro_batch_size - len(batch))
        request, model = batch[0], self.model
        embeddings = [encode(model, one.model_prompt, one.negative_prompt, one.guidance_scale) for one in batch]
        guidance, seeds = (request.guidance_scale, request.guidance_stop), [one.seed for one in batch]
        steps, initial = request.num_inference_steps, self._initial(batch)
        denoiser = Denoiser(model, embeddings, guidance, seeds, steps, initial)
        surrounding, region = None, None
        if request.surrounding_prompt:
            around = [encode(model, one.surrounding_prompt, one.negative_prompt, one.guidance_scale) for one in batch]
            surrounding, region = Denoiser(model, around, guidance, seeds, steps), self._regions(batch)
        for step, timestep in enumerate(denoiser.timesteps, start=1):
            if self.stop.is_set():
                return None
            denoiser.step(timestep)
            if surrounding is not None and region is not None:
                surrounding.step(timestep)
                denoiser.keep(surrounding.latents, region)
            wants_preview = self.preview_every > 0 and step % self.preview_every == 0
            preview = denoiser.preview() if wants_preview else None
            yield self._progress(indices, step, len(denoiser.timesteps), preview)
        return [denoiser.latents] if surrounding is None else [denoiser.latents, surrounding.latents]

    @property
    def side(self) -> int:
        """Height and width of latents."""
        side: int = self.model.network.config.sample_size
        return side

    def _initial(self, batch: Sequence[GenerationRequest]) -> InitLatents | None:
        """The pictures that a micro-batch begins from; all of its images or none have one, as they share settings."""
        pictures = [request.init_image for request in batch if request.init_image is not None]
        if not pictures:
            return None
        for picture in pictures:
            if picture.sha256 not in self.encoded:
                self.encoded[picture.sha256] = encode_picture(picture, self.model)
        latents = torch.cat([self.encoded[picture.sha256] for picture in pictures])
        return InitLatents(latents, self._regions(batch), batch[0].num_steps_taken)

    def _regions(self, batch: Sequence[GenerationRequest]) -> Tensor | None:
        """The regions of a micro-batch, [B, 1, h, w]; all of its images have one or none has."""
        regions = [region_of(request.mask_cells, self.side) for request in batch]
        if regions[0] is None:
            return None
        return torch.cat([one for one in regions if one is not None]).to(self.model.device)

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

    def _in_float32(self, indices: Sequence[int], row: int) -> list[GreyLevels | None]:
        """One image once more in float32, whose range the smaller formats may have left."""
        steps = self._denoise(indices)
        with self.model.in_float32():
            try:
                while True:
                    next(steps)
            except StopIteration as finished:
                latents: list[Tensor] | None = finished.value
            return [decode(part, self.model, self.requests[0].bit_depth)[row] for part in latents or ()] or [None]


def _fault(parts: Sequence[GreyLevels | None]) -> str:
    """Why this is not an image, or an empty text."""
    if any(pixels is None for pixels in parts):
        return "the model's result holds NaN or infinite values; try another seed or a lower adapter_weight"
    if any(pixels is not None and is_flat(pixels) for pixels in parts):
        return "the picture is empty (one even grey); try another seed or a lower guidance_scale"
    return ""
