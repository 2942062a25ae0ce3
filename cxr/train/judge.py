"""Train the judge: a network that reads view, sex, age and findings off real radiographs.

It sees real images only and never chooses, filters or guides what is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from cxr.data import FINDINGS, Radiograph, load_pixels
from cxr.pixels import from_uint8
from cxr.train.architecture import FindingsNetwork
from cxr.train.loop import LoopSettings, autocast, batch_generator

SIZE = 128
LABELS = ("PA", "male", "abnormal", *FINDINGS)  # each a probability; the age comes after them
AGE_SCALE = 25.0  # years; brings the age to about unit size
AGE_CENTRE = 47.0


class JudgeTask:
    """Cross-entropy over the known labels and L1 over the known ages; unknown cells count nothing."""

    def __init__(
        self,
        training: Sequence[Radiograph],
        validation: Sequence[Radiograph],
        settings: LoopSettings,
        device: torch.device,
    ) -> None:
        torch.manual_seed(settings.seed)  # initial weights only
        self.settings, self.device = settings, device
        self.network = FindingsNetwork(len(LABELS) + 1).to(device)
        self.trained: nn.Module = self.network
        self.pixels, self.targets = _pixels(training), targets_of(training)
        self.validation_pixels, self.validation_targets = _pixels(validation), targets_of(validation)

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
        scores = judge(self.network, self.validation_pixels, self.device)
        figures = {}
        for column, name in enumerate(LABELS):
            known = ~self.validation_targets[:, column].isnan().numpy()
            figures[f"auroc_{name}"] = auroc(scores[known, column], self.validation_targets[known, column].numpy() > 0)
        ages = (self.validation_targets[:, -1] * AGE_SCALE + AGE_CENTRE).numpy()
        figures["age_mae"] = float(np.nanmean(np.abs(scores[:, -1] - ages)))
        return {name: value for name, value in figures.items() if np.isfinite(value)}

    def export(self, out_dir: Path) -> None:
        save_file(
            {name: value.contiguous() for name, value in self.network.state_dict().items()},
            out_dir / "judge.safetensors",
        )

    def extra_state(self) -> dict[str, Tensor]:
        return {}

    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        return None


def judge(network: FindingsNetwork, pixels: NDArray[np.uint8], device: torch.device) -> NDArray[np.float64]:
    """Read labels off images.

    Args:
        network: a trained judge.
        pixels: [N, 128, 128] uint8.
        device: where to run.
    Returns:
        [N, len(LABELS) + 1]: a logit for each of `LABELS`, then the age in years.
    """
    rows = []
    for start in range(0, len(pixels), 64):
        with torch.no_grad(), autocast(device):
            rows.append(network(from_uint8(pixels[start : start + 64]).to(device)).float().cpu())
    scores = torch.cat(rows).double().numpy()
    scores[:, -1] = scores[:, -1] * AGE_SCALE + AGE_CENTRE
    return scores


def auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve by ranks (Mann-Whitney), ties counted half; NaN without both classes."""
    num_positive = int(positive.sum())
    if not 0 < num_positive < len(positive):
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = mean_rank[inverse][positive].sum()
    return float((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * (len(positive) - num_positive)))


def targets_of(records: Sequence[Radiograph]) -> Tensor:
    """[N, len(LABELS) + 1] float32: 1 yes, 0 no, NaN unknown; last the scaled age."""
    rows = []
    for record in records:
        findings = record.findings
        row = [_flag(record.view, "PA"), _flag(record.sex, "M")]
        row.append(float("nan") if findings is None else float(bool(findings)))
        row += [float("nan") if findings is None else float(name in findings) for name in FINDINGS]
        row.append(float("nan") if record.age is None else (record.age - AGE_CENTRE) / AGE_SCALE)
        rows.append(row)
    return torch.tensor(rows)


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


def _flag(value: str | None, yes: str) -> float:
    return float("nan") if value is None else float(value == yes)


def _pixels(records: Sequence[Radiograph]) -> NDArray[np.uint8]:
    """All images at 128x128, in the order of the records."""
    result = np.empty((len(records), SIZE, SIZE), np.uint8)
    for indices, pixels in load_pixels(records).values():
        for index, image in zip(indices, pixels, strict=True):
            small = functional.interpolate(torch.from_numpy(image)[None, None].float(), size=SIZE, mode="area")
            result[index] = small.round().to(torch.uint8)[0, 0].numpy()
    return result
