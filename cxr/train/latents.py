"""Encode every training image once: diffusion training then never touches pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from cxr.data import Radiograph, load_pixels
from cxr.pixels import from_uint8
from cxr.train.autoencoder import enlarge
from cxr.train.loop import autocast

CACHE = "latents.safetensors"


def cached_latents(records: Sequence[Radiograph], vae: AutoencoderKL, folder: Path, device: torch.device) -> Tensor:
    """Latents of the records, from the cache in ``folder`` when it was made by this autoencoder from these images.

    Args:
        records: N radiographs.
        vae: the trained autoencoder.
        folder: where the cache is kept.
        device: where to encode.
    Returns:
        [N, 4, 32, 32] float16, posterior means times ``scaling_factor``.
    """
    key = _key(records, vae)
    path = folder / CACHE
    if path.exists():
        stored = load_file(path)
        if bytes(stored["key"].numpy()).hex() == key:
            return stored["latents"]
    latents = _encode(records, vae, device)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"latents": latents, "key": torch.frombuffer(bytearray.fromhex(key), dtype=torch.uint8)}, path)
    return latents


def _encode(records: Sequence[Radiograph], vae: AutoencoderKL, device: torch.device) -> Tensor:
    vae = vae.to(device).eval()
    rows: list[Tensor | None] = [None] * len(records)
    bar = tqdm(total=len(records), unit="image", desc="encoding", mininterval=5)
    for indices, pixels in load_pixels(records).values():
        for start in range(0, len(indices), 8):
            images = enlarge(from_uint8(np.ascontiguousarray(pixels[start : start + 8]))).to(device)
            with torch.no_grad(), autocast(device):
                means = vae.encode(images).latent_dist.mean.float() * vae.config.scaling_factor
            for index, mean in zip(indices[start : start + 8], means, strict=True):
                rows[index] = mean.half().cpu()
            bar.update(len(images))
    bar.close()
    return torch.stack([row for row in rows if row is not None])


def _key(records: Sequence[Radiograph], vae: AutoencoderKL) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(vae.encoder.state_dict().items()) + sorted(vae.quant_conv.state_dict().items()):
        digest.update(name.encode() + value.float().cpu().numpy().tobytes())
    digest.update("\n".join(f"{r.path.parent.name}/{r.path.name}" for r in records).encode())
    return digest.hexdigest()
