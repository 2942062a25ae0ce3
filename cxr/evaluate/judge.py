"""The judge: a small network, trained on real radiographs only, that reads labels off images.

It measures whether images show what their prompts asked for. It never chooses, filters or guides what is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from cxr.data import Radiograph, load_pixels
from cxr.errors import DataError
from cxr.pixels import from_uint8
from cxr.vocabulary import FINDINGS, PromptLabels

SIZE = 128
LABELS = ("PA", "male", "abnormal", *FINDINGS)  # each a probability; the age comes after them
AGE_SCALE = 25.0  # years; brings the age to about unit size
AGE_CENTRE = 47.0

Network = TypeVar("Network", bound=nn.Module)


class JudgeNetwork(nn.Module):
    """A small residual network that reads labels off radiographs; the judge of prompt fidelity.

    [B, 1, 128, 128] in [-1, 1] -> [B, 18]: one logit for each of `LABELS`, then the scaled age.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (24, 48, 96, 160, 224)
        stages: list[nn.Module] = [nn.Conv2d(1, widths[0], 5, 2, 2)]
        for before, after in pairwise(widths):
            stages += [_Residual(before), nn.GroupNorm(8, before), nn.SiLU(), nn.Conv2d(before, after, 3, 2, 1)]
        stages += [_Residual(widths[-1]), nn.GroupNorm(8, widths[-1]), nn.SiLU()]
        self.features = nn.Sequential(*stages)
        self.head = nn.Linear(2 * widths[-1], len(LABELS) + 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.features(images)
        # The mean tells diffuse findings, the maximum focal ones.
        logits: Tensor = self.head(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1))
        return logits


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, 1, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = maps + self.layers(maps)
        return result


def load_judge(path: Path) -> JudgeNetwork:
    """Read a judge that ``python -m cxr train judge`` wrote.

    Raises:
        DataError: the file is missing or is no judge.
    """
    return read_weights(JudgeNetwork(), path, "judge")


def read_weights(network: Network, path: Path, stage: str) -> Network:
    """Fill a network with what a stage of ``python -m cxr train`` wrote, ready for use.

    Raises:
        DataError: the file is missing or holds another network.
    """
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(f"{path} is not a {stage} that python -m cxr train {stage} wrote") from error
    return network.eval()


def judge(network: JudgeNetwork, pixels: NDArray[np.uint8], device: torch.device | None = None) -> NDArray[np.float64]:
    """Read labels off images.

    Args:
        network: a trained judge.
        pixels: [N, 128, 128] uint8.
        device: where to run; the CPU by default.
    Returns:
        [N, len(LABELS) + 1]: a logit for each of `LABELS`, then the age in years.
    """
    rows = []
    for start in range(0, len(pixels), 64):
        with torch.no_grad():
            rows.append(network(from_uint8(pixels[start : start + 64]).to(device or "cpu")).cpu())
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


def reliability(scores: NDArray[np.float64], targets: NDArray[np.float32]) -> dict[str, float]:
    """How well scores agree with what is known.

    Args:
        scores: [N, len(LABELS) + 1] from `judge`.
        targets: [N, len(LABELS) + 1] from `targets_of`.
    Returns:
        "auroc_<label>" for each label and "age_mae" in years; NaN where nothing can be said.
    """
    figures = {}
    for column, name in enumerate(LABELS):
        known = ~np.isnan(targets[:, column])
        figures[f"auroc_{name}"] = auroc(scores[known, column], targets[known, column] > 0)
    errors = np.abs(scores[:, -1] - (targets[:, -1] * AGE_SCALE + AGE_CENTRE))
    figures["age_mae"] = float(errors[~np.isnan(errors)].mean()) if not np.isnan(errors).all() else float("nan")
    return figures


def targets_of(records: Sequence[Radiograph | PromptLabels]) -> Tensor:
    """What is known of radiographs, or asked for by prompts.

    Returns:
        [N, len(LABELS) + 1] float32: 1 yes, 0 no, NaN unknown; last the scaled age.
    """
    rows = []
    for record in records:
        findings = record.findings
        row = [_flag(record.view, "PA"), _flag(record.sex, "M")]
        row.append(float("nan") if findings is None else float(bool(findings)))
        row += [float("nan") if findings is None else float(name in findings) for name in FINDINGS]
        row.append(float("nan") if record.age is None else (record.age - AGE_CENTRE) / AGE_SCALE)
        rows.append(row)
    return torch.tensor(rows)


def judged_pixels(records: Sequence[Radiograph]) -> NDArray[np.uint8]:
    """All images as the judge sees them, in the order of the records: [N, 128, 128] uint8."""
    result = np.empty((len(records), SIZE, SIZE), np.uint8)
    for indices, pixels in load_pixels(records).values():
        for index, image in zip(indices, pixels, strict=True):
            result[index] = reduced(image)
    return result


def reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One image [H, W] at 128x128, by means of areas."""
    small = functional.interpolate(torch.tensor(image)[None, None].float(), size=SIZE, mode="area")
    return small.round().to(torch.uint8)[0, 0].numpy()


def _flag(value: str | None, yes: str) -> float:
    return float("nan") if value is None else float(value == yes)
