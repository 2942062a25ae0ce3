"""A trained pipeline -> the folder that is published: float16, with a preview, and nothing of this machine in it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor, nn

MACHINE_SETTINGS = {"_name_or_path", "local_files_only"}


@torch.no_grad()
def fit_preview(vae: AutoencoderKL, latents: Tensor) -> tuple[list[float], float]:
    """Least squares from the channels of latents to the grey of the decoded image at the latents' size.

    Args:
        vae: decodes the latents.
        latents: [B, C, h, w] float32, times ``scaling_factor``.
    Returns:
        A weight for each channel and a bias, giving grey in [-1, 1].
    """
    images = vae.decode(latents / vae.config.scaling_factor).sample.mean(dim=1, keepdim=True)
    grey = torch.nn.functional.interpolate(images, size=latents.shape[-2:], mode="area").flatten()
    channels = latents.movedim(1, -1).flatten(0, -2)
    table = torch.cat([channels, torch.ones_like(channels[:, :1])], dim=1)
    solution = torch.linalg.lstsq(table.double().cpu(), grey.double().cpu()[:, None]).solution[:, 0].tolist()
    return solution[:-1], solution[-1]


def save_half_precision(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Save float16 copies of a pipeline's weights and leave the pipeline as it was."""
    half = {
        name: copy.deepcopy(module).cpu().half() if isinstance(module, nn.Module) else module
        for name, module in pipeline.components.items()
    }
    StableDiffusionPipeline(**half, requires_safety_checker=False).save_pretrained(folder)
    forget_origins(folder)


def forget_origins(folder: Path) -> None:
    """Take out where this machine has read the parts from: it says nothing about them, and changes their hash."""
    for path in (*folder.glob("*/config.json"), *folder.glob("*/tokenizer_config.json")):
        settings = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: value for name, value in settings.items() if name not in MACHINE_SETTINGS}
        path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
