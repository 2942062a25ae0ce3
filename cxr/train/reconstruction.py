"""Fine detail of images: what latents and small sources hold of it, and how much of it there is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cxr.train.architecture import RESOLUTION
from cxr.train.latents import BLOCK

SOFT_SIZE = RESOLUTION // 2  # what a small source holds
LATENT_NOISE = 0.1  # largest standard deviation added to latents: sampled ones are not perfect either
LATENT_FADING = 0.3  # largest share taken from fine latents: few sampling steps leave them that much too faint


def as_if_sampled(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Latents [B, 16, h, w] of real images, made as noisy and as faint in the fine frequencies as sampled ones."""
    strength, fading = torch.rand(2, len(latents), 1, 1, 1, generator=generator)
    noise = LATENT_NOISE * strength * torch.randn(latents.shape, generator=generator)
    frequency = torch.arange(BLOCK)
    fineness = (frequency[:, None] + frequency).clamp(max=2).reshape(1, -1, 1, 1) / 2  # 0 for the mean, then 1/2, 1
    kept = (1 - LATENT_FADING * fading * fineness).to(latents.device)
    corrupted: Tensor = latents * kept + noise.to(latents.device)
    return corrupted


def pyramid_loss(images: Tensor, target: Tensor, levels: int) -> Tensor:
    """Mean L1 distance of values and of differences between neighbours, over halved sizes; [B, 1, H, W] each."""
    total = torch.zeros((), device=images.device)
    for level in range(levels):
        if level:
            images, target = shrink(images), shrink(target)
        error = images - target
        total = total + error.abs().mean()
        total = total + error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return total / levels


def energy_loss(images: Tensor, target: Tensor) -> Tensor:
    """Mean distance of the logarithms of local detail, 8x8 windows, at two sizes; [B, 1, H, W] each.

    It asks how much detail there is, not where, so that what cannot be known is painted as strongly as in real images.
    """
    total = torch.zeros((), device=images.device)
    for _ in range(2):
        total = total + (_log_energy(images) - _log_energy(target)).abs().mean()
        images, target = shrink(images), shrink(target)
    return total


def _log_energy(images: Tensor) -> Tensor:
    smooth = functional.interpolate(shrink(images), scale_factor=2.0, mode="bilinear")
    return 0.5 * (functional.avg_pool2d((images - smooth).square(), 8, 4) + 1e-6).log()


def shrink(images: Tensor) -> Tensor:
    """Half the side, by 2x2 means."""
    return functional.avg_pool2d(images, 2) if len(images) else images[..., ::2, ::2]


def enlarge(images: Tensor) -> Tensor:
    """Small images [B, 1, h, w] at twice the side, without new detail (bicubic)."""
    if images.shape[-1] >= RESOLUTION:
        images = functional.interpolate(images, size=SOFT_SIZE, mode="area")
    return functional.interpolate(images, scale_factor=2.0, mode="bicubic").clamp(-1, 1)


def detail(images: Tensor) -> Tensor:
    """What a 2x2 mean cannot hold: the band that the decoder has to paint."""
    return images - functional.interpolate(shrink(images), scale_factor=2.0, mode="nearest")


def psnr(images: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB for values in [-1, 1]."""
    return float(10 * torch.log10(4 / (images - target).square().mean()))
