"""Downstream utility: what classifiers that were trained on generated images are worth on real patients.

Every arm trains the same network for the same number of steps; arms differ only in the images that they see. TRTR
trains on real images, TSTR on synthetic ones (Esteban et al., 2017); all are tested on the same real images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.utility_classifier import LabelledImages, classify, train_classifier
from cxr.labels.targets import LABELS
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.agreement import weighted_auroc
from cxr.metrics.intervals import cluster_weights, middle
from cxr.metrics.result import MetricResult
from cxr.request.errors import DataError

SIZE = 64  # pixels; of the images of a report
FEW = 0.1  # of the real images
FEWEST_IMAGES = 10  # of each kind, so that one in ten is one
FEWEST_PATIENTS = 10  # with a label; fewer get a note, as resamples hardly vary, and do not count in the mean
REAL, SYNTHETIC, FEW_REAL, FIRST_SYNTHETIC = "TRTR", "TSTR", "10 % real", "synthetic, then 10 % real"
MACRO = "macro AUROC"
GUESSING = "real training images do no better than guessing; the ratio says nothing"

Array = NDArray[np.float64]


def measure_utility(
    real: LabelledImages,
    synthetic: LabelledImages,
    test: LabelledImages,
    patients: Sequence[str],
    steps: int = 400,
    batch_size: int = 32,
    num_seeds: int = 3,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
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
        rows: for each arm its AUROC of each label that the test images have both kinds of, and their mean over the
        findings of `FEWEST_PATIENTS` or more; ratios: TSTR / TRTR of each label (an AUROC of 0.5 is guessing, so a
        ratio says little where TRTR is near it); difference: mean AUROC of "synthetic, then 10 % real" minus that of
        "10 % real", on the same test images; num_seeds; num_images: real, and as many synthetic, training images;
        steps. The 95 % intervals draw whole patients of the test; they do not tell how training runs differ, the
        setting "seeds" of a figure does.
    Raises:
        DataError: the sets do not fit together, share images, or are too small.
    """
    check_labelled(real, {"synthetic": synthetic}, test, patients)
    count = min(len(real), len(synthetic))
    scores: dict[str, list[Array]] = {}
    sizes: dict[str, dict[str, int]] = {}
    for seed in range(num_seeds):
        for arm, (stages, sizes[arm]) in _arms(real, synthetic, count, seed).items():
            network = train_classifier(stages, steps, batch_size, seed)
            scores.setdefault(arm, []).append(classify(network, test.pixels))
            say(f"utility: seed {seed + 1} of {num_seeds}, {arm}")
    tested = ScoredTest(test, patients)
    areas = {arm: tested.areas(values) for arm, values in scores.items()}
    shared = {"steps": steps, "batch_size": batch_size}
    gained = tested.macro(areas[FIRST_SYNTHETIC]) - tested.macro(areas[FEW_REAL])
    return {
        "rows": [{"arm": arm, "metrics": tested.metrics(areas[arm], shared | sizes[arm])} for arm in areas],
        "ratios": tested.ratios(areas[SYNTHETIC], areas[REAL]),
        "difference": tested.metric(f"{FIRST_SYNTHETIC} - {FEW_REAL}, {MACRO}", gained, {}),
        "num_seeds": num_seeds,
        "num_images": count,
        "steps": steps,
    }


class ScoredTest:
    """What arms are tested on: labels with how many images have them, and B resamples of its patients.

    Args:
        test: N real images.
        patients: whose each is, [N].
    """

    def __init__(self, test: LabelledImages, patients: Sequence[str]) -> None:
        self.targets, whose = test.targets[:, : len(LABELS)], np.asarray(patients)
        self.weights = np.vstack([np.ones(len(test)), cluster_weights(whose)])
        positive, negative = self.targets == 1, self.targets == 0
        self.counts = {
            k: {
                "num_positive": int(positive[:, k].sum()),
                "num_negative": int(negative[:, k].sum()),
                "num_positive_patients": len(set(whose[positive[:, k]])),
            }
            for k in range(len(LABELS))
            if positive[:, k].any() and negative[:, k].any()
        }

    def areas(self, scores: Sequence[Array]) -> Array:
        """AUROCs [num_seeds, 1 + B, len(LABELS)] of one arm: as measured, then on the resamples."""
        areas = np.full((len(scores), len(self.weights), len(LABELS)), np.nan)
        for seed, values in enumerate(scores):
            for k in self.counts:
                some = ~np.isnan(self.targets[:, k])
                areas[seed, :, k] = weighted_auroc(values[some, k], self.targets[some, k] == 1, self.weights[:, some])
        return areas

    def macro(self, areas: Array) -> Array:
        """Mean over the findings of `FEWEST_PATIENTS` or more, or of all where none has so many, [num_seeds, 1 + B]."""
        findings = [k for k in self.counts if LABELS[k] in FINDINGS]
        common = [k for k in findings if self.counts[k]["num_positive_patients"] >= FEWEST_PATIENTS]
        areas = areas[:, :, common or findings]
        present = np.isfinite(areas)  # a resample may lose the few patients of a rare finding
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(present, areas, 0).sum(axis=2) / present.sum(axis=2))

    def metrics(self, areas: Array, settings: Mapping[str, Any]) -> list[MetricResult]:
        """The figure of each label and their mean, from areas as `areas` gives them, or differences of two."""
        rows = []
        for k, counts in self.counts.items():
            few = counts["num_positive_patients"]
            note = f"of {few} patients only; too few for an interval" if few < FEWEST_PATIENTS else ""
            rows.append(self.metric(LABELS[k], areas[:, :, k], {**settings, **counts}, note))
        return [*rows, self.metric(MACRO, self.macro(areas), settings)]

    def ratios(self, areas: Array, reference: Array) -> list[MetricResult]:
        rows = []
        for k, counts in self.counts.items():
            mine, real = areas[:, :, k].mean(axis=0), reference[:, :, k].mean(axis=0)
            ratio = np.divide(mine, real, out=np.full_like(real, np.nan), where=real > 0)
            rows.append(self.metric(LABELS[k], ratio[None], counts, GUESSING if middle(real[1:]).low <= 0.5 else ""))
        return rows

    def metric(self, name: str, values: Array, settings: Mapping[str, Any], note: str = "") -> MetricResult:
        """A figure [num_seeds, 1 + B]: its mean over the seeds, with its interval."""
        mean, made = values.mean(axis=0), settings.get("num_synthetic", 0)
        facts = {**settings, "seeds": values[:, 0].tolist()}
        return MetricResult(name, float(mean[0]), *middle(mean[1:]), made, len(self.targets), facts, note)


def _arms(
    real: LabelledImages, synthetic: LabelledImages, count: int, seed: int
) -> dict[str, tuple[tuple[LabelledImages, ...], dict[str, int]]]:
    """Name -> (what is seen in each share of the steps, how many images of each kind that is)."""
    rng = np.random.default_rng(seed)
    some, made = (images.take(rng.permutation(len(images))[:count]) for images in (real, synthetic))
    few = some.take(np.arange(round(FEW * count)))
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


def check_labelled(
    real: LabelledImages, made: Mapping[str, LabelledImages], test: LabelledImages, patients: Sequence[str]
) -> None:
    """Refuse sets that cannot be compared.

    Args:
        real: to train on.
        made: to train on, too, by name.
        test: real images.
        patients: whose each test image is.
    Raises:
        DataError: the sets do not fit together, share images, or are too small.
    """
    for name, images in {"real": real, **made, "test": test}.items():
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
