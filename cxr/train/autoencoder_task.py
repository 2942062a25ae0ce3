"""Train the autoencoder: 128-pixel detail in, sharp 256-pixel radiographs out.

The latent space is fixed (`cxr.train.latents`), so encoder and decoder are trained side by side, each on its own: the
encoder to compute it, the decoder to paint from it. Most radiographs of a data folder may be small (128 pixels); a few
are larger. Where the source is larger, the decoder must return the sharp original; where it is not, its output is
compared after shrinking it back. L1 alone paints softly, so the energy of the fine detail is compared as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cxr.folders.radiographs import load_pixels
from cxr.images.pixels import from_uint8
from cxr.labels.radiograph import Radiograph
from cxr.request.errors import DataError, RequestError
from cxr.train.architecture import RESOLUTION, build_autoencoder, read_component
from cxr.train.latents import block_cosines
from cxr.train.reconstruction import SOFT_SIZE, as_if_sampled, detail, energy_loss, enlarge, psnr, pyramid_loss, shrink
from cxr.train.setup import Setup, batch_generator

LOG_VARIANCE = -9.0  # of the posterior, which has nothing to be unsure about
ENCODER_SHARE = 0.25  # of each batch that also trains the encoder, the easier part
ENERGY_WEIGHT = 0.04  # of the detail's energy against the reconstruction


class AutoencoderTask:
    """Reconstruction for what latents hold, the right amount of detail for what they do not."""

    def __init__(self, setup: Setup, *, start_from: Path | None = None, crop_size: int = RESOLUTION) -> None:
        check_crop_size(crop_size)
        self.crop_size = crop_size
        self.settings, self.device = setup.settings, setup.device
        torch.manual_seed(self.settings.seed)  # initial weights only; batches have generators of their own
        vae = read_component(AutoencoderKL, start_from) if start_from else build_autoencoder()
        self.vae: AutoencoderKL = vae.to(self.device)
        self.trained: nn.Module = self.vae
        self.small, self.large = by_size(setup.training)
        self.validation_small, self.validation_large = (images[:24] for images in by_size(setup.validation))

    def loss(self, step: int) -> dict[str, Tensor]:
        """Half of the batch from large sources (where there are any), half from small ones."""
        generator = batch_generator(self.settings.seed, step)
        num_sharp = self.settings.batch_size // 2 if len(self.large) else 0
        sharp = self._sharp_crops(num_sharp, generator)
        soft = self._soft_crops(self.settings.batch_size - num_sharp, generator)
        latents = torch.cat([block_cosines(shrink(shrink(sharp))), block_cosines(shrink(soft))])
        encoding = self._encoder_loss(torch.cat([enlarge(shrink(sharp)), enlarge(soft)]), latents)
        decoded = self.vae.decode(as_if_sampled(latents, generator)).sample.float()
        small = shrink(decoded[num_sharp:])
        reconstruction, energy = pyramid_loss(small, soft, levels=3), energy_loss(small, soft)
        if num_sharp:
            large = decoded[:num_sharp]
            reconstruction = (reconstruction + pyramid_loss(large, sharp, levels=4)) / 2
            energy = (energy + energy_loss(large, sharp)) / 2
        total = reconstruction + ENERGY_WEIGHT * energy + encoding
        return {"loss": total, "reconstruction": reconstruction, "energy": energy, "encoding": encoding}

    def validate(self) -> dict[str, float]:
        """Figures on held-out patients.

        PSNR in dB, the decoder's detail energy against that of real large images, and the encoder's error.
        """
        figures = {}
        if len(self.validation_large):
            target = functional.interpolate(from_uint8(self.validation_large), size=RESOLUTION, mode="area")
            decoded = decode_each(self.vae, block_cosines(shrink(shrink(target))))
            figures["psnr_256"] = psnr(decoded, target)
            figures["detail_ratio"] = float(detail(decoded).std() / detail(target).std())
        if len(self.validation_small):
            target = from_uint8(self.validation_small)
            latents = block_cosines(shrink(target))
            figures["psnr_128"] = psnr(shrink(decode_each(self.vae, latents)), target)
            encoded = [self.vae.encode(enlarge(image[None]).to(self.device)).latent_dist.mean.cpu() for image in target]
            figures["encoder_rmse"] = float((torch.cat(encoded) - latents).square().mean().sqrt())
        return figures

    def export(self, out_dir: Path) -> None:
        """Write ``vae/``; the latents need no further scaling."""
        self.vae.register_to_config(scaling_factor=1.0)
        self.vae.save_pretrained(out_dir / "vae")

    def _encoder_loss(self, images: Tensor, latents: Tensor) -> Tensor:
        count = max(1, int(len(images) * ENCODER_SHARE))
        rows = torch.linspace(0, len(images) - 1, count).long()  # from large and small sources alike
        posterior = self.vae.encode(images[rows]).latent_dist
        error = (posterior.mean.float() - latents[rows]).square().mean()
        loss: Tensor = error + 1e-3 * (posterior.logvar.float() - LOG_VARIANCE).square().mean()
        return loss

    def _sharp_crops(self, count: int, generator: torch.Generator) -> Tensor:
        if not count:
            return torch.empty(0, 1, self.crop_size, self.crop_size, device=self.device)
        side = self.large.shape[-1]
        targets = []
        for index in torch.randint(len(self.large), (count,), generator=generator).tolist():
            # Sizes around the true scale show the decoder the same anatomy at several distances.
            zoom = 0.8 + 0.3 * float(torch.rand((), generator=generator))
            region = crop(self.large[index], min(side, int(self.crop_size * side / RESOLUTION * zoom)), generator)
            targets.append(functional.interpolate(region, size=self.crop_size, mode="bilinear", antialias=True))
        return torch.cat(targets).to(self.device)

    def _soft_crops(self, count: int, generator: torch.Generator) -> Tensor:
        source = self.small if len(self.small) else self.large
        crops = random_crops(source, count, self.crop_size, generator).to(self.device)
        return functional.interpolate(crops, size=self.crop_size // 2, mode="area")


def check_crop_size(crop_size: int) -> None:
    """Refuse a side of training crops that the networks cannot halve often enough, or that no image has.

    Raises:
        RequestError: it is not a multiple of 32 up to the side of an image.
    """
    if crop_size % 32 or not 0 < crop_size <= RESOLUTION:
        raise RequestError(f"is {crop_size}; use a multiple of 32 up to {RESOLUTION}", field="crop_size")


def decode_each(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Latents [B, 16, h, w], one at a time to save memory -> images [B, 1, 16h, 16w] float32 in [-1, 1] on the CPU."""
    return torch.cat([vae.decode(row[None].to(vae.device)).sample for row in latents]).float().cpu().clamp(-1, 1)


