"""Train a judge: a network that reads view, sex, age and findings off real radiographs.

It sees real images only, all reduced to 128 pixels, so that sharpness is no finding; it never chooses, filters or
guides what is generated. Its file names, as salted hashes, the patients that it has learnt from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from cxr.images.pixels import from_uint8
from cxr.images.squares import read_squares
from cxr.judges.judge import hash_patient, load_judge, measure_labels, read_labels
from cxr.judges.networks import NETWORKS, SIZE, LabelNetwork, MeanNetwork
from cxr.judges.reliability import read_films
from cxr.labels.radiograph import Radiograph
from cxr.labels.split import Split
from cxr.labels.targets import (
    AGE_SCALE,
    ATTRIBUTES,
    LABELS,
    attribute_scores,
    attribute_targets,
    scaled_targets,
    targets_of,
)
from cxr.metrics.agreement import youden_threshold
from cxr.train.augment import jitter, soften_and_cover
from cxr.train.setup import Setup, batch_generator

SMOOTHING = 0.05  # labels are 0.025 and 0.975: those of NIH were read off reports by a program, and err
JITTER = 1.5  # 9 degrees and 9 %: a judge comes by each film some thirty times
DEGRADED_SHARE = 0.5  # of the images: the others show small findings
MIXED_SHARE = 0.5  # of the images


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
        self.patients = sorted({record.patient_id for record in (*setup.training, *setup.validation)})
        self.validation_pixels = read_squares([record.path for record in setup.validation], SIZE)
        self.validation_targets = targets_of(setup.validation)

    def loss(self, step: int) -> dict[str, Tensor]:
        generator = batch_generator(self.settings.seed, step)
        indices = torch.randint(len(self.pixels), (self.settings.batch_size,), generator=generator)
        images = jitter(from_uint8(self.pixels[indices.numpy()]), generator, JITTER)
        if self.degraded:
            soft = torch.rand(len(images), 1, 1, 1, generator=generator) < DEGRADED_SHARE
            images = torch.where(soft, soften_and_cover(images, generator), images)
        images, target = mixed(images, self.targets[indices], generator)
        output, target = self.network(images.to(self.device)).float(), target.to(self.device)
        known = ~target.isnan()
        labels, ages = known[:, :-1], known[:, -1]
        cross_entropy = functional.binary_cross_entropy_with_logits(
            output[:, :-1][labels], smoothed(target[:, :-1][labels])
        )
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
        }
        has_any = len(self.validation_pixels) > 0
        scores = self._read_validation() if has_any else np.empty((0, len(LABELS) + 1))
        thresholds = choose_thresholds(scores, self.validation_targets)
        write_judge(out_dir / "judge.safetensors", self.network, facts, thresholds, self.patients)

    def _read_validation(self) -> NDArray[np.float64]:
        self.network.eval()
        scores = read_labels(self.network, self.validation_pixels, self.device)
        self.network.train()
        return scores


def choose_thresholds(scores: NDArray[np.float64], targets: NDArray[np.float32]) -> list[float | None]:
    """The logit at and above which each attribute counts as seen; None where nothing is known of it.

    Args:
        scores: [N, len(LABELS) + 1], as `read_labels` gives them.
        targets: [N, len(LABELS) + 1], as `targets_of` does.
    """
    seen, there = attribute_scores(scores), attribute_targets(targets)
    known = ~np.isnan(there)
    values = (youden_threshold(seen[known[:, k], k], there[known[:, k], k] > 0) for k in range(len(ATTRIBUTES)))
    return [value if np.isfinite(value) else None for value in values]


def write_judge(
    path: Path,
    network: LabelNetwork,
    facts: Mapping[str, object],
    thresholds: Sequence[float | None],
    patients: Sequence[str],
) -> None:
    """Write what `load_judge` reads; patients are named as salted hashes, the salt being the same for the same ones."""
    salt = hashlib.sha256("\n".join(patients).encode()).hexdigest()[:16]
    hashes = [hash_patient(patient, salt) for patient in patients]
    content = {**facts, "thresholds": thresholds, "salt": salt, "patients": hashes}
    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, path, {"judge": json.dumps(content, sort_keys=True)})


def mixed(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Half of the images with another one laid over them, and their labels mixed alike (Zhang et al., ICLR 2018).

    A finding has a hundred films or two: without this a network knows them all by heart before it knows the finding.

    Args:
        images: [B, 1, H, W].
        targets: [B, C], NaN where unknown; what is unknown of either image is unknown of both.
        generator: source of all draws.
    """
    other = torch.randperm(len(images), generator=generator)
    share = torch.rand(len(images), generator=generator) / 2  # of the other image; the larger one comes first
    share = torch.where(torch.rand(len(images), generator=generator) < MIXED_SHARE, share, 0.0)
    both = torch.lerp(targets, targets[other], share[:, None])
    return torch.lerp(images, images[other], share[:, None, None, None]), torch.where(share[:, None] > 0, both, targets)


def smoothed(labels: Tensor) -> Tensor:
    """Labels 0 and 1, each a little towards the other (Szegedy et al., CVPR 2016)."""
    return labels * (1 - SMOOTHING) + SMOOTHING / 2


class OutOfFold(NamedTuple):
    """Every film read by the network that has not seen its patient.

    Args:
        records: N films.
        scores: [N, len(LABELS) + 1], as `read_labels` gives them.
    """

    records: list[Radiograph]
    scores: NDArray[np.float64]


def join_members(members: Sequence[Path], folds: Sequence[Split], path: Path) -> OutOfFold:
    """Write the mean of several judges as one judge, with thresholds from what each has not seen.

    Args:
        members: files of judges of one architecture.
        folds: what each learnt from, and left out; together they leave out everybody once.
        path: of the file to write.
    """
    judges = [load_judge(member) for member in members]
    records = [record for fold in folds for record in fold.held_out]
    scores = np.concatenate([read_films(judge, fold.held_out) for judge, fold in zip(judges, folds, strict=True)])
    facts = judges[0].facts | {"members": len(judges), "num_training": len(records), "num_validation": 0}
    patients = sorted({record.patient_id for record in records})
    mean = MeanNetwork([judge.network for judge in judges])
    write_judge(path, mean, facts, choose_thresholds(scores, targets_of(records)), patients)
    return OutOfFold(records, scores)
