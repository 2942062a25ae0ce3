"""Train the guide: a network that reads labels off noisy latents, and says which way they point.

Sex explains 0.2 % of what radiographs differ by and most findings far less, so the diffusion loss alone needs very many
samples to notice them. A classifier of noisy latents notices them at once; its gradient is the exact difference that
a label makes to the best velocity (Dhariwal & Nichol, NeurIPS 2021), and is added to what the UNet learns to predict.
The guide sees training patients only, works in latent space and is never a judge of what is generated.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from cxr.images.pixels import from_uint8
from cxr.images.squares import read_squares
from cxr.judges.judge import measure_labels
from cxr.judges.networks import SIZE
from cxr.labels.targets import AGE_SCALE, LABELS, scaled_targets
from cxr.train.architecture import build_scheduler
from cxr.train.augment import jitter
from cxr.train.guide_network import LAST_TIMESTEP, GuideNetwork, log_likelihood, signal_and_noise
from cxr.train.latents import COARSE_SIZE, block_cosines
from cxr.train.setup import Setup, batch_generator

GUIDE = "guide.safetensors"
PROBED_TIMESTEPS = (250, 500, 700)


class GuideTask:
    """Cross-entropy of the labels and likelihood of the age at all noise levels; unknown cells count nothing."""

    def __init__(self, setup: Setup) -> None:
        self.settings, self.device = setup.settings, setup.device
        torch.manual_seed(self.settings.seed)  # initial weights only
        self.network = GuideNetwork().to(self.device)
        self.trained: nn.Module = self.network
        self.alphas_cumprod = build_scheduler().alphas_cumprod.float()
        self.pixels = read_squares([record.path for record in setup.training], SIZE)
        self.targets = torch.from_numpy(scaled_targets(setup.training))
        self.validation_pixels = read_squares([record.path for record in setup.validation], SIZE)
        self.validation_targets = torch.from_numpy(scaled_targets(setup.validation))

    def loss(self, step: int, share_done: float) -> dict[str, Tensor]:
        generator = batch_generator(self.settings.seed, step)
        indices = torch.randint(len(self.pixels), (self.settings.batch_size,), generator=generator)
        images = jitter(from_uint8(self.pixels[indices.numpy()]), generator)
        timesteps = torch.randint(LAST_TIMESTEP, (len(images),), generator=generator)
        read = self._read(images, timesteps, generator)
        error = -log_likelihood(read, self.targets[indices].to(self.device)).mean()
        return {"loss": error}

    def validate(self) -> dict[str, float]:
        """AUROC of each label and age error on held-out patients, at three noise levels."""
        figures: dict[str, float] = {}
        self.network.eval()
        for timestep in PROBED_TIMESTEPS if len(self.validation_pixels) else ():
            rows, generator = [], batch_generator(20_251, timestep)
            for start in range(0, len(self.validation_pixels), 64):
                images = from_uint8(self.validation_pixels[start : start + 64])
                with torch.no_grad():
                    rows.append(self._read(images, torch.full((len(images),), timestep), generator).cpu())
            read, targets = torch.cat(rows), self.validation_targets
            figures[f"loss_{timestep}"] = float(-log_likelihood(read, targets).mean())
            measured = measure_labels(read[:, : len(LABELS) + 1].double().numpy(), targets.numpy())
            measured["age_mae"] *= AGE_SCALE
            figures |= {f"{name}_{timestep}": value for name, value in measured.items() if math.isfinite(value)}
        self.network.train()
        return figures

    def export(self, out_dir: Path) -> None:
        save_file({name: value.contiguous() for name, value in self.network.state_dict().items()}, out_dir / GUIDE)

    def _read(self, images: Tensor, timesteps: Tensor, generator: torch.Generator) -> Tensor:
        latents = block_cosines(functional.interpolate(images, size=COARSE_SIZE, mode="area"))
        noise = torch.randn(latents.shape, generator=generator)
        alpha, sigma = signal_and_noise(self.alphas_cumprod, timesteps)
        noisy = alpha * latents + sigma * noise
        logits: Tensor = self.network(noisy.to(self.device), timesteps.to(self.device)).float()
        return logits