def random_crops(images: NDArray[np.uint8], count: int, crop_size: int, generator: torch.Generator) -> Tensor:
    """Squares of images [N, S, S] at random, [count, 1, s, s]: s is the share of S that a crop is of a whole image.

    Args:
        images: to pick from.
        count: of the crops.
        crop_size: their side in pixels of a whole image.
        generator: source of all draws.
    """
    width = crop_size * images.shape[-1] // RESOLUTION
    picked = torch.randint(len(images), (count,), generator=generator).tolist()
    return torch.cat([crop(images[index], width, generator) for index in picked])


def crop(image: NDArray[np.uint8], width: int, generator: torch.Generator) -> Tensor:
    """A square of an image [S, S] at random: [1, 1, width, width] float32 in [-1, 1]."""
    top, left = (int(torch.randint(image.shape[0] - width + 1, (), generator=generator)) for _ in range(2))
    return from_uint8(np.ascontiguousarray(image[None, top : top + width, left : left + width]))


def by_size(records: Sequence[Radiograph]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The small images [N, 128, 128] and the large ones [N, S, S]; either may be none.

    Raises:
        DataError: an image is of another size, or the large ones are of several.
    """
    groups = {side: pixels for side, (_, pixels) in load_pixels(records).items()}
    odd = [side for side in groups if side != SOFT_SIZE and side < RESOLUTION]
    if odd or len([side for side in groups if side >= RESOLUTION]) > 1:
        raise DataError(f"image sides are {sorted(groups)}; use {SOFT_SIZE} and at most one size from {RESOLUTION} up")
    empty = np.empty((0, SOFT_SIZE, SOFT_SIZE), np.uint8)
    large = [pixels for side, pixels in groups.items() if side >= RESOLUTION]
    return groups.get(SOFT_SIZE, empty), large[0] if large else empty
