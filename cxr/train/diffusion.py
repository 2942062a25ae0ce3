"""What training the base model and its LoRA have in common: noisy latents, captions, and what a UNet should predict."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from cxr.labels.captions import caption
from cxr.labels.radiograph import Radiograph
from cxr.labels.vocabulary import labels_of
from cxr.train.architecture import build_scheduler, read_component
from cxr.train.film_draws import FilmDraws
from cxr.train.guide_network import NAMES, guide_targets, load_guides, signal_and_noise, velocity_shift
from cxr.train.latents import latents_of
from cxr.train.opposites import opposites
from cxr.train.setup import Setup, batch_generator
from cxr.train.text_task import read_text_encoder, token_ids

NUM_VALIDATION = 256
NUM_OPPOSITES = 128  # prompts compared with their opposite, for each attribute
VIEW = "PA"  # as the guide calls it
# Only every fourth batch is moved by the guide, four times as far: the same on average, in 0.84 of the time.
GUIDED_EVERY = 4


@dataclass(frozen=True)
class FrozenComponents:
    """What is trained beforehand and stays as it is: the ends of the pipeline."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer


@dataclass(frozen=True)
class Draw:
    """Noisy latents and their velocity [B, 16, 16, 16], timesteps [B], signal and noise levels [B, 1, 1, 1]."""

    noisy: Tensor
    velocity: Tensor
    timesteps: Tensor
    alpha: Tensor
    sigma: Tensor


