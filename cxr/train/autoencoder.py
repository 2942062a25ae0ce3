"""Train the autoencoder: 128-pixel detail in, sharp 256-pixel radiographs out.

Most radiographs of a data folder may be small (128 pixels); a few are larger. The encoder always sees what a small one
holds, enlarged to 256. Where the source is larger, the decoder must return the sharp original; where it is not, its
output is compared after shrinking it back. So all latents speak the same language and all pictures come out sharp.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cxr.data import Radiograph, load_pixels
from cxr.errors import DataError
from cxr.pixels import from_uint8
from cxr.train.architecture import RESOLUTION, PatchDiscriminator, build_autoencoder
from cxr.train.loop import LoopSettings, batch_generator

CROP = 96  # pixels at 256-pixel scale
SOFT_SIZE = RESOLUTION // 2  # what a small source holds
KL_WEIGHT = 3e-5  # on the mean over latent elements: far below what would blur ribs
HALF_SIZE_SHARE = 0.25  # of the steps that decode halved latents (EQ-VAE, arXiv 2502.09509)
ADVERSARIAL_START = 0.4  # share of the steps before the discriminator speaks
ADVERSARIAL_WEIGHT = 0.15


class AutoencoderTask:
    """Reconstruction, a little KL, and a patch discriminator for the detail that small sources lack."""

    def __init__(
        self,
        training: Sequence[Radiograph],
        validation: Sequence[Radiograph],
        settings: LoopSettings,
        device: torch.device,
        *,
        start_from: Path | None = None,
        freeze_encoder: bool = False,
    ) -> None:
        torch.manual_seed(settings.seed)  # initial weights only; batches have generators of their own
        self.settings, self.device = settings, device
        vae = AutoencoderKL.from_pretrained(start_from) if start_from else build_autoencoder()
        self.vae: AutoencoderKL = vae.to(device)
        self.frozen_encoder = freeze_encoder
        if freeze_encoder:
            self.vae.encoder.requires_grad_(False)
            self.vae.quant_conv.requires_grad_(False)
        self.trained: nn.Module = self.vae
        self.discriminator = PatchDiscriminator().to(device)
        self.discriminator_optimizer = torch.optim.AdamW(self.discriminator.parameters(), 2e-4, betas=(0.5, 0.9))
        self.small, self.large = _by_size(training)
        self.validation_small, self.validation_large = (images[:24] for images in _by_size(validation))

    def loss(self, step: int, share_done: float) -> dict[str, Tensor]:
        """Half of the batch from large sources (where there are any), half from small ones."""
        generator = batch_generator(self.settings.seed, step)
        num_sharp = self.settings.batch_size // 2 if len(self.large) else 0
        sharp_input, sharp = self._sharp_crops(num_sharp, generator)
        soft_input, soft = self._soft_crops(self.settings.batch_size - num_sharp, generator)
        posterior = self.vae.encode(torch.cat([sharp_input, soft_input])).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(self.device)
        latents = posterior.mean + posterior.std * noise
        kl = posterior.kl().mean() / latents[0].numel()
        if float(torch.rand((), generator=generator)) < HALF_SIZE_SHARE:
            return self._half_size_loss(latents, sharp, soft, kl)
        decoded = self.vae.decode(latents).sample.float()
        sharp_decoded, soft_decoded = decoded[:num_sharp], decoded[num_sharp:]
        reconstruction = pyramid_loss(shrink(soft_decoded), soft, levels=3)
        if num_sharp:
            reconstruction = (reconstruction + pyramid_loss(sharp_decoded, sharp, levels=4)) / 2
        losses = {"loss": reconstruction + KL_WEIGHT * kl, "reconstruction": reconstruction, "kl": kl}
        if num_sharp and share_done >= (0.0 if self.frozen_encoder else ADVERSARIAL_START):
            losses |= self._adversarial(losses["loss"], reconstruction, decoded, sharp)
        return losses

    def validate(self) -> dict[str, float]:
        """PSNR in dB on held-out patients, and detail energy against that of the real large ones."""
        figures = {}
        if len(self.validation_large):
            target = functional.interpolate(from_uint8(self.validation_large), size=RESOLUTION, mode="area")
            decoded = self._reconstruct(shrink(target))
            figures["psnr_256"] = psnr(decoded, target)
            figures["detail_ratio"] = float(detail(decoded).std() / detail(target).std())
        if len(self.validation_small):
            target = from_uint8(self.validation_small)
            figures["psnr_128"] = psnr(shrink(self._reconstruct(target)), target)
        return figures

    def export(self, out_dir: Path) -> None:
        """Write ``vae/``; its latents have mean 0 and standard deviation 1 in each channel on held-out patients."""
        sources = (self.validation_small, self.validation_large, self.small, self.large)
        images = next(images[:24] for images in sources if len(images))
        vae = self.vae
        if not self.frozen_encoder:
            with torch.no_grad():
                latents = vae.encode(enlarge(from_uint8(images)).to(self.device)).latent_dist.mean
            vae = standardised(vae, latents)
        vae.save_pretrained(out_dir / "vae")

    def extra_state(self) -> dict[str, Tensor]:
        return dict(self.discriminator.state_dict())

    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        self.discriminator.load_state_dict(state)

    def _reconstruct(self, small: Tensor) -> Tensor:
        with torch.no_grad():
            rows = [
                self.vae.decode(self.vae.encode(enlarge(image[None]).to(self.device)).latent_dist.mean).sample
                for image in small
            ]
        return torch.cat(rows).float().cpu().clamp(-1, 1)

    def _sharp_crops(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if not count:
            return (torch.empty(0, 1, CROP, CROP, device=self.device),) * 2
        side = self.large.shape[-1]
        targets = []
        for index in torch.randint(len(self.large), (count,), generator=generator).tolist():
            # Sizes around the true scale show the decoder the same anatomy at several distances.
            width = int(CROP * side / RESOLUTION * (0.8 + 0.3 * float(torch.rand((), generator=generator))))
            region = _crop(self.large[index], width, generator)
            targets.append(functional.interpolate(region, size=CROP, mode="bilinear", antialias=True))
        target = torch.cat(targets).to(self.device)
        return enlarge(shrink(target)), target

    def _soft_crops(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        source = self.small if len(self.small) else self.large
        width = CROP * source.shape[-1] // RESOLUTION
        picked = torch.randint(len(source), (count,), generator=generator).tolist()
        target = torch.cat([_crop(source[index], width, generator) for index in picked]).to(self.device)
        target = functional.interpolate(target, size=CROP // 2, mode="area")
        return enlarge(target), target

    def _half_size_loss(self, latents: Tensor, sharp: Tensor, soft: Tensor, kl: Tensor) -> dict[str, Tensor]:
        decoded = self.vae.decode(shrink(latents)).sample.float()
        target = torch.cat([shrink(sharp), soft])
        reconstruction = pyramid_loss(decoded, target, levels=3)
        return {"loss": reconstruction + KL_WEIGHT * kl, "half_size": reconstruction}

    def _adversarial(self, loss: Tensor, reconstruction: Tensor, decoded: Tensor, sharp: Tensor) -> dict[str, Tensor]:
        """Hinge loss, weighted so that both gradients are alike at the last layer (Esser et al., CVPR 2021)."""
        real, fake = self.discriminator(sharp), self.discriminator(decoded.detach())
        discriminator_loss = functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
        discriminator_loss.backward()
        self.discriminator_optimizer.step()
        self.discriminator.requires_grad_(False)
        generator_loss = -self.discriminator(decoded).mean()
        self.discriminator.requires_grad_(True)
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        last = self.vae.decoder.conv_out.weight
        (pull,) = torch.autograd.grad(reconstruction, last, retain_graph=True)
        (push,) = torch.autograd.grad(generator_loss, last, retain_graph=True)
        weight = (ADVERSARIAL_WEIGHT * pull.norm() / (push.norm() + 1e-8)).clamp(0, 10).detach()
        return {
            "loss": loss + weight * generator_loss,
            "discriminator": discriminator_loss.detach(),
            "real_score": real.mean().detach(),
            "fake_score": fake.mean().detach(),
        }


@torch.no_grad()
def standardised(vae: AutoencoderKL, latents: Tensor) -> AutoencoderKL:
    """A copy that reconstructs the same images from latents of mean 0 and standard deviation 1 in each channel.

    StableDiffusionPipeline knows one scale for all channels and no shift, so both go into the 1x1 convolutions at the
    latents' edge, and ``scaling_factor`` becomes 1.

    Args:
        vae: any AutoencoderKL with quant_conv and post_quant_conv.
        latents: [B, C, h, w], posterior means of typical images.
    """
    mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    channels = len(mean)
    vae = copy.deepcopy(vae)
    encode, decode = vae.quant_conv, vae.post_quant_conv
    encode.weight[:channels] /= std[:, None, None, None]
    encode.bias[:channels] = (encode.bias[:channels] - mean) / std
    encode.bias[channels:] -= 2 * std.log()  # the second half holds log variances
    decode.bias += decode.weight[:, :, 0, 0] @ mean
    decode.weight *= std[None, :, None, None]
    vae.register_to_config(scaling_factor=1.0)
    return vae


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


def _crop(image: NDArray[np.uint8], width: int, generator: torch.Generator) -> Tensor:
    top, left = (int(torch.randint(image.shape[0] - width + 1, (), generator=generator)) for _ in range(2))
    return from_uint8(np.ascontiguousarray(image[None, top : top + width, left : left + width]))


def _by_size(records: Sequence[Radiograph]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    groups = {side: pixels for side, (_, pixels) in load_pixels(records).items()}
    odd = [side for side in groups if side != SOFT_SIZE and side < RESOLUTION]
    if odd or len([side for side in groups if side >= RESOLUTION]) > 1:
        raise DataError(f"image sides are {sorted(groups)}; use {SOFT_SIZE} and at most one size from {RESOLUTION} up")
    empty = np.empty((0, SOFT_SIZE, SOFT_SIZE), np.uint8)
    large = [pixels for side, pixels in groups.items() if side >= RESOLUTION]
    return groups.get(SOFT_SIZE, empty), large[0] if large else empty
