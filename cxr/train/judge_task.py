"""Train a judge: a network that reads view, sex, age and findings off real radiographs.

It sees real images only and never chooses, filters or guides what is generated.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from cxr.images.pixels import from_uint8
from cxr.images.squares import read_squares
from cxr.judges.judge import measure_labels, read_labels
from cxr.judges.networks import NETWORKS, SIZE
from cxr.labels.targets import AGE_SCALE, ATTRIBUTES, attribute_scores, attribute_targets, scaled_targets, targets_of
from cxr.metrics.agreement import youden_threshold
from cxr.train.augment import degrade, jitter
from cxr.train.setup import Setup, batch_generator


class JudgeTask:
    """Cross-entropy over the known labels and L1 over the known ages; unknown cells count nothing.

    Args:
        setup: what to learn from; thresholds are set on its validation images.
        network: a key of `NETWORKS`.
        degraded: learn from softened, roughened and partly covered images too. A judge should, since generated images
            are soft; an extractor must not: it has to notice how images look.
    """

    def __init__(self, setup: Setup, network: str, *, degraded: bool = True) -> None:
        self.settings, self.device = setup.settings, setup.device
        torch.manual_seed(self.settings.seed)  # initial weights only
        self.name, self.degraded = network, degraded
        self.network = NETWORKS[network]().to(self.device)
        self.trained: nn.Module = self.network
        self.pixels = read_squares([record.path for record in setup.training], SIZE)
        self.targets = torch.from_numpy(scaled_targets(setup.training))
        self.validation_pixels = read_squares([record.path for record in setup.validation], SIZE)
        self.validation_targets = targets_of(setup.validation)

    def loss(self, step: int, share_done: float) -> dict[str, Tensor]:
        generator = batch_generator(self.settings.seed, step)
        indices = torch.randint(len(self.pixels), (self.settings.batch_size,), generator=generator)
        images = from_uint8(self.pixels[indices.numpy()])
        images = jitter(images, generator)
        if self.degraded:
            images = degrade(images, generator)
        output = self.network(images.to(self.device)).float()
        target = self.targets[indices].to(self.device)
        known = ~target.isnan()
        labels, ages = known[:, :-1], known[:, -1]
        cross_entropy = functional.binary_cross_entropy_with_logits(output[:, :-1][labels], target[:, :-1][labels])
        age = (output[:, -1] - target[:, -1])[ages].abs().mean()
        return {"loss": cross_entropy + 0.2 * age, "cross_entropy": cross_entropy, "age": age * AGE_SCALE}

    def validate(self) -> dict[str, float]:
        """AUROC of each label and the mean absolute error of the age, on held-out patients."""
        if not len(self.validation_pixels):
            return {}
        figures = measure_labels(self._read_validation(), self.validation_targets)
        return {name: value for name, value in figures.items() if np.isfinite(value)}

    def export(self, out_dir: Path) -> None:
        """Write the weights with the thresholds that are best on the validation images, from now on fixed."""
        facts = {
            "network": self.name,
            "degraded": self.degraded,
            "num_training": len(self.pixels),
            "num_validation": len(self.validation_pixels),
            "thresholds": self._thresholds(),
        }
        weights = {name: value.half().contiguous() for name, value in self.network.state_dict().items()}
        save_file(weights, out_dir / "judge.safetensors", {"judge": json.dumps(facts, sort_keys=True)})

    def _thresholds(self) -> list[float | None]:
        if not len(self.validation_pixels):
            return [None] * len(ATTRIBUTES)
        scores, targets = attribute_scores(self._read_validation()), attribute_targets(self.validation_targets)
        known = ~np.isnan(targets)
        values = (youden_threshold(scores[known[:, k], k], targets[known[:, k], k] > 0) for k in range(len(ATTRIBUTES)))
        return [value if np.isfinite(value) else None for value in values]

    def _read_validation(self) -> np.ndarray:
        self.network.eval()
        scores = read_labels(self.network, self.validation_pixels, self.device)
        self.network.train()
        return scores
