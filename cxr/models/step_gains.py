"""Gains that keep sampled latents as strong as real ones while they are denoised.

What a network expects of its own half-finished latents is fainter than what it expects of real ones with as much noise,
the more so the finer the detail, and each step starts from what the one before has lost. One factor for each step and
channel, measured on training images, gives it back: exposure bias (Ning et al., "Elucidating the Exposure Bias in
Diffusion Models", ICLR 2024), by channel, as latents that are frequencies lose different shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

LIMITS = (0.5, 2.0)  # of a gain


@dataclass(frozen=True)
class StepGains:
    """Factors on the expected latents, from ``step_gains.json`` in a model's folder.

    Args:
        num_inference_steps: of the sampling that they were measured with. More steps lose about as much in all, so that
            each of twice as many gets the root.
        timesteps: [N], falling.
        gains: [N][C], one row for each of them; between them the logarithm is interpolated.
        final: [C], factors on the finished latents; empty for none. A decoder made for fainter latents has a gain of
            its own, which would count twice.
    """

    num_inference_steps: int
    timesteps: tuple[int, ...]
    gains: tuple[tuple[float, ...], ...]
    final: tuple[float, ...] = ()

    def at(self, timestep: int, num_inference_steps: int) -> list[float]:
        """The factor of each channel [C] at a timestep, when so many steps are taken."""
        share = self.num_inference_steps / num_inference_steps
        columns = np.log(np.array(self.gains)).T
        logs = [np.interp(timestep, self.timesteps[::-1], column[::-1]) for column in columns]
        gains: list[float] = np.exp(share * np.array(logs)).tolist()
        return gains


def gained_velocity(velocity: Tensor, noisy: Tensor, alpha_cumprod: Tensor, gain: Tensor) -> Tensor:
    """The velocity whose expected latents are ``gain`` times as strong.

    Args:
        velocity: [B, C, h, w], what the network says (v-prediction).
        noisy: [B, C, h, w], what it says it of.
        alpha_cumprod: scalar in [0, 1), share of signal at this timestep.
        gain: [C].
    Returns:
        [B, C, h, w]. With x = signal * noisy - noise * velocity expected, this is (signal * noisy - gain * x) / noise.
    """
    ratio = (alpha_cumprod / (1 - alpha_cumprod)).sqrt()
    factor = gain.view(1, -1, 1, 1)
    return factor * velocity + (1 - factor) * ratio * noisy
