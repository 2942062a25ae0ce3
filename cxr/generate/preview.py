"""What an image is going to look like, guessed after a step without the VAE."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxr.images.pixels import resize, to_uint8

PREVIEW_UPSCALING = 4  # latents are 8 times smaller than the image


def predicted_original(sample: Tensor, model_output: Tensor, alpha_cumprod: Tensor, prediction_type: str) -> Tensor:
    """The clean latents that the model expects at the end, seen from one step.

    Args:
        sample: [B, C, h, w], the noisy latents that went into the step.
        model_output: [B, C, h, w], what the UNet said about them.
        alpha_cumprod: scalar in [0, 1], share of signal at this timestep.
        prediction_type: the scheduler's: "v_prediction", "epsilon" or "sample".
    Source:
        Salimans and Ho, Progressive Distillation (2022), appendix D.
    """
    signal, noise = alpha_cumprod.sqrt(), (1 - alpha_cumprod).sqrt()
    if prediction_type == "v_prediction":
        return signal * sample - noise * model_output
    if prediction_type == "epsilon":
        return (sample - noise * model_output) / signal.clamp(min=1e-3)
    return model_output


def project_to_grey(latents: Tensor, projection: tuple[tuple[float, ...], float] | None) -> NDArray[np.uint8]:
    """A small grey picture of latents: one weighted sum of their channels, enlarged.

    Args:
        latents: [1, C, h, w] float32.
        projection: weight of each channel and a bias, giving grey in [-1, 1]; None shows the channels' mean with its
            contrast stretched.
    Returns:
        [4h, 4w] uint8.
    """
    if projection is None:
        grey = latents.mean(dim=1, keepdim=True)
        grey = (grey - grey.mean()) / (2.5 * grey.std()).clamp(min=1e-6)
    else:
        weights, bias = projection
        grey = (latents * latents.new_tensor(weights).view(1, -1, 1, 1)).sum(dim=1, keepdim=True) + bias
    height, width = grey.shape[-2:]
    enlarged = resize(torch.nan_to_num(grey), (height * PREVIEW_UPSCALING, width * PREVIEW_UPSCALING))
    picture: NDArray[np.uint8] = to_uint8(enlarged)[0]
    return picture
