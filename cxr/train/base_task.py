"""Train the base model: the UNet on anatomy, view, sex and age, under a frozen text encoder that can already read.

Captions name no finding here; the findings are the LoRA's to learn.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from cxr.request.errors import RequestError
from cxr.train.architecture import build_scheduler, build_unet, read_component
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
        autoguidance: exported model with a UNet of the same kind that has learnt less, or None. With one, the UNet
            learns what that of ``start_from`` predicts, moved away from what this one predicts (autoguidance, Karras
            et al., NeurIPS 2024, learnt as in Meng et al., CVPR 2023); neither velocity nor guide is needed then.
        autoguidance_weight: how far, as a multiple of their difference.

    Raises:
        RequestError: there is autoguidance without a model to start from, or beside a guide.
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
    ) -> None:
        if autoguidance and (guide or not start_from):
            raise RequestError("--autoguidance moves what the UNet of --start-from predicts: give that, and no --guide")
        super().__init__(setup, read_components(vae, text), guide, guide_weight)
        torch.manual_seed(self.settings.seed)  # initial weights only
        if start_from is None:
            self.unet = build_unet()
        else:
            self.unet = read_component(UNet2DConditionModel, start_from / "unet")
        use_fast_attention(self.unet, self.device)
        self.unet.to(self.device).train()
        self.trained = self.unet
        self.autoguidance_weight = autoguidance_weight
        self.pair = None if autoguidance is None else self._pair(autoguidance)

    def _pair(self, autoguidance: Path) -> tuple[UNet2DConditionModel, UNet2DConditionModel]:
        """The UNet as it is now, and the one that has learnt less; both frozen."""
        weaker = read_component(UNet2DConditionModel, autoguidance / "unet").to(self.device)
        return copy.deepcopy(self.unet).eval().requires_grad_(False), weaker.eval().requires_grad_(False)

    def _target(self, draw: Draw, captions: list[str], step: int) -> Tensor:
        """With a pair, what autoguidance by it would predict; else the velocity, moved as the guide says."""
        if self.pair is None:
            return super()._target(draw, captions, step)
        with torch.no_grad():
            strong, weak = (self.predict(draw, captions, unet) for unet in self.pair)
        return strong + self.autoguidance_weight * (strong - weak)

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
