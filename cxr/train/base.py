"""Train the base model: the UNet on anatomy, view, sex and age, under a frozen text encoder that can already read.

Captions name no finding here; the findings are the LoRA's to learn.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from cxr.images.pixels import from_uint8
from cxr.images.squares import read_squares
from cxr.judges.networks import SIZE
from cxr.labels.captions import caption
from cxr.labels.radiograph import Radiograph
from cxr.labels.targets import LABELS, scaled_targets
from cxr.labels.vocabulary import FINDING_PHRASES, labels_of
from cxr.request.errors import DataError
from cxr.train.architecture import build_scheduler, build_unet
from cxr.train.augment import augment
from cxr.train.guide import load_guide, signal_and_noise, velocity_shift
from cxr.train.latents import COARSE_SIZE, block_cosines, latents_of
from cxr.train.setup import Setup, batch_generator
from cxr.train.text import read_text

NUM_VALIDATION = 256
NUM_OPPOSITES = 128  # prompts compared with their opposite, for each attribute
ALL_LABELS, VIEW = (*LABELS, "age"), "PA"  # as the guide has them
MACHINE_SETTINGS = {"_name_or_path", "local_files_only"}


@dataclass(frozen=True)
class FrozenParts:
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
    guided = tuple(name for name in ALL_LABELS if name != VIEW)  # it is learnt without; exaggerated, AP turns to haze

    def __init__(self, setup: Setup, parts: FrozenParts, guide: Path | None = None, guide_weight: float = 0.0) -> None:
        self.settings, self.device, self.vae = setup.settings, setup.device, parts.vae
        self.tokenizer, self.text_encoder = parts.tokenizer, parts.text_encoder.to(self.device)
        self.guide_weight = guide_weight
        self.guide = load_guide(guide).to(self.device) if guide and guide_weight else None
        self.records, self.validation_records = list(setup.training), list(setup.validation)[:NUM_VALIDATION]
        self.latents, self.validation_latents = latents_of(self.records), latents_of(self.validation_records)
        scheduler = build_scheduler()
        # Training needs only the noise schedule; UniPC's zero-SNR betas are the ones that sampling will use.
        self.alphas_cumprod = scheduler.alphas_cumprod.float().to(self.device)
        self.trained: nn.Module
        self.unet: UNet2DConditionModel

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
        draw = self._draw(self._latents(indices, generator), generator)
        target = draw.velocity + self._shift(draw, captions)
        return {"loss": (self._predict(draw, captions) - target).square().mean()}

    def validate(self) -> dict[str, float]:
        """The error on held-out patients, with the same noise, captions and timesteps at every call.

        "gain_sex" and its like tell how much better the true word predicts than the opposite one: near zero means
        that the word is not obeyed (yet). "effect_sex" is the root mean square of what the word changes.
        """
        if not self.validation_records:
            return {}
        chance = random.Random(20_251)
        captions = [caption(record, chance, findings=self.findings) for record in self.validation_records]
        figures = {"loss": float(self._errors(self.validation_records, captions)[0].mean())}
        for name, pairs in opposites(self.validation_records, findings=self.findings).items():
            records, true, opposite = zip(*pairs[:NUM_OPPOSITES], strict=True)
            (right, seen), (wrong, other) = (self._errors(records, list(texts)) for texts in (true, opposite))
            figures[f"gain_{name}"] = float((wrong - right).mean())
            figures[f"effect_{name}"] = float((seen - other).square().mean().sqrt())
        return figures

    def _latents(self, indices: list[int], generator: torch.Generator) -> Tensor:
        """Latents [B, 16, 16, 16] of training images."""
        return self.latents[indices]

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
        return self.guide_weight * self._shift_by(draw, captions, self.guided)

    def _shift_by(self, draw: Draw, captions: list[str], guided: Sequence[str]) -> Tensor:
        """What the guide adds for some of the labels, not weighted."""
        if self.guide is None:
            return torch.zeros_like(draw.velocity)
        labels = torch.from_numpy(scaled_targets([labels_of(text) for text in captions])).to(self.device)
        labels[:, [name not in guided for name in ALL_LABELS]] = torch.nan
        return velocity_shift(self.guide, draw.noisy, draw.timesteps, draw.alpha, draw.sigma, labels)

    def _predict(self, draw: Draw, captions: list[str], unet: UNet2DConditionModel | None = None) -> Tensor:
        """The velocity that the UNet (or another one) sees in noisy latents under these prompts, float32."""
        tokens = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            text = self.text_encoder(tokens.to(self.device))[0]
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
                velocities.append(self._predict(draw, captions[start : start + 32]))
            errors.append((velocities[-1] - draw.velocity).square().mean(dim=(1, 2, 3)))
        return torch.cat(errors), torch.cat(velocities)


class BaseTask(DiffusionTask):
    """The UNet is trained, from random weights or from exported ones.

    Args:
        setup: what to learn from.
        vae: folder that the autoencoder stage wrote.
        text: folder that the text stage wrote.
        start_from: exported model to begin with, or None.
        guide: file that the guide stage wrote, or None.
        guide_weight: how strongly it exaggerates labels.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        vae: Path,
        text: Path,
        start_from: Path | None = None,
        guide: Path | None = None,
        guide_weight: float = 0.0,
    ) -> None:
        super().__init__(setup, read_parts(vae, text), guide, guide_weight)
        torch.manual_seed(self.settings.seed)  # initial weights only
        if start_from is None:
            self.unet = build_unet()
        else:
            self.unet = UNet2DConditionModel.from_pretrained(start_from / "unet", dtype=torch.float32)
        use_fast_attention(self.unet, self.device)
        self.unet.to(self.device).train()
        self.trained = self.unet
        self.pixels = read_squares([record.path for record in self.records], SIZE)

    def _latents(self, indices: list[int], generator: torch.Generator) -> Tensor:
        """Of images that are moved a little at random: a film that comes back often is not learnt by heart as soon."""
        images = augment(from_uint8(self.pixels[indices]), generator)
        return block_cosines(functional.interpolate(images, size=COARSE_SIZE, mode="area"))

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


