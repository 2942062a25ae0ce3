"""What the UNet should predict, and how much each noise level counts."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor

from cxr.request.errors import RequestError
from cxr.train.full_lora.networks import ends_in_pure_noise

MIN_SNR_GAMMA = 5.0  # Hang et al., ICCV 2023


def choose_gamma(wanted: float | None, schedule: DDPMScheduler) -> float:
    """The gamma of min-SNR weights, 0 for equal weights.

    Args:
        wanted: what the user asked for; None for 5 where the schedule allows it.
        schedule: of the model. Where it ends in pure noise, the last timestep would get no weight at all, and it is
            there that the prompt decides what the image shows.
    Raises:
        RequestError: it is asked for with such a schedule.
    """
    if not ends_in_pure_noise(schedule):
        return MIN_SNR_GAMMA if wanted is None else wanted
    if wanted:
        raise RequestError(f"min_snr_gamma is {wanted:g}, but this model's schedule ends in pure noise; use 0")
    return 0.0


def training_target(latents: Tensor, noise: Tensor, timesteps: Tensor, schedule: DDPMScheduler) -> Tensor:
    """The noise, or the velocity (Salimans & Ho, ICLR 2022), as the model was made to predict; all [B, C, h, w]."""
    if schedule.config.prediction_type == "v_prediction":
        velocity: Tensor = schedule.get_velocity(latents, noise, timesteps)
        return velocity
    return noise


def loss_weights(timesteps: Tensor, schedule: DDPMScheduler, gamma: float) -> Tensor:
    """Min-SNR weights: the loss of the image counts by the ratio of signal and noise, at most gamma.

    Args:
        timesteps: [B] int64.
        schedule: with the model's prediction_type; errors of noise are divided by the ratio, those of velocity by
            the ratio plus 1, to be errors of the image.
        gamma: 0 for equal weights.
    Returns:
        [B] float32.
    """
    if not gamma:
        return torch.ones(len(timesteps), device=timesteps.device)
    ratio = compute_snr(schedule, timesteps)
    divisor = ratio + 1 if schedule.config.prediction_type == "v_prediction" else ratio
    weights: Tensor = ratio.clamp(max=gamma) / divisor
    return weights


def squared_errors(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each row: [B, C, h, w] -> [B] float32."""
    return (prediction.float() - target.float()).square().mean(dim=(1, 2, 3))
