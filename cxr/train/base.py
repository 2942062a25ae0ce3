"""Train the base model: text encoder and UNet together, on anatomy, view, sex and age.

Captions name no finding here; the findings are the LoRA's to learn.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from cxr.data import Radiograph
from cxr.train.architecture import build_scheduler, build_text_encoder, build_unet
from cxr.train.captions import build_tokenizer, caption
from cxr.train.latents import latents_of
from cxr.train.loop import LoopSettings, autocast, batch_generator

NUM_VALIDATION = 256


class DiffusionTask:
    """Velocity prediction on latents; the base and the LoRA differ in what they train and how they caption."""

    findings = False

    def __init__(
        self,
        training: Sequence[Radiograph],
        validation: Sequence[Radiograph],
        settings: LoopSettings,
        device: torch.device,
        vae: AutoencoderKL,
    ) -> None:
        self.settings, self.device, self.vae = settings, device, vae
        self.records, self.validation_records = list(training), list(validation)[:NUM_VALIDATION]
        self.latents, self.validation_latents = latents_of(self.records), latents_of(self.validation_records)
        scheduler = build_scheduler()
        # Training needs only the noise schedule; UniPC's zero-SNR betas are the ones that sampling will use.
        self.alphas_cumprod = scheduler.alphas_cumprod.float().to(device)
        self.trained: nn.Module
        self.unet: nn.Module
        self.text_encoder: nn.Module
        self.tokenizer: CLIPTokenizer

    def pick(self, generator: torch.Generator, count: int) -> list[int]:
        """Indices of the training images of one batch."""
        return torch.randint(len(self.records), (count,), generator=generator).tolist()

    def loss(self, step: int, share_done: float) -> dict[str, Tensor]:
        """Mean squared error of the velocity (Salimans & Ho, ICLR 2022), all timesteps alike.

        Min-SNR weights would vanish at the zero-SNR end, which is where a prompt decides what the image shows.
        """
        generator = batch_generator(self.settings.seed, step)
        indices = self.pick(generator, self.settings.batch_size)
        chance = random.Random(f"{self.settings.seed} {step}")
        captions = [caption(self.records[index], chance, findings=self.findings) for index in indices]
        return {"loss": self._velocity_error(self.latents[indices], captions, generator).mean()}

    def validate(self) -> dict[str, float]:
        """The same error on held-out patients, with the same noise, captions and timesteps at every call."""
        generator, chance = batch_generator(20_251, 0), random.Random(20_251)
        errors = []
        for start in range(0, len(self.validation_records), 32):
            batch = slice(start, start + 32)
            captions = [caption(r, chance, findings=self.findings) for r in self.validation_records[batch]]
            with torch.no_grad(), autocast(self.device):
                errors.append(self._velocity_error(self.validation_latents[batch], captions, generator))
        return {"loss": float(torch.cat(errors).mean())} if errors else {}

    def extra_state(self) -> dict[str, Tensor]:
        return {}

    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        return None

    def _velocity_error(self, latents: Tensor, captions: list[str], generator: torch.Generator) -> Tensor:
        """[B, 16, 16, 16] latents and B prompts -> squared error a sample, [B]."""
        latents = latents.float().to(self.device)
        count = len(latents)
        # One timestep from each of B equal slices: the loss of a batch varies less than with free draws.
        slices = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
        timesteps = (slices * len(self.alphas_cumprod)).long().to(self.device)
        noise = torch.randn(latents.shape, generator=generator).to(self.device)
        alpha = self.alphas_cumprod[timesteps].sqrt()[:, None, None, None]
        sigma = (1 - self.alphas_cumprod[timesteps]).sqrt()[:, None, None, None]
        tokens = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        text = self.text_encoder(tokens.to(self.device))[0]
        velocity = self.unet(alpha * latents + sigma * noise, timesteps, text).sample
        error: Tensor = (velocity.float() - (alpha * noise - sigma * latents)).square().mean(dim=(1, 2, 3))
        return error


class BaseTask(DiffusionTask):
    """Everything but the autoencoder is trained, from random weights."""

    def __init__(
        self,
        training: Sequence[Radiograph],
        validation: Sequence[Radiograph],
        settings: LoopSettings,
        device: torch.device,
        *,
        model_dir: Path,
        start_from: Path | None = None,
    ) -> None:
        vae = AutoencoderKL.from_pretrained(model_dir / "vae")
        super().__init__(training, validation, settings, device, vae)
        torch.manual_seed(settings.seed)  # initial weights only
        self.unet: UNet2DConditionModel
        self.text_encoder: CLIPTextModel
        if start_from is None:
            self.tokenizer = build_tokenizer()
            self.unet, self.text_encoder = build_unet(), build_text_encoder(self.tokenizer)
        else:
            self.tokenizer = CLIPTokenizer.from_pretrained(start_from / "tokenizer")
            self.unet = UNet2DConditionModel.from_pretrained(start_from / "unet", dtype=torch.float32)
            self.text_encoder = CLIPTextModel.from_pretrained(start_from / "text_encoder", dtype=torch.float32)
        use_fast_attention(self.unet, device)
        self.unet.to(device).train()
        self.text_encoder.to(device).train()
        self.trained = nn.ModuleDict({"unet": self.unet, "text_encoder": self.text_encoder})

    def export(self, out_dir: Path) -> None:
        """Write the whole pipeline in diffusers' folder format, float16."""
        pipeline = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=build_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        save_half_precision(pipeline, out_dir / "model")
        weights, bias = fit_preview(self.vae, self.latents[:16].float().to(self.device))
        preview = {"weights": [round(weight, 5) for weight in weights], "bias": round(bias, 5)}
        (out_dir / "model" / "preview.json").write_text(json.dumps(preview) + "\n")


def use_fast_attention(unet: UNet2DConditionModel, device: torch.device) -> None:
    """Plain attention for training on a CPU: the backward pass of torch's fused one is slower there."""
    if device.type == "cpu":
        unet.set_attn_processor(AttnProcessor())


@torch.no_grad()
def fit_preview(vae: AutoencoderKL, latents: Tensor) -> tuple[list[float], float]:
    """Least squares from the channels of latents to the grey of the decoded image at the latents' size.

    Args:
        vae: decodes the latents.
        latents: [B, C, h, w] float32, times ``scaling_factor``.
    Returns:
        A weight for each channel and a bias, giving grey in [-1, 1].
    """
    images = vae.decode(latents / vae.config.scaling_factor).sample.mean(dim=1, keepdim=True)
    grey = torch.nn.functional.interpolate(images, size=latents.shape[-2:], mode="area").flatten()
    channels = latents.movedim(1, -1).flatten(0, -2)
    table = torch.cat([channels, torch.ones_like(channels[:, :1])], dim=1)
    solution = torch.linalg.lstsq(table.double().cpu(), grey.double().cpu()[:, None]).solution[:, 0].tolist()
    return solution[:-1], solution[-1]


def save_half_precision(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Save float16 copies of a pipeline's weights and leave the pipeline as it was."""
    half = {
        name: copy.deepcopy(module).cpu().half() if isinstance(module, nn.Module) else module
        for name, module in pipeline.components.items()
    }
    StableDiffusionPipeline(**half, requires_safety_checker=False).save_pretrained(folder)
