"""The latent space of the embedded model, fixed by definition: 4x4 block cosines of the radiograph at 64x64.

A learnt encoder would have to be trained to its end before diffusion training could begin, and any later change of it
would void the UNet. This space needs no training, holds what a 64x64 image holds (34.1 dB of a 128-pixel radiograph),
and lets UNet and decoder improve apart. The autoencoder's encoder learns to compute it, its decoder to turn it into a
sharp image of 256x256.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cxr.folders.radiographs import load_pixels
from cxr.images.pixels import from_uint8
from cxr.labels.radiograph import Radiograph

BLOCK = 4
COARSE_SIZE = 64
# One factor for each pair of vertical and horizontal frequency. They bring the mean of a block to standard deviation
# 1.0 on the NIH images and the finest detail to about 0.5: few sampling steps would lose what is fainter than that.
LATENT_SCALE = (
    (0.53, 2.3, 5.1, 9.3),
    (2.9, 7.8, 12.0, 17.0),
    (5.7, 12.0, 17.0, 22.0),
    (9.9, 19.0, 23.0, 27.0),
)


def block_cosines(coarse: Tensor) -> Tensor:
    """Coarse images -> latents (the 4x4 discrete cosine transform of JPEG's kind, scaled).

    Args:
        coarse: [B, 1, 4h, 4w] float32 in [-1, 1], a radiograph at a quarter of the output's resolution.
    Returns:
        [B, 16, h, w] float32, frequencies in rows: channel 4 * vertical + horizontal.
    """
    basis = _scaled_basis().to(coarse)
    return functional.conv2d(coarse, basis[:, None], stride=BLOCK)


def latents_of_images(images: Tensor) -> Tensor:
    """Latents of images [B, 1, S, S] float32 in [-1, 1], whatever their size: [B, 16, 16, 16]."""
    return block_cosines(functional.interpolate(images, size=COARSE_SIZE, mode="area"))


def coarse_images(latents: Tensor) -> Tensor:
    """Latents -> the coarse images that `block_cosines` makes them of, [B, 1, 4h, 4w] float32; its inverse."""
    scale = torch.tensor(LATENT_SCALE).flatten().to(latents)[None, :, None, None]
    return functional.conv_transpose2d(latents / scale.square(), _scaled_basis().to(latents)[:, None], stride=BLOCK)


def latents_of(records: Sequence[Radiograph]) -> Tensor:
    """Latents of whole radiographs, in the order of the records: [N, 16, 16, 16] float16."""
    side = COARSE_SIZE // BLOCK
    result = torch.empty(len(records), BLOCK * BLOCK, side, side, dtype=torch.float16)
    for indices, pixels in load_pixels(records).values():
        for start in range(0, len(indices), 256):
            latents = latents_of_images(from_uint8(np.array(pixels[start : start + 256])))
            result[torch.from_numpy(indices[start : start + 256])] = latents.half()
    return result


def _scaled_basis() -> Tensor:
    """[16, 4, 4]: orthonormal type-II cosines of each frequency pair, times `LATENT_SCALE`."""
    positions = torch.arange(BLOCK) + 0.5
    frequencies = torch.arange(BLOCK)[:, None]
    cosines = torch.cos(math.pi / BLOCK * frequencies * positions) * math.sqrt(2 / BLOCK)
    cosines[0] /= math.sqrt(2)
    basis = torch.einsum("uy,vx->uvyx", cosines, cosines) * torch.tensor(LATENT_SCALE)[:, :, None, None]
    return basis.flatten(0, 1)