def read_parts(vae_dir: Path, text_dir: Path) -> FrozenParts:
    """Read ``vae/`` of one folder, ``text_encoder/`` and ``tokenizer/`` of another; float32, without gradients.

    Raises:
        DataError: one of them is missing or unreadable.
    """
    try:
        vae = AutoencoderKL.from_pretrained(vae_dir / "vae", dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise DataError(f"the vae in {vae_dir} cannot be read: {error}") from error
    return FrozenParts(vae.requires_grad_(False), *read_text(text_dir))


def opposites(records: Sequence[Radiograph], *, findings: bool) -> dict[str, list[tuple[Radiograph, str, str]]]:
    """Attribute -> (record, prompt that names it truly, the same prompt with the opposite)."""
    pairs: dict[str, list[tuple[Radiograph, str, str]]] = {}
    for record in records:
        if record.age is None or record.sex is None or record.view is None:
            continue
        truth = (record.view, record.age, record.sex, record.findings)
        others = {
            "view": ("AP" if record.view == "PA" else "PA", *truth[1:]),
            "sex": (*truth[:2], "F" if record.sex == "M" else "M", truth[3]),
            "age": (record.view, 80 if record.age < 50 else 20, *truth[2:]),
        }
        if findings and record.findings is not None:
            others["finding"] = (*truth[:3], () if record.findings else ("Effusion",))
        for name, other in others.items():
            pairs.setdefault(name, []).append((record, _plain_prompt(truth, findings), _plain_prompt(other, findings)))
    return pairs


def _plain_prompt(attributes: tuple[str, int, str, tuple[str, ...] | None], findings: bool) -> str:
    view, age, sex, found = attributes
    text = f"Chest X-ray, {view} view, {age}-year-old {'man' if sex == 'M' else 'woman'}"
    if not findings or found is None:
        return text
    return f"{text}, {', '.join(FINDING_PHRASES[name][0] for name in found) or 'no findings'}"


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
    forget_origins(folder)


def forget_origins(folder: Path) -> None:
    """Take out where this machine has read the parts from: it says nothing about them, and changes their hash."""
    for path in (*folder.glob("*/config.json"), *folder.glob("*/tokenizer_config.json")):
        settings = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: value for name, value in settings.items() if name not in MACHINE_SETTINGS}
        path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
