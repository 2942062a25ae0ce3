"""Train the judge: a network that reads view, sex, age and findings off real radiographs.

It sees real images only and never chooses, filters or guides what is generated.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from cxr.evaluate.judge import AGE_SCALE, JudgeNetwork, judge, judged_pixels, reliability, targets_of
from cxr.pixels import from_uint8
from cxr.train.loop import batch_generator
from cxr.train.setup import Setup


class JudgeTask:
    """Cross-entropy over the known labels and L1 over the known ages; unknown cells count nothing."""

    def __init__(self, setup: Setup) -> None:
        self.settings, self.device = setup.settings, setup.device
        torch.manual_seed(self.settings.seed)  # initial weights only
        self.network = JudgeNetwork().to(self.device)
        self.trained: nn.Module = self.network
        self.pixels, self.targets = judged_pixels(setup.training), targets_of(setup.training)
        self.validation_pixels = judged_pixels(setup.validation)
        self.validation_targets = targets_of(setup.validation)

    def loss(self, step: int, share_done: float) -> dict[str, Tensor]:
        generator = batch_generator(self.settings.seed, step)
        indices = torch.randint(len(self.pixels), (self.settings.batch_size,), generator=generator)
        images = jitter(from_uint8(self.pixels[indices.numpy()]), generator).to(self.device)
        output, target = self.network(images).float(), self.targets[indices].to(self.device)
        known = ~target.isnan()
        labels, ages = known[:, :-1], known[:, -1]
        cross_entropy = functional.binary_cross_entropy_with_logits(output[:, :-1][labels], target[:, :-1][labels])
        age = (output[:, -1] - target[:, -1])[ages].abs().mean()
        return {"loss": cross_entropy + 0.2 * age, "cross_entropy": cross_entropy, "age": age * AGE_SCALE}

    def validate(self) -> dict[str, float]:
        """AUROC of each label and the mean absolute error of the age, on held-out patients."""
        if not len(self.validation_pixels):
            return {}
        figures = reliability(judge(self.network, self.validation_pixels, self.device), self.validation_targets.numpy())
        return {name: value for name, value in figures.items() if np.isfinite(value)}

    def export(self, out_dir: Path) -> None:
        save_file(
            {name: value.contiguous() for name, value in self.network.state_dict().items()},
            out_dir / "judge.safetensors",
        )


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn by up to 6 degrees, shift and scale by up to 6 %, change contrast; never mirrored: the heart has a side."""
    count = len(images)
    draw = torch.rand(count, 6, generator=generator) * 2 - 1
    angle, scale = draw[:, 0] * 0.105, 1 + draw[:, 1] * 0.06
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack([cos, -sin, draw[:, 2] * 0.06, sin, cos, draw[:, 3] * 0.06], dim=1).view(count, 2, 3)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    gain, offset = 1 + draw[:, 4, None, None, None] * 0.2, draw[:, 5, None, None, None] * 0.1
    return (moved * gain + offset).clamp(-1, 1)
