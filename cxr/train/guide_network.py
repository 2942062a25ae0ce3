"""The guide: a network that reads labels off noisy latents, and how its gradient moves a velocity."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from cxr.labels.targets import LABELS
from cxr.request.errors import DataError
from cxr.train.architecture import LATENT_CHANNELS

LAST_TIMESTEP = 850  # later than this almost nothing is left to read, and the gradient is divided by almost nothing
MAX_SHIFT = 0.5  # root mean square; a velocity has about 1


class GuideNetwork(nn.Module):
    """Latents [B, 16, 16, 16] and timesteps [B] -> [B, 19]: logits of `LABELS`, the scaled age, its log deviation."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(32, width), nn.SiLU())
        self.enter = nn.Conv2d(LATENT_CHANNELS, width, 3, 1, 1)
        self.fine = nn.ModuleList([_Residual(width, width) for _ in range(2)])
        self.shrink = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.coarse = nn.ModuleList([_Residual(2 * width, width) for _ in range(2)])
        self.head = nn.Sequential(nn.GroupNorm(1, 4 * width), nn.Dropout(0.2), nn.Conv2d(4 * width, len(LABELS) + 2, 1))

    def forward(self, latents: Tensor, timesteps: Tensor) -> Tensor:
        time = self.time(_sinusoids(timesteps))
        maps = self.enter(latents)
        for block in self.fine:
            maps = block(maps, time)
        maps = self.shrink(maps)
        for block in self.coarse:
            maps = block(maps, time)
        maps = functional.silu(maps)
        # The mean shows diffuse findings; a soft maximum the focal ones, with a gradient at every place.
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.flatten(2).logsumexp(dim=2)], dim=1)
        read: Tensor = self.head(pooled[:, :, None, None])[:, :, 0, 0]
        return read


class _Residual(nn.Module):
    def __init__(self, width: int, time_width: int) -> None:
        super().__init__()
        self.scale = nn.Linear(time_width, 2 * width)
        self.norm = nn.GroupNorm(8, width)
        self.first, self.second = (nn.Conv2d(width, width, 3, 1, 1) for _ in range(2))
        self.between = nn.GroupNorm(8, width)

    def forward(self, maps: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.scale(time)[:, :, None, None].chunk(2, dim=1)
        inner = self.first(functional.silu(self.norm(maps)))
        inner = functional.silu(self.between(inner) * (1 + scale) + shift)
        result: Tensor = maps + self.second(inner)
        return result


def log_likelihood(read: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of what is known.

    Args:
        read: [B, 19], from `GuideNetwork`.
        targets: [B, 18], as `cxr.labels.targets.scaled_targets` gives them; NaN is unknown.
    Returns:
        [B] float32, a sum over the known labels and the age.
    """
    known = ~targets.isnan()
    wanted = targets.nan_to_num(0.0)
    labels = -functional.binary_cross_entropy_with_logits(
        read[:, : len(LABELS)], wanted[:, : len(LABELS)], reduction="none"
    )
    age, log_deviation = read[:, -2], read[:, -1].clamp(-3, 2)
    ages = -0.5 * ((age - wanted[:, -1]) / log_deviation.exp()).square() - log_deviation
    return (torch.cat([labels, ages[:, None]], dim=1) * known).sum(dim=1)


def velocity_shift(
    guide: GuideNetwork, noisy: Tensor, timesteps: Tensor, alpha: Tensor, sigma: Tensor, targets: Tensor
) -> Tensor:
    """What the labels change in the best velocity: -(sigma / alpha) times the gradient of their log-likelihood.

    Args:
        guide: a trained guide.
        noisy: [B, 16, 16, 16] float32, alpha * latents + sigma * noise.
        timesteps: [B] int64.
        alpha: [B, 1, 1, 1], the square root of alphas_cumprod.
        sigma: [B, 1, 1, 1], the square root of 1 - alphas_cumprod.
        targets: [B, 18]; NaN where the prompt says nothing.
    Returns:
        [B, 16, 16, 16] float32; zero beyond `LAST_TIMESTEP`, root mean square at most `MAX_SHIFT` a sample.
    """
    with torch.enable_grad():
        position = noisy.detach().requires_grad_(True)
        total = log_likelihood(guide(position, timesteps).float(), targets).sum()
        (gradient,) = torch.autograd.grad(total, position)
    shift = -(sigma / alpha.clamp(min=1e-6)) * gradient * (timesteps < LAST_TIMESTEP)[:, None, None, None]
    size = shift.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return shift * (MAX_SHIFT / size.clamp(min=MAX_SHIFT))


def load_guide(path: Path) -> GuideNetwork:
    """Read a guide that ``python -m cxr train guide`` wrote.

    Raises:
        DataError: the file is missing or is not a guide.
    """
    network = GuideNetwork()
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(f"{path} is not a guide that python -m cxr train guide wrote") from error
    return network.eval().requires_grad_(False)


def signal_and_noise(alphas_cumprod: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Levels of signal and noise, [B, 1, 1, 1] each, at timesteps [B] of a schedule [T]."""
    share = alphas_cumprod[timesteps][:, None, None, None]
    return share.sqrt(), (1 - share).sqrt()


def _sinusoids(timesteps: Tensor) -> Tensor:
    """[B] -> [B, 32]."""
    rates = torch.exp(-math.log(1000) * torch.arange(16, device=timesteps.device) / 16)
    angles = timesteps[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
