"""Where images begin that do not begin from noise alone: a picture's latents, the part to make anew, the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cxr.generate.loaded_model import LoadedModel
from cxr.images.pixels import from_uint8
from cxr.images.squares import fit_square
from cxr.request.events import GreyLevels
from cxr.request.generation_request import GenerationRequest
from cxr.request.init_image import InitImage
from cxr.request.mask_cells import CELLS, read_mask_cells

FEATHER = 2 * CELLS  # of the side: half a cell, over which a new part fades into the picture


@dataclass(frozen=True)
class InitLatents:
    """What a micro-batch begins from.

    Args:
        latents: [B, C, h, w] float32, of the pictures, scaled as the denoising network knows them.
        region: [B, 1, h, w] float32, 1 where latents are made anew and 0 where they stay the picture's; None for all.
        num_steps: last steps of the schedule that are taken.
    """

    latents: Tensor
    region: Tensor | None
    num_steps: int


@torch.inference_mode()
def encode_picture(picture: InitImage, model: LoadedModel) -> Tensor:
    """A picture as the denoising network knows it: [1, C, h, w] float32.

    It is encoded alone and in float32, whatever the model's own format: latents then depend on the picture only.

    Args:
        picture: fitted into the model's square, black beside it.
        model: whose VAE to use; the caller holds its lock.
    """
    torch.set_flush_denormal(True)
    vae = model.pipeline.vae
    square = from_uint8(fit_square(picture.pixels, model.info.resolution)[None]).to(model.device)
    with model.vae_in_float32():
        encoded: Any = vae.encode(square.expand(-1, vae.config.in_channels, -1, -1), return_dict=False)[0]
    # The mean of the encoder's distribution, as a draw would need its own seed; some autoencoders give one value only.
    latents = encoded if isinstance(encoded, Tensor) else encoded.mode()
    return model.family.scale(latents.float(), vae.config)


def region_of(mask_cells: str, side: int) -> Tensor | None:
    """Which latents are made anew, [1, 1, side, side] float32: those that a cell of the mask touches; None for all."""
    if not mask_cells:
        return None
    cells = torch.zeros(1, 1, CELLS, CELLS)
    for row, column in read_mask_cells(mask_cells):
        cells[..., row, column] = 1
    return functional.adaptive_max_pool2d(cells, (side, side))


def put_back(
    pixels: GreyLevels, request: GenerationRequest, side: int, surrounding: GreyLevels | None = None
) -> GreyLevels:
    """The picture around the region that was made anew: outside it the picture's own pixels, fading over inside it.

    Args:
        pixels: [H, H] uint8 or uint16, as they were decoded.
        side: of the latents.
        surrounding: like ``pixels``, the picture of the request's surrounding prompt, if it has one.
    """
    region, resolution, own = region_of(request.mask_cells, side), pixels.shape[0], surrounding
    if own is None and request.init_image is not None:
        own = _levels_like(pixels, request.init_image)
    if region is None or own is None:
        return pixels
    inside = region[0, 0].numpy().repeat(resolution // side, axis=0).repeat(resolution // side, axis=1)
    share = fade(inside, max(1, resolution // FEATHER))
    blended = (share * pixels + (1 - share) * own).round()
    return blended.astype(np.uint8) if pixels.dtype == np.uint8 else blended.astype(np.uint16)


def _levels_like(pixels: GreyLevels, picture: InitImage) -> GreyLevels:
    """A picture in the size and depth of decoded pixels."""
    fitted = fit_square(picture.pixels, pixels.shape[0])
    return fitted if pixels.dtype == np.uint8 else fitted.astype(np.uint16) * np.uint16(257)  # 65535 = 257 * 255


def fade(inside: NDArray[np.float32], width: int) -> NDArray[np.float64]:
    """Weights that grow from 0 outside a region to 1 at ``width`` pixels inside it.

    Args:
        inside: [H, W], 1 in the region and 0 outside; it goes on behind the borders of the picture.
        width: in pixels.
    """
    from scipy.ndimage import distance_transform_cdt  # takes its time, and few images have a region

    if inside.all():  # from nowhere outside is there a distance
        return np.ones(inside.shape)
    depth: NDArray[np.int32] = distance_transform_cdt(inside, "chessboard")
    return np.minimum(depth, width + 1) / (width + 1)
