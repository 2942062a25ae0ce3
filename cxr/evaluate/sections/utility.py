"""Downstream utility: what classifiers that were trained on generated images are worth on real patients.

Every arm trains the same network for the same number of steps; arms differ only in the images that they see. TRTR
trains on real images, TSTR on synthetic ones (Esteban et al., 2017); all are tested on the same real images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.sections.classifier import LabelledImages, classify, train_classifier
from cxr.labels.targets import LABELS
from cxr.metrics.agreement import weighted_auroc
from cxr.metrics.intervals import cluster_weights, middle
from cxr.metrics.result import MetricResult
from cxr.request.errors import DataError
from cxr.vocabulary import FINDINGS

__all__ = ["SIZE", "LabelledImages", "UtilityReport", "UtilityRow", "measure_utility"]

SIZE = 64  # pixels; of the images of a report
FEW = 0.1  # of the real images
FEWEST_IMAGES = 10  # of each kind, so that one in ten is one
FEWEST_PATIENTS = 10  # with a label; fewer get a note, as resamples hardly vary
REAL, SYNTHETIC, FEW_REAL, FIRST_SYNTHETIC = "TRTR", "TSTR", "10 % real", "synthetic, then 10 % real"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class UtilityRow:
    """One arm: AUROC of each label that the test images have both kinds of, and their mean over the findings."""

    arm: str
    metrics: tuple[MetricResult, ...]


@dataclass(frozen=True)
class UtilityReport:
    """All arms, and what follows from them.

    Args:
        rows: one for each arm.
        ratios: TSTR / TRTR of each label; an AUROC of 0.5 is guessing, so a ratio says little where TRTR is near it.
        difference: macro AUROC of "synthetic, then 10 % real" minus that of "10 % real", on the same test images.
        num_seeds: trainings of each arm.
        num_images: real, and as many synthetic, training images.
        steps: of each training.
    """

    rows: tuple[UtilityRow, ...]
    ratios: tuple[MetricResult, ...]
    difference: MetricResult
    num_seeds: int
    num_images: int
    steps: int


def measure_utility(
    real: LabelledImages,
    synthetic: LabelledImages,
    test: LabelledImages,
    patients: Sequence[str],
    steps: int = 400,
    batch_size: int = 32,
    num_seeds: int = 3,
    say: Callable[[str], None] | None = None,
) -> UtilityReport:
    """Train every arm with every seed and test it on real images.

    Of the larger training set as many images are drawn as the smaller one has, anew for each seed. "real + synthetic"
    sees all of both; "synthetic, then …" changes over after half of the steps; 10 % are of the real images.

    Args:
        real: of patients who are not in the test.
        synthetic: labelled by their prompts.
        test: real images.
        patients: whose each test image is, [N].
        steps: of each training.
        batch_size: images of each step.
        num_seeds: trainings of each arm; figures are means over them.
        say: called with one line after each arm.
    Returns:
        Figures whose 95 % intervals draw whole patients of the test; they do not tell how training runs differ, the
        setting "seeds" of each figure does.
    Raises:
        DataError: the sets do not fit together, share images, or are too small.
    """
    _check(real, synthetic, test, patients)
    count = min(len(real), len(synthetic))
    scores: dict[str, list[Array]] = {}
    sizes: dict[str, dict[str, int]] = {}
    for seed in range(num_seeds):
        for arm, (stages, sizes[arm]) in _arms(real, synthetic, count, seed).items():
            network = train_classifier(stages, steps, batch_size, seed)
            scores.setdefault(arm, []).append(classify(network, test.pixels))
            if say:
                say(f"utility: seed {seed + 1} of {num_seeds}, {arm}")
    tables = {arm: _Table(test, patients, values) for arm, values in scores.items()}
    shared = {"steps": steps, "batch_size": batch_size}
    rows = tuple(UtilityRow(arm, table.metrics(shared | sizes[arm])) for arm, table in tables.items())
    ratios = tables[SYNTHETIC].ratios(tables[REAL])
    difference = tables[FIRST_SYNTHETIC].minus(tables[FEW_REAL], f"{FIRST_SYNTHETIC} - {FEW_REAL}, macro AUROC")
    return UtilityReport(rows, ratios, difference, num_seeds, count, steps)


class _Table:
    """AUROCs [num_seeds, 1 + B, len(LABELS)] of one arm: as measured, then on B resamples of patients."""

    def __init__(self, test: LabelledImages, patients: Sequence[str], scores: Sequence[Array]) -> None:
        targets = test.targets[:, : len(LABELS)]
        known = ~np.isnan(targets)
        self.num_test = len(test)
        self.positive, self.negative = (targets == 1).sum(axis=0), (targets == 0).sum(axis=0)
        self.patients = [len(set(np.asarray(patients)[targets[:, k] == 1])) for k in range(len(LABELS))]
        self.columns = [k for k in range(len(LABELS)) if self.positive[k] and self.negative[k]]
        weights = np.vstack([np.ones(len(test)), cluster_weights(np.asarray(patients))])
        self.areas = np.full((len(scores), len(weights), len(LABELS)), np.nan)
        for seed, values in enumerate(scores):
            for k in self.columns:
                some = known[:, k]
                self.areas[seed, :, k] = weighted_auroc(values[some, k], targets[some, k] == 1, weights[:, some])

    @property
    def macro(self) -> Array:
        """Mean over the findings that the test has both kinds of, [num_seeds, 1 + B]."""
        columns = [k for k in self.columns if LABELS[k] in FINDINGS]
        areas = self.areas[:, :, columns]
        present = np.isfinite(areas)  # a resample may lose the few patients of a rare finding
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(present, areas, 0).sum(axis=2) / present.sum(axis=2))

    def metrics(self, settings: dict[str, Any]) -> tuple[MetricResult, ...]:
        rows = []
        for k in self.columns:
            metric = self._metric(LABELS[k], self.areas[:, :, k], settings | self._counts(k))
            few = metric.settings["num_positive_patients"]
            note = f"of {few} patients only; too few for an interval" if few < FEWEST_PATIENTS else ""
            rows.append(replace(metric, note=note))
        return (*rows, self._metric("macro AUROC", self.macro, settings))

    def ratios(self, reference: _Table) -> tuple[MetricResult, ...]:
        rows = []
        for k in self.columns:
            mine, real = self.areas[:, :, k].mean(axis=0), reference.areas[:, :, k].mean(axis=0)
            ratio = np.divide(mine, real, out=np.full_like(real, np.nan), where=real > 0)
            metric = self._metric(LABELS[k], ratio[None], self._counts(k))
            if middle(real[1:]).low <= 0.5:
                metric = replace(metric, note="real training images do no better than guessing; the ratio says nothing")
            rows.append(metric)
        return tuple(rows)

    def minus(self, other: _Table, name: str) -> MetricResult:
        return self._metric(name, self.macro - other.macro, {})

    def _metric(self, name: str, values: Array, settings: dict[str, Any]) -> MetricResult:
        mean = values.mean(axis=0)
        settings = settings | {"seeds": [float(value) for value in values[:, 0]]}
        made = settings.get("num_synthetic", 0)
        return MetricResult(name, float(mean[0]), *middle(mean[1:]), made, self.num_test, settings)

    def _counts(self, column: int) -> dict[str, int]:
        return {
            "num_positive": int(self.positive[column]),
            "num_negative": int(self.negative[column]),
            "num_positive_patients": self.patients[column],
        }


def _arms(
    real: LabelledImages, synthetic: LabelledImages, count: int, seed: int
) -> dict[str, tuple[tuple[LabelledImages, ...], dict[str, int]]]:
    """Name -> (what is seen in each share of the steps, how many images of each kind that is)."""
    chance = np.random.default_rng(seed)
    some, made = (images.some(chance.permutation(len(images))[:count]) for images in (real, synthetic))
    few = some.some(np.arange(round(FEW * count)))
    both = LabelledImages(np.concatenate([some.pixels, made.pixels]), np.concatenate([some.targets, made.targets]))
    arms = {
        REAL: ((some,), count, 0),
        SYNTHETIC: ((made,), 0, count),
        "real + synthetic": ((both,), count, count),
        "synthetic, then real": ((made, some), count, count),
        FEW_REAL: ((few,), len(few), 0),
        FIRST_SYNTHETIC: ((made, few), len(few), count),
    }
    return {arm: (stages, {"num_real": x, "num_synthetic": y}) for arm, (stages, x, y) in arms.items()}


def _check(real: LabelledImages, synthetic: LabelledImages, test: LabelledImages, patients: Sequence[str]) -> None:
    for name, images in (("real", real), ("synthetic", synthetic), ("test", test)):
        if images.pixels.shape[1:] != real.pixels.shape[1:] or images.targets.shape != (len(images), len(LABELS) + 1):
            raise DataError(
                f"the {name} images are {list(images.pixels.shape)} with targets {list(images.targets.shape)}; "
                f"use [N, S, S] of one size and [N, {len(LABELS) + 1}]"
            )
        if len(images) < FEWEST_IMAGES:
            raise DataError(f"there are {len(images)} {name} images; utility needs {FEWEST_IMAGES} or more")
    if len(patients) != len(test):
        raise DataError(f"{len(patients)} patients are named for {len(test)} test images; name one for each")
    if shared := {image.tobytes() for image in test.pixels} & {image.tobytes() for image in real.pixels}:
        raise DataError(f"{len(shared)} test images are among the real training images too; split by patient")
