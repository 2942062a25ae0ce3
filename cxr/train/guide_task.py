"""Train the guide: a network that reads labels off noisy latents, and says which way they point.

Sex explains 0.2 % of what radiographs differ by and most findings far less, so the diffusion loss alone needs very many
samples to notice them. A classifier of noisy latents notices them at once; its gradient is the exact difference that
a label makes to the best velocity (Dhariwal & Nichol, NeurIPS 2021), and is added to what the UNet learns to predict.
The guide sees training patients only, works in latent space and is never a judge of what is generated. It begins as the
encoder of a UNet that has learnt to denoise radiographs (``--start-from``), which has seen what tells them apart.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cxr.images.pixels import from_uint8
from cxr.images.squares import read_squares
from cxr.judges.judge import measure_labels
from cxr.judges.networks import SIZE
from cxr.labels.targets import AGE_SCALE, LABELS
from cxr.metrics.agreement import auroc
from cxr.train.architecture import build_scheduler, read_unet
from cxr.train.augment import jitter
from cxr.train.diffusion import use_fast_attention
from cxr.train.film_draws import FindingDraws
from cxr.train.guide_network import (
    LAST_TIMESTEP,
    SIDED,
    YES_NO,
    GuideNetwork,
    guide_targets,
    log_likelihood,
    signal_and_noise,
)
from cxr.train.latents import latents_of_images
from cxr.train.setup import Setup, batch_generator
from cxr.train.text_task import read_text_encoder, token_ids

GUIDE = "guide.safetensors"
PROBED_TIMESTEPS = (250, 500, 700)
NUM_DRAWN = 4_000  # images that tell how often each answer is yes
LABEL_SMOOTHING = 0.1  # mined from reports, some are wrong


class GuideTask:
    """Cross-entropy of the labels and likelihood of the age at all noise levels; unknown cells count nothing.

    Args:
        setup: what to learn from.
        start_from: exported model whose UNet's encoder to begin with, or None for random weights.
    """

    def __init__(self, setup: Setup, *, start_from: Path | None = None) -> None:
        self.settings, self.device = setup.settings, setup.device
        torch.manual_seed(self.settings.seed)  # initial weights only
        self.network = _network(start_from, self.device)
        self.trained: nn.Module = self.network
        self.alphas_cumprod = build_scheduler().alphas_cumprod.float()
        self.pixels = read_squares([record.path for record in setup.training], SIZE)
        self.targets, self.draws = guide_targets(setup.training), FindingDraws(setup.training)
        drawn = self.draws.pick(batch_generator(self.settings.seed, -1), NUM_DRAWN)
        self.network.begin_with_odds_of(self.targets[drawn])
        self.validation_pixels = read_squares([record.path for record in setup.validation], SIZE)
        self.validation_targets = guide_targets(setup.validation)

    def loss(self, step: int) -> dict[str, Tensor]:
        generator = batch_generator(self.settings.seed, step)
        indices = self.draws.pick(generator, self.settings.batch_size)
        images = jitter(from_uint8(self.pixels[indices]), generator)
        timesteps = torch.randint(LAST_TIMESTEP, (len(images),), generator=generator)
        read = self._read(images, timesteps, generator)
        error = -log_likelihood(read, self.targets[indices].to(self.device), LABEL_SMOOTHING).mean()
        return {"loss": error}

    def validate(self) -> dict[str, float]:
        """AUROC of each label and of the side, and age error, on held-out patients at three noise levels."""
        figures: dict[str, float] = {}
        self.network.eval()
        for timestep in PROBED_TIMESTEPS if len(self.validation_pixels) else ():
            rows, generator = [], batch_generator(20_251, timestep)
            for start in range(0, len(self.validation_pixels), 64):
                images = from_uint8(self.validation_pixels[start : start + 64])
                with torch.no_grad():
                    rows.append(self._read(images, torch.full((len(images),), timestep), generator).cpu())
            measured = _measured(torch.cat(rows), self.validation_targets)
            figures |= {f"{name}_{timestep}": value for name, value in measured.items() if math.isfinite(value)}
        self.network.train()
        return figures

    def export(self, out_dir: Path) -> None:
        save_file({name: value.contiguous() for name, value in self.network.state_dict().items()}, out_dir / GUIDE)

    def _read(self, images: Tensor, timesteps: Tensor, generator: torch.Generator) -> Tensor:
        latents = latents_of_images(images)
        noise = torch.randn(latents.shape, generator=generator)
        alpha, sigma = signal_and_noise(self.alphas_cumprod, timesteps)
        noisy = alpha * latents + sigma * noise
        logits: Tensor = self.network(noisy.to(self.device), timesteps.to(self.device)).float()
        return logits


def _network(start_from: Path | None, device: torch.device) -> GuideNetwork:
    """With random weights, or with those of an exported model's UNet, which then reads a text that says nothing."""
    if start_from is None:
        return GuideNetwork().to(device)
    unet = read_unet(start_from)
    use_fast_attention(unet, device)
    encoder, tokenizer = read_text_encoder(start_from)
    with torch.no_grad():
        text = encoder(token_ids(tokenizer, [""]))[0]
    return GuideNetwork(unet, text).to(device)


def _measured(read: Tensor, targets: Tensor) -> dict[str, float]:
    """Log-likelihood, "auroc_<label>" and "age_mae" in years; AUROC of left against right where it is one of them."""
    rows = torch.cat([read[:, : len(LABELS)], read[:, -2:-1]], dim=1).double().numpy()
    wanted = torch.cat([targets[:, : len(LABELS)], targets[:, -1:]], dim=1).numpy()
    figures = {"loss": float(-log_likelihood(read, targets).mean())} | measure_labels(rows, wanted)
    figures["age_mae"] *= AGE_SCALE
    for finding in SIDED:
        left, right = (YES_NO.index(f"{side} {finding}") for side in ("left", "right"))
        one_sided = targets[:, left] + targets[:, right] == 1
        lead, is_left = read[one_sided, left] - read[one_sided, right], targets[one_sided, left] == 1
        figures[f"auroc_left_{finding}"] = auroc(lead.double().numpy(), is_left.numpy())
    return figures