class DiffusionTask:
    """Velocity prediction on latents; the base and the LoRA differ in what they train and how they caption."""

    findings = False
    guided = tuple(name for name in NAMES if name != VIEW)  # it is learnt without; exaggerated, AP turns to haze

    def __init__(
        self, setup: Setup, parts: FrozenComponents, guide: Sequence[Path] | None = None, guide_weight: float = 0.0
    ) -> None:
        self.settings, self.device, self.vae = setup.settings, setup.device, parts.vae
        self.tokenizer, self.text_encoder = parts.tokenizer, nn.Module.to(parts.text_encoder, self.device)
        self.guide_weight = guide_weight
        self.guide = load_guides(guide).to(self.device) if guide and guide_weight else None
        self.records, self.validation_records = list(setup.training), list(setup.validation)[:NUM_VALIDATION]
        self.draws = FilmDraws(self.records)
        self.latents, self.validation_latents = latents_of(self.records), latents_of(self.validation_records)
        scheduler = build_scheduler()
        # Training needs only the noise schedule; UniPC's zero-SNR betas are the ones that sampling will use.
        self.alphas_cumprod = scheduler.alphas_cumprod.float().to(self.device)
        self.trained: nn.Module
        self.unet: UNet2DConditionModel

    def loss(self, step: int) -> dict[str, Tensor]:
        """Mean squared error of the velocity (Salimans & Ho, ICLR 2022), all timesteps alike.

        Min-SNR weights would vanish at the zero-SNR end, which is where a prompt decides what the image shows.
        """
        generator = batch_generator(self.settings.seed, step)
        indices = self.draws.pick(generator, self.settings.batch_size)
        rng = random.Random(f"{self.settings.seed} {step}")
        captions = [caption(self.records[index], rng, findings=self.findings) for index in indices]
        draw = self._draw(self.latents[indices], generator)
        target = self._target(draw, captions, step)
        return {"loss": (self.predict(draw, captions) - target).square().mean()}

    def _target(self, draw: Draw, captions: list[str], step: int) -> Tensor:
        """What the UNet should predict: the velocity, in every fourth batch moved as the guide says."""
        if step % GUIDED_EVERY:
            return draw.velocity
        return draw.velocity + GUIDED_EVERY * self._shift(draw, captions)

    def validate(self) -> dict[str, float]:
        """The error on held-out patients, with the same noise, captions and timesteps at every call.

        "gain_sex" and its like say how much better the true word predicts than the opposite one: near zero means
        that the word is not obeyed (yet). "effect_sex" is the root mean square of what the word changes.
        """
        if not self.validation_records:
            return {}
        rng = random.Random(20_251)
        captions = [caption(record, rng, findings=self.findings) for record in self.validation_records]
        figures = {"loss": float(self._errors(self.validation_records, captions)[0].mean())}
        for name, pairs in opposites(self.validation_records, findings=self.findings).items():
            records, true, opposite = zip(*pairs[:NUM_OPPOSITES], strict=True)
            (right, seen), (wrong, other) = (self._errors(records, list(texts)) for texts in (true, opposite))
            figures[f"gain_{name}"] = float((wrong - right).mean())
            figures[f"effect_{name}"] = float((seen - other).square().mean().sqrt())
        return figures

    def _draw(self, latents: Tensor, generator: torch.Generator) -> Draw:
        """[B, 16, 16, 16] latents -> noisy ones, one timestep from each of B equal slices, in random order.

        So the loss of a batch varies less than with free draws.
        """
        count = len(latents)
        slices = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
        timesteps = (slices * len(self.alphas_cumprod)).long().to(self.device)
        noise = torch.randn(latents.shape, generator=generator).to(self.device)
        latents = latents.float().to(self.device)
        alpha, sigma = signal_and_noise(self.alphas_cumprod, timesteps)
        return Draw(alpha * latents + sigma * noise, alpha * noise - sigma * latents, timesteps, alpha, sigma)

    def _shift(self, draw: Draw, captions: list[str]) -> Tensor:
        """What the guide adds to the velocity for what the captions say; zeros without a guide."""
        return self.guide_weight * self._shift_to(draw, self._labels(captions, self.guided))

    def _labels(self, captions: list[str], names: Sequence[str]) -> Tensor:
        """What captions say of the labels with these names, as `guide_targets`; all others are NaN."""
        labels = guide_targets([labels_of(text) for text in captions]).to(self.device)
        labels[:, [name not in names for name in NAMES]] = torch.nan
        return labels

    def _shift_to(self, draw: Draw, labels: Tensor) -> Tensor:
        """What the guide adds for these labels, not weighted; zeros without a guide."""
        if self.guide is None:
            return torch.zeros_like(draw.velocity)
        return velocity_shift(self.guide, draw.noisy, draw.timesteps, draw.alpha, draw.sigma, labels)

    def predict(self, draw: Draw, captions: list[str], unet: UNet2DConditionModel | None = None) -> Tensor:
        """The velocity that the UNet (or another one) sees in noisy latents under these prompts, float32."""
        with torch.no_grad():
            text = self.text_encoder(token_ids(self.tokenizer, captions).to(self.device))[0]
        velocity: Tensor = (unet or self.unet)(draw.noisy, draw.timesteps, text).sample.float()
        return velocity

    def _errors(self, records: Sequence[Radiograph], captions: list[str]) -> tuple[Tensor, Tensor]:
        """Squared error of each record [N] and its predicted velocity, with the same noise at every call."""
        place = {id(record): index for index, record in enumerate(self.validation_records)}
        errors, velocities, generator = [], [], batch_generator(20_251, 0)
        for start in range(0, len(records), 32):
            indices = [place[id(record)] for record in records[start : start + 32]]
            draw = self._draw(self.validation_latents[indices], generator)
            with torch.no_grad():
                velocities.append(self.predict(draw, captions[start : start + 32]))
            errors.append((velocities[-1] - draw.velocity).square().mean(dim=(1, 2, 3)))
        return torch.cat(errors), torch.cat(velocities)


def read_components(vae_dir: Path, text_dir: Path) -> FrozenComponents:
    """Read ``vae/`` of one folder, ``text_encoder/`` and ``tokenizer/`` of another; float32, without gradients.

    Raises:
        DataError: one of them is missing or unreadable.
    """
    vae = read_component(AutoencoderKL, vae_dir / "vae")
    return FrozenComponents(vae.requires_grad_(False), *read_text_encoder(text_dir))


def use_fast_attention(unet: UNet2DConditionModel, device: torch.device) -> None:
    """Plain attention for training on a CPU: the backward pass of torch's fused one is slower there."""
    if device.type == "cpu":
        unet.set_attn_processor(AttnProcessor())
