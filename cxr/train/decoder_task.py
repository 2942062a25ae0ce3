"""Train the decoder against a discriminator: detail as real radiographs have it, from real and from sampled latents.

Reconstruction alone paints the mean of all that could be there, which is soft. Sampled latents are fainter than real
ones; one gain per channel brings their spread to that of real ones. The decoder learns on gained latents, and the gain
goes into the exported ``post_quant_conv``, so that any program that reads the folder decodes alike.
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

from cxr.folders.sheet import SheetRow, contact_sheet
from cxr.images.pixels import from_uint8, resize, to_uint8
from cxr.labels.radiograph import Radiograph
from cxr.metrics.spectrum import BANDS, band_powers
from cxr.models.presets import find_preset
from cxr.request.errors import DataError, RequestError
from cxr.train.architecture import RESOLUTION, read_component
from cxr.train.autoencoder_task import by_size, check_crop_size, decode_each, random_crops
from cxr.train.discriminator import Discriminator, hinge_loss, realism
from cxr.train.latent_sampling import channel_gains, sampled_latents
from cxr.train.latents import block_cosines, coarse_images, latents_of
from cxr.train.pipeline_folder import forget_origins
from cxr.train.reconstruction import energy_loss, psnr, pyramid_loss, shrink
from cxr.train.setup import Setup, batch_generator

ENERGY_WEIGHT = 0.1  # of the detail's energy against the reconstruction
CONTENT_WEIGHT = 1.0  # of what the latents hold, in their own scale: the finest counts as much as the coarsest
TONE_WEIGHT = 8.0  # of the same in grey: the coarsest counts most
ADVERSARIAL_WEIGHT = 0.2  # balanced by gradients it would jump with every other weight
ADVERSARIAL_STEPS = (60, 260)  # over which its weight rises: until then it learns alone
NUM_VALIDATION = 64
SHEET_COLUMNS = 6


class DecoderTask:
    """Half of each batch are real films, half sampled latents, which have no film to be compared with.

    Args:
        setup: films to learn from, and those of other patients.
        model: whose decoder is trained, and which samples the latents.
        adapter: its LoRA, as for ``load_model``.
        num_sampled: latents to sample under prompts of training patients.
        out: folder that keeps them.
        crop_size: side of the training crops in pixels.
    Raises:
        RequestError: the crops or the batches are of no use.
        DataError: no training image is large enough, or the model has no autoencoder that can be read.
    """

    def __init__(
        self, setup: Setup, *, model: str, adapter: str, num_sampled: int, out: Path, crop_size: int = RESOLUTION
    ) -> None:
        check_crop_size(crop_size)
        if setup.settings.batch_size < 2:
            raise RequestError("the batch size is 1; the decoder stage needs a film and a sampled image at least")
        self.crop_size, self.settings, self.device = crop_size, setup.settings, setup.device
        self.films, self.held_out = by_size(setup.training)[1], _reduced(by_size(setup.validation)[1])
        if not len(self.films):
            raise DataError(
                f"no training image has {RESOLUTION} pixels or more; the decoder learns sharpness from those"
            )
        torch.manual_seed(self.settings.seed)  # initial weights only
        self.vae = read_vae(model).requires_grad_(False).to(self.device)
        self.discriminator = Discriminator().to(self.device)
        learning = {"post_quant_conv": self.vae.post_quant_conv, "decoder": self.vae.decoder}
        self.trained: nn.Module = nn.ModuleDict({**learning, "discriminator": self.discriminator}).requires_grad_(True)

        def sample(name: str, records: Sequence[Radiograph], count: int) -> Tensor:
            return sampled_latents(out / f"sampled_{name}.safetensors", model, adapter, records, count, purpose=name)

        sampled = sample("training", setup.training, num_sampled)
        self.gain = channel_gains(sampled, latents_of(setup.training).float())
        self.sampled = sampled * self.gain
        num_unseen = NUM_VALIDATION if len(self.held_out) else 0
        self.sampled_held_out = sample("held_out", setup.validation, num_unseen) * self.gain

    def loss(self, step: int) -> dict[str, Tensor]:
        """Reconstruction of films, content of all latents, and the discriminator's opinion of both kinds.

        The discriminator's own loss is part of the sum: neither side has gradients from the other's.
        """
        generator = batch_generator(self.settings.seed, step)
        num_real = self.settings.batch_size // 2
        films = random_crops(self.films, num_real, self.crop_size, generator).to(self.device)
        films = functional.interpolate(films, size=self.crop_size, mode="area")
        sampled = self._sampled_crops(self.settings.batch_size - num_real, generator)
        latents = torch.cat([block_cosines(shrink(shrink(films))), sampled])
        painted = self.vae.decode(latents).sample.float()
        of_films = painted[:num_real]
        reconstruction, energy = pyramid_loss(of_films, films, levels=4), energy_loss(of_films, films)
        difference = block_cosines(shrink(shrink(painted))) - latents
        content, tone = difference.abs().mean(), coarse_images(difference).abs().mean()
        faithful = reconstruction + ENERGY_WEIGHT * energy + CONTENT_WEIGHT * content + TONE_WEIGHT * tone
        unreal = -realism(self.discriminator, painted)
        hinge = hinge_loss(self.discriminator, films, painted)
        total = faithful + ADVERSARIAL_WEIGHT * _risen(step) * unreal + hinge
        parts = {"reconstruction": reconstruction, "energy": energy, "content": content, "tone": tone}
        return {"loss": total, **parts, "hinge": hinge, "unreal": unreal}

    def validate(self) -> dict[str, float]:
        """PSNR in dB; power in each band: of decoded films as a share of those films', of sampled pictures of all."""
        if not len(self.held_out):
            return {}
        films = self.held_out[:NUM_VALIDATION]
        of_films = self._repainted(films)
        figures = {"psnr_256": psnr(of_films, from_uint8(films))}
        of_sampled = decode_each(self.vae, self.sampled_held_out)
        for name, pictures, real in (("films", of_films, films), ("sampled", of_sampled, self.held_out)):
            shares = band_powers(to_uint8(pictures)).mean(axis=0) / band_powers(real).mean(axis=0)
            figures |= {f"{name}_{band}": float(share) for band, share in zip(BANDS, shares, strict=True)}
        return figures

    def export(self, out_dir: Path) -> None:
        """Write ``vae/`` in float16 with the gain in it, and ``sheet.png``: films, decoded films, sampled pictures."""
        vae = with_gain(self.vae, self.gain).half()
        vae.save_pretrained(out_dir / "vae")
        forget_origins(out_dir)
        if not len(self.held_out):
            return
        films = self.held_out[:: max(1, len(self.held_out) // SHEET_COLUMNS)][:SHEET_COLUMNS]
        of_films = self._repainted(films)
        rows = {"real": films, "the same, encoded and decoded": to_uint8(of_films)}
        for number, latents in enumerate(self.sampled_held_out.split(SHEET_COLUMNS)[:2], start=1):
            rows[f"sampled ({number})"] = to_uint8(decode_each(self.vae, latents))
        contact_sheet([SheetRow(label, tuple(images)) for label, images in rows.items()], out_dir / "sheet.png")

    def _repainted(self, films: NDArray[np.uint8]) -> Tensor:
        """Films [N, 256, 256], encoded and decoded."""
        return decode_each(self.vae, block_cosines(shrink(shrink(from_uint8(films)))))

    def _sampled_crops(self, count: int, generator: torch.Generator) -> Tensor:
        picked = torch.randint(len(self.sampled), (count,), generator=generator)
        width = self.crop_size * self.sampled.shape[-1] // RESOLUTION
        tops, lefts = torch.randint(self.sampled.shape[-1] - width + 1, (2, count), generator=generator).tolist()
        rows = zip(picked.tolist(), tops, lefts, strict=True)
        return torch.stack([self.sampled[k, :, y : y + width, x : x + width] for k, y, x in rows]).to(self.device)


def with_gain(vae: AutoencoderKL, gain: Tensor) -> AutoencoderKL:
    """A copy that decodes latents as the given one decodes ``gain * latents``, exactly."""
    gained = copy.deepcopy(vae)
    with torch.no_grad():
        gained.post_quant_conv.weight.mul_(gain.to(vae.device))
    gained.register_to_config(scaling_factor=1.0)
    return gained


def _risen(step: int) -> float:
    first, last = ADVERSARIAL_STEPS
    return min(1.0, max(0.0, (step - first) / (last - first)))


def read_vae(model: str) -> AutoencoderKL:
    """The autoencoder of a model in a folder, in float32.

    Raises:
        ModelError: the model is unknown.
        DataError: its folder holds no autoencoder.
    """
    folder = find_preset(model).folder
    if folder is None:
        raise DataError(f"{model} is a model of the Hub; the decoder stage trains that of a model in a folder")
    return read_component(AutoencoderKL, folder / "vae")


def _reduced(films: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[N, S, S] uint8 -> [N, 256, 256] uint8, by means."""
    if not len(films):
        return films
    return np.concatenate([to_uint8(resize(from_uint8(film[None]), (RESOLUTION, RESOLUTION))) for film in films])
