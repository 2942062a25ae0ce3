"""A small classifier of radiographs, trained in seconds: the yardstick of downstream utility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cxr.images.pixels import from_uint8
from cxr.labels.targets import LABELS

LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 1.5e-3, 0.05, 0.1  # the warm-up is a share of the steps
TEST_BATCH = 256
WIDTHS = (16, 32, 96, 128)


@dataclass(frozen=True)
class LabelledImages:
    """Images and what is known of them.

    Args:
        pixels: [N, S, S] uint8, 0 = black; S any number from 16 on.
        targets: [N, len(LABELS) + 1] from `targets_of`; the age is not used.
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pixels)

    def take(self, indices: NDArray[np.intp]) -> LabelledImages:
        """The images at these places."""
        return LabelledImages(self.pixels[indices], self.targets[indices])

    def joined(self, others: LabelledImages) -> LabelledImages:
        """These images and others."""
        pixels, targets = (self.pixels, others.pixels), (self.targets, others.targets)
        return LabelledImages(np.concatenate(pixels), np.concatenate(targets))


def build_classifier() -> nn.Module:
    """[B, 1, S, S] in [-1, 1] -> [B, len(LABELS)] logits; 0.4 million parameters, group norms."""
    layers: list[nn.Module] = [nn.Conv2d(1, WIDTHS[0], 5, 2, 2), nn.GroupNorm(8, WIDTHS[0]), nn.SiLU()]
    for before, after in pairwise(WIDTHS):
        for channels, stride in ((before, 2), (after, 1)):
            layers += [nn.Conv2d(channels, after, 3, stride, 1), nn.GroupNorm(8, after), nn.SiLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], len(LABELS)))


def train_classifier(stages: Sequence[LabelledImages], steps: int, batch_size: int, seed: int) -> nn.Module:
    """Train one classifier, an equal share of the steps on each stage; same arguments, same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # initial weights only
        network = build_classifier().train()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (WARM_UP * steps), (1 - step / steps) / (1 - WARM_UP), 1.0)
    )
    for step in range(steps):
        stage = stages[step * len(stages) // steps]
        batch = stage.take(torch.randint(len(stage), (batch_size,), generator=generator).numpy())
        targets = torch.from_numpy(batch.targets[:, : len(LABELS)])
        known = ~targets.isnan()
        logits = network(augment(from_uint8(batch.pixels), generator))
        # Summed over what is known and divided by what there is: also right where nothing is known.
        errors = functional.binary_cross_entropy_with_logits(logits[known], targets[known], reduction="sum")
        optimizer.zero_grad()
        (errors / known.numel()).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to a sixteenth of the side and change contrast; never mirrored: the heart has a side."""
    side = images.shape[-1]
    reach = side // 16
    places = torch.randint(2 * reach + 1, (len(images), 2), generator=generator).tolist()
    padded = functional.pad(images, (reach,) * 4, mode="replicate")
    moved = [image[:, y : y + side, x : x + side] for image, (y, x) in zip(padded, places, strict=True)]
    gain = 0.8 + 0.4 * torch.rand(len(images), 1, 1, 1, generator=generator)
    return (torch.stack(moved) * gain).clamp(-1, 1)


def classify(network: nn.Module, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Logits of images: [N, S, S] uint8 -> [N, len(LABELS)]."""
    with torch.inference_mode():
        rows = [network(from_uint8(pixels[k : k + TEST_BATCH])) for k in range(0, len(pixels), TEST_BATCH)]
    return torch.cat(rows).double().numpy()
