"""Cached images and captions -> what the UNet is given; each batch a function of the seed and its number alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cxr.train.full_lora.base_model import BaseModel
from cxr.train.full_lora.cache import Rows, cache_latents, cache_texts
from cxr.train.full_lora.data import CaptionedImage, TrainingData
from cxr.train.full_lora.training_settings import FullLoraSettings
from cxr.train.setup import batch_generator

NUM_VALIDATION = 64  # held-out images, at each of these shares of the noise schedule
VALIDATION_SHARES = (0.125, 0.375, 0.625, 0.875)
VALIDATION_SEED = 20_251


@dataclass(frozen=True)
class Batch:
    """One batch on the device.

    Args:
        latents: [B, C, h, w] float32.
        noise: of the same shape.
        timesteps: [B] int64.
        text: embeddings of the captions, as `TextEncoders.encode` gives them.
        resolution: side in pixels of the images behind the latents, which SDXL reads.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    text: Rows
    resolution: int


class Batches:
    """The training set in latents, and a fixed part of the validation set.

    Args:
        base: whose VAE and text encoders to use; both are out of memory again when this is built.
        data: images and captions.
        settings: of the run.
        folder: keeps the latents and embeddings.
        device: where batches go.
    """

    def __init__(
        self, base: BaseModel, data: TrainingData, settings: FullLoraSettings, folder: Path, device: torch.device
    ) -> None:
        self.base, self.settings, self.device = base, settings, device
        self.resolution = settings.resolution or base.resolution
        self.training, self.validation = data.training, _spread(data.validation, NUM_VALIDATION)
        self.latents, self.validation_latents = (
            cache_latents(folder / name, base, images, self.resolution, device, data.sha256)
            for name, images in (("training", self.training), ("validation", self.validation))
        )
        shown = [text for image in (*self.training, *self.validation) for text in image.captions]
        texts = list(dict.fromkeys(["", *settings.validation_prompts, *shown]))
        self.texts, self.num_cut = cache_texts(folder / "texts", base, texts, device)
        self._places = {text: place for place, text in enumerate(texts)}

    def draw(self, number: int, num_timesteps: int) -> Batch:
        """A batch of the training set: every image once before any comes again, timesteps and noise at random."""
        generator, count = batch_generator(self.settings.seed, number), self.settings.batch_size
        indices = [self._index(number * count + place) for place in range(count)]
        timesteps = torch.randint(num_timesteps, (count,), generator=generator)
        dropped = torch.rand(count, generator=generator) < self.settings.caption_dropout
        wordings = [self.training[index].captions for index in indices]
        chosen = [some[int(torch.randint(len(some), (), generator=generator))] for some in wordings]
        captions = ["" if drop else text for drop, text in zip(dropped, chosen, strict=True)]
        return self._batch(self.latents.rows(indices)["latents"], captions, timesteps, generator)

    def validation_batch(self, index: int, num_timesteps: int) -> Batch:
        """One held-out image at all `VALIDATION_SHARES` of the schedule, with the same noise at every call."""
        timesteps = torch.tensor([int(share * num_timesteps) for share in VALIDATION_SHARES])
        latents = self.validation_latents.rows([index] * len(timesteps))["latents"]
        caption = self.validation[index].captions[0]
        generator = batch_generator(VALIDATION_SEED, index)
        return self._batch(latents, [caption] * len(timesteps), timesteps, generator)

    def embed(self, texts: Sequence[str]) -> Rows:
        """Cached embeddings of the empty text, validation prompts and captions, on the device in float32."""
        rows = self.texts.rows([self._places[text] for text in texts])
        return {name: value.to(self.device) for name, value in rows.items()}

    def _batch(self, latents: Tensor, captions: list[str], timesteps: Tensor, generator: torch.Generator) -> Batch:
        noise = torch.randn(latents.shape, generator=generator)
        return Batch(
            latents.to(self.device),
            noise.to(self.device),
            timesteps.to(self.device),
            self.embed(captions),
            self.resolution,
        )

    def _index(self, position: int) -> int:
        """The image at a position of an endless row of shuffled passes through the training set."""
        turn, place = divmod(position, len(self.training))
        order = torch.randperm(len(self.training), generator=batch_generator(self.settings.seed + 1, turn))
        return int(order[place])


def _spread(images: tuple[CaptionedImage, ...], count: int) -> tuple[CaptionedImage, ...]:
    """At most ``count`` images, evenly from all of them."""
    return images[:: -(-len(images) // count) or 1][:count]
