"""What the UNet should predict, how wrong it is, and how much each noise level counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from torch import Tensor

from cxr.request.errors import RequestError
from cxr.train.full_lora.batches import Batch
from cxr.train.full_lora.components import ends_in_pure_noise

MIN_SNR_GAMMA = 5.0  # Hang et al., ICCV 2023


@dataclass(frozen=True)
class TrainedDenoiser:
    """A UNet with its LoRA, the noise schedule it was made with, and the number format of its frozen weights."""

    unet: UNet2DConditionModel
    schedule: DDPMScheduler
    dtype: torch.dtype

    @property
    def num_timesteps(self) -> int:
        """Length of the noise schedule."""
        return len(self.schedule.alphas_cumprod)

    def errors(self, batch: Batch) -> Tensor:
        """Mean squared error of each row of a batch on the UNet's device: [B] float32."""
        return (self._predict(batch) - self._target(batch)).square().mean(dim=(1, 2, 3))

    def _predict(self, batch: Batch) -> Tensor:
        """What the UNet says about a batch with its noise added: [B, C, h, w] float32."""
        noisy = self.schedule.add_noise(batch.latents, batch.noise, batch.timesteps).to(self.dtype)
        extra: dict[str, dict[str, Tensor]] = {}
        if "pooled" in batch.text:
            # Height and width, the corner of the crop, height and width wanted: nothing is cropped.
            row = [batch.resolution, batch.resolution, 0, 0, batch.resolution, batch.resolution]
            time_ids = torch.tensor([row] * len(noisy), device=noisy.device, dtype=torch.float32)
            pooled = batch.text["pooled"].to(self.dtype)
            extra["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": time_ids}
        text = batch.text["text"].to(self.dtype)
        output: Tensor = self.unet(noisy, batch.timesteps, text, return_dict=False, **extra)[0]
        return output.float()

    def _target(self, batch: Batch) -> Tensor:
        """The noise, or the velocity (Salimans & Ho, ICLR 2022), as the model was made to predict."""
        if self.schedule.config.prediction_type == "v_prediction":
            velocity: Tensor = self.schedule.get_velocity(batch.latents, batch.noise, batch.timesteps)
            return velocity.float()
        return batch.noise.float()


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
        raise RequestError(f"is {wanted:g}, but this model's schedule ends in pure noise; use 0", field="min_snr_gamma")
    return 0.0


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
