"""The sampler in short steps: text and noise in, latents and previews out.

Each function that runs a network sets the flushing of denormal numbers itself: it is a property of the calling thread,
a page may call every step from another thread, and without it the last bits of an image could differ.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxr.generate.init_latents import InitLatents
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.noise import generator_for, initial_latents
from cxr.generate.preview import predicted_original, project_to_grey
from cxr.models.families import TextCondition
from cxr.models.step_gains import gained_velocity


class Denoiser:
    """One micro-batch on its way from noise to latents; gives what the ``__call__`` of its diffusers pipeline gives.

    Args:
        model: what to denoise with; the caller holds its lock.
        embeddings: what ``encode`` returned, for each image of the micro-batch.
        guidance: strength, used when they hold a negative text, and the share of the steps after which it ends.
        seeds: one per image of the micro-batch.
        num_inference_steps: steps of the scheduler.
        initial: the pictures that it begins from, in place of noise alone.

    Attributes:
        timesteps: what to give to ``step``, in order.
        latents: [B, C, h, w] float32, the present state.
    """

    def __init__(
        self,
        model: LoadedModel,
        embeddings: Sequence[TextCondition],
        guidance: tuple[float, float],
        seeds: list[int],
        num_inference_steps: int,
        initial: InitLatents | None = None,
    ) -> None:
        self.model, self.initial, (self.guidance_scale, stop) = model, initial, guidance
        # Once and not in each step: diffusers' own `unet.dtype` walks through all layers.
        self.dtype = next(model.network.parameters()).dtype
        # All negative prompts' before all prompts': [tokens, width] of each image in either half.
        text = TextCondition.joined(embeddings, lambda tensors: torch.stack(tensors, dim=1).flatten(0, 1))
        self.text = text.to(self.dtype)
        self.guided = embeddings[0].is_guided
        self.scheduler = copy.deepcopy(model.pipeline.scheduler)  # it counts steps: one per run, never shared
        self.scheduler.set_timesteps(num_inference_steps, device=model.device)
        self.num_inference_steps = num_inference_steps
        self.timesteps: Sequence[Tensor] = self.scheduler.timesteps
        self.num_skipped = 0 if initial is None else self._skip(num_inference_steps - initial.num_steps)
        # Few steps are left to guide at the end: the picture is decided, only its texture is not (arXiv 2404.07724).
        self.unguided_from = int(np.ceil(stop * len(self.timesteps)))
        self.num_taken = 0
        network = model.network.config
        shape = (network.in_channels, network.sample_size, network.sample_size)
        self.noise = initial_latents(seeds, shape).to(model.device)
        if initial is None:
            self.latents: Tensor = self.noise * self.scheduler.init_noise_sigma
        else:
            self.latents = self._noised(initial.latents)
        self._step_options = self._noise_source(seeds, shape)

    def step(self, timestep: Tensor) -> None:
        """Take one step: ``latents`` becomes the next, less noisy state."""
        self.advance(self.predict(timestep), timestep)

    @torch.inference_mode()
    def predict(self, timestep: Tensor) -> Tensor:
        """The network's output for the present state, guided: [B, C, h, w]; once for each step."""
        torch.set_flush_denormal(True)
        if self.guided and self.num_taken >= self.unguided_from:
            self.guided, self.text = False, self.text.second_half()
        self.num_taken += 1
        sample = torch.cat([self.latents] * 2) if self.guided else self.latents
        sample = self.scheduler.scale_model_input(sample, timestep)
        output = self.model.predict(sample.to(self.dtype), timestep, self.text)
        if self.guided:
            negative, positive = output.chunk(2)
            output = negative + self.guidance_scale * (positive - negative)
        self._noisy = sample
        return output

    @torch.inference_mode()
    def advance(self, output: Tensor, timestep: Tensor) -> None:
        """Move on to the next state with the output of ``predict``."""
        torch.set_flush_denormal(True)
        if self.model.step_gains is not None:
            gains = self.latents.new_tensor(self.model.step_gains.at(int(timestep), self.num_inference_steps))
            signal = self.scheduler.alphas_cumprod[max(int(timestep), 0)].to(gains)  # as in `predicted`
            output = gained_velocity(output.float(), self.latents, signal, gains)
        self._output, self._timestep = output, timestep
        self.latents = self.scheduler.step(output, timestep, self.latents, return_dict=False, **self._step_options)[0]
        is_last = self.num_taken == len(self.timesteps)
        if self.initial is not None and self.initial.region is not None:
            # What is not made anew is the picture, as noisy as the rest.
            self.keep(self.initial.latents if is_last else self._noised(self.initial.latents), self.initial.region)
        if is_last and self.model.step_gains is not None and self.model.step_gains.final:
            # All of them, so that what was kept is decoded as what was made.
            self.latents = self.latents * self.latents.new_tensor(self.model.step_gains.final).view(1, -1, 1, 1)

    def keep(self, latents: Tensor, region: Tensor) -> None:
        """Put other latents of the same noise, [B, C, h, w], where the region, [B, 1, h, w], is 0."""
        self.latents = torch.where(region > 0, self.latents, latents)

    @torch.inference_mode()
    def preview(self) -> NDArray[np.uint8]:
        """What the first image is going to look like, guessed after a step without the VAE: [4h, 4w] uint8."""
        return project_to_grey(self.predicted(), self.model.preview_projection)

    def predicted(self) -> Tensor:
        """The latents [1, C, h, w] that the model expects at the end, seen from the last step."""
        settings = self.scheduler.config
        noisy, output = self._noisy[:1], self._output[:1]
        if settings.get("prediction_type", "flow_prediction") == "flow_prediction":
            expected: Tensor = noisy - self.scheduler.sigmas[self.num_skipped + self.num_taken - 1] * output
            return expected
        # With 61 trailing steps diffusers' rounding adds a 62nd at timestep -1.
        signal = self.scheduler.alphas_cumprod[max(int(self._timestep), 0)].to(noisy)
        return predicted_original(noisy, output, signal, settings.prediction_type)

    def _skip(self, num_steps: int) -> int:
        """Leave out the first steps, as diffusers' image-to-image pipelines do; gives the number of their timesteps."""
        skipped: int = num_steps * self.scheduler.order
        self.timesteps = self.timesteps[skipped:]
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(skipped)
        return skipped

    def _noised(self, latents: Tensor) -> Tensor:
        """Latents of pictures, as noisy as the step that comes next expects them."""
        timestep = self.timesteps[self.num_taken]
        noisy: Tensor = self.scheduler.add_noise(latents, self.noise, timestep[None])
        return noisy

    def _noise_source(self, seeds: list[int], shape: tuple[int, int, int]) -> dict[str, object]:
        """Each image's own generator, for those schedulers that add noise on the way."""
        if "generator" not in inspect.signature(self.scheduler.step).parameters:
            return {}
        generators = [generator_for(seed) for seed in seeds]
        for generator in generators:
            torch.randn(shape, generator=generator)  # go on behind the starting noise, do not repeat it
        return {"generator": generators}
