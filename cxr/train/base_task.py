"""Train the base model: the UNet on anatomy, view, sex and age, under a frozen text encoder that can already read.

Captions name no finding here; the findings are the LoRA's to learn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from cxr.request.errors import RequestError
from cxr.train.architecture import build_scheduler, build_unet, read_unet
from cxr.train.autoguidance import Autoguidance
from cxr.train.diffusion import DiffusionTask, Draw, read_components, use_fast_attention
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
        autoguidance: exported model with a UNet of the same architecture that has learnt less, or None. With one, the
            UNet learns what that of ``teacher`` predicts, moved away from what this one predicts
            (`cxr.train.autoguidance`); neither velocity nor guide is needed then.
        autoguidance_weight: how far, as a multiple of their difference.
        low_rank_weight: the same for the main directions alone of what separates their weights.
        teacher: exported model, or None for that of ``start_from``.

    Raises:
        RequestError: there is autoguidance without a teacher, or beside a guide, or what belongs to it without it.
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
        autoguidance: Path | None = None,
        autoguidance_weight: float = 0.0,
        low_rank_weight: float = 0.0,
        teacher: Path | None = None,
    ) -> None:
        if autoguidance and (guide or not (teacher or start_from)):
            raise RequestError("--autoguidance moves what --teacher or --start-from predicts: give one, and no --guide")
        if (teacher or low_rank_weight) and not autoguidance:
            raise RequestError("--teacher and --low-rank-weight say what --autoguidance does: give that as well")
        super().__init__(setup, read_components(vae, text), guide, guide_weight)
        torch.manual_seed(self.settings.seed)  # initial weights only
        if start_from is None:
            self.unet = build_unet()
        else:
            self.unet = read_unet(start_from)
        use_fast_attention(self.unet, self.device)
        self.unet.to(self.device).train()
        self.trained = self.unet
        self.autoguidance: Autoguidance | None = None
        if autoguidance:
            strong, weak = (read_unet(path).to(self.device) for path in (teacher or start_from, autoguidance) if path)
            self.autoguidance = Autoguidance(strong, weak, autoguidance_weight, low_rank_weight)

    def _target(self, draw: Draw, captions: list[str], step: int) -> Tensor:
        """With autoguidance what that says; else the velocity, moved as the guide says."""
        if self.autoguidance is None:
            return super()._target(draw, captions, step)
        return self.autoguidance.target(lambda unet: self.predict(draw, captions, unet))

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
