"""Train the base model: the UNet on anatomy, view, sex and age, under a frozen text encoder that can already read.

Captions name no finding here; the findings are the LoRA's to learn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from cxr.train.architecture import build_scheduler, build_unet, read_component
from cxr.train.diffusion import DiffusionTask, read_components, use_fast_attention
from cxr.train.pipeline_folder import fit_preview, save_half_precision
from cxr.train.setup import Setup


class BaseTask(DiffusionTask):
    """The UNet is trained, from random weights or from exported ones.

    Args:
        setup: what to learn from.
        vae: folder that the autoencoder stage wrote.
        text: folder that the text stage wrote.
        start_from: exported model to begin with, or None.
        guide: files that the guide stage wrote; several count as one, their mean.
        guide_weight: how strongly it exaggerates labels.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        vae: Path,
        text: Path,
        start_from: Path | None = None,
        guide: Sequence[Path] | None = None,
        guide_weight: float = 0.0,
    ) -> None:
        super().__init__(setup, read_components(vae, text), guide, guide_weight)
        torch.manual_seed(self.settings.seed)  # initial weights only
        if start_from is None:
            self.unet = build_unet()
        else:
            self.unet = read_component(UNet2DConditionModel, start_from / "unet")
        use_fast_attention(self.unet, self.device)
        self.unet.to(self.device).train()
        self.trained = self.unet

    def export(self, out_dir: Path) -> None:
        """Write the whole pipeline in diffusers' folder format, float16."""
        pipeline = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=build_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        save_half_precision(pipeline, out_dir / "model")
        weights, bias = fit_preview(self.vae, self.latents[:16].float().to(self.device))
        preview = {"weights": [round(weight, 5) for weight in weights], "bias": round(bias, 5)}
        (out_dir / "model" / "preview.json").write_text(json.dumps(preview) + "\n")
