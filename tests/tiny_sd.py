"""Tiny full-size models: folders of the classes that Stable Diffusion 1.x, 2.x and XL have, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from tiny_families import stable_diffusion, stable_diffusion_xl

from cxr.commands.main import main

# At a share of 0.4 one of these five patients is held out.
ROWS = [("Effusion", "54", "M", "PA", str(number)) for number in range(5)]
FAST = ("--rank", "4", "--lora-alpha", "12", "--warmup-steps", "1", "--validation-images", "0", "--judging-share", "0")


def save_tiny(folder: Path, *, prediction_type: str = "epsilon", xl: bool = False) -> Path:
    """Write a model with 32 x 32 images and always the same weights; returns the folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline: Any = stable_diffusion_xl(folder) if xl else stable_diffusion(folder)
    pipeline.scheduler = _scheduler(prediction_type)
    pipeline.vae.register_to_config(scaling_factor=2.0)  # random weights give small latents
    pipeline.save_pretrained(folder)
    return folder


def train(model: Path, data: Path, out: Path, *options: str) -> int:
    """Run the command with few and quick settings; returns its exit code."""
    command = ["train", "lora", "--model", str(model), "--data", str(data), "--out", str(out)]
    return main([*command, *FAST, "--validation-share", "0.4", *options])


def _scheduler(prediction_type: str) -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        clip_sample=False,
        steps_offset=1,
        rescale_betas_zero_snr=prediction_type == "v_prediction",
    )
