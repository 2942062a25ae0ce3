"""Real test images on which classifiers are scored: the areas of each label, with resamples of the patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cxr.evaluate.utility_classifier import LabelledImages
from cxr.labels.targets import LABELS
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.agreement import weighted_auroc
from cxr.metrics.arrays import Array
from cxr.metrics.intervals import middle, weightings
from cxr.metrics.result import Json, MetricResult, figure_of
from cxr.request.errors import DataError
from cxr.request.messages import plural

MIN_IMAGES = 10  # of each kind, so that one in ten is one
MIN_PATIENTS = 10  # with a label; fewer get a note, as resamples hardly vary, and do not count in the mean
MACRO = "macro AUROC"
GUESSING = "real training images do no better than guessing; the ratio says nothing"


class ScoredTest:
    """What arms are tested on: labels with how many images have them, and B resamples of its patients.

    Args:
        test: N real images.
        patients: of each image, [N].
    """

    def __init__(self, test: LabelledImages, patients: Sequence[str]) -> None:
        self.targets, whose = test.targets[:, : len(LABELS)], np.asarray(patients)
        self.weights = weightings(whose, min_clusters=1)  # a note says it of few
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
        """Mean over the findings of `MIN_PATIENTS` or more, or of all where none has so many, [num_seeds, 1 + B]."""
        findings = [k for k in self.counts if LABELS[k] in FINDINGS]
        common = [k for k in findings if self.counts[k]["num_positive_patients"] >= MIN_PATIENTS]
        areas = areas[:, :, common or findings]
        present = np.isfinite(areas)  # a resample may lose the few patients of a rare finding
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(present, areas, 0).sum(axis=2) / present.sum(axis=2))

    def metrics(self, areas: Array, settings: Mapping[str, Json]) -> list[MetricResult]:
        """The figure of each label and their mean, from areas as `areas` gives them, or differences of two."""
        rows = []
        for k, counts in self.counts.items():
            few = counts["num_positive_patients"]
            note = f"of {plural(few, 'patient')} only; too few for an interval" if few < MIN_PATIENTS else ""
            rows.append(self.metric(LABELS[k], areas[:, :, k], {**settings, **counts}, note))
        return [*rows, self.metric(MACRO, self.macro(areas), settings)]

    def ratios(self, areas: Array, reference: Array) -> list[MetricResult]:
        """Each label's area as a share of that of another arm."""
        rows = []
        for k, counts in self.counts.items():
            mine, real = areas[:, :, k].mean(axis=0), reference[:, :, k].mean(axis=0)
            ratio = np.divide(mine, real, out=np.full_like(real, np.nan), where=real > 0)
            rows.append(self.metric(LABELS[k], ratio[None], counts, GUESSING if middle(real[1:]).low <= 0.5 else ""))
        return rows

    def metric(self, name: str, values: Array, settings: Mapping[str, Json], note: str = "") -> MetricResult:
        """A figure [num_seeds, 1 + B]: its mean over the seeds, with its interval."""
        mean, synthetic = values.mean(axis=0), settings.get("num_synthetic", 0)
        facts = {**settings, "seeds": values[:, 0].tolist()}
        return figure_of(
            name, mean, num_generated=synthetic, num_reference=len(self.targets), settings=facts, note=note
        )


def check_labelled(
    real: LabelledImages, synthetic: Mapping[str, LabelledImages], test: LabelledImages, patients: Sequence[str]
) -> None:
    """Refuse sets that cannot be compared.

    Args:
        real: to train on.
        synthetic: to train on, too, by name.
        test: real images.
        patients: the patient of each test image.
    Raises:
        DataError: the sets do not fit together, share images, or are too small.
    """
    for name, images in {"real": real, **synthetic, "test": test}.items():
        if images.pixels.shape[1:] != real.pixels.shape[1:] or images.targets.shape != (len(images), len(LABELS) + 1):
            raise DataError(
                f"the {name} images are {list(images.pixels.shape)} with targets {list(images.targets.shape)}; "
                f"use [N, S, S] of one size and [N, {len(LABELS) + 1}]"
            )
        if len(images) < MIN_IMAGES:
            raise DataError(f"there are {len(images)} {name} images; utility needs {MIN_IMAGES} or more")
    if len(patients) != len(test):
        raise DataError(f"{len(patients)} patients are named for {len(test)} test images; name one for each")
    if shared := {image.tobytes() for image in test.pixels} & {image.tobytes() for image in real.pixels}:
        raise DataError(f"{len(shared)} test images are among the real training images too; split by patient")
