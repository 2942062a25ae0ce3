"""Downstream utility: what classifiers that were trained on generated images are worth on real patients.

Every arm trains the same network for the same number of steps; arms differ only in the images that they see. TRTR
trains on real images, TSTR on synthetic ones (Esteban et al., 2017); all are tested on the same real images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np

from cxr.evaluate.image_set import ImageSet
from cxr.evaluate.scored_test import MACRO, ScoredTest, check_labelled
from cxr.evaluate.utility_classifier import LabelledImages, classify, train_classifier
from cxr.images.squares import read_squares
from cxr.metrics.arrays import Array
from cxr.metrics.result import MetricResult

SIZE = 64  # pixels; of the images of a report
FEW = 0.1  # of the real images
REAL, SYNTHETIC, FEW_REAL, FIRST_SYNTHETIC = "TRTR", "TSTR", "10 % real", "synthetic, then 10 % real"


class Arm(TypedDict):
    """The AUROC of each label that the test images have both kinds of, and their mean over the findings, of one arm."""

    arm: str
    metrics: list[MetricResult]


class Utility(TypedDict):
    """The part "utility" of a report.

    The 95 % intervals draw whole patients of the test; they do not tell how training runs differ, the setting "seeds"
    of a figure does.

    Args:
        rows: the arms; means are over the findings of `cxr.evaluate.scored_test.MIN_PATIENTS` or more.
        ratios: TSTR / TRTR of each label; an AUROC of 0.5 is guessing, so a ratio says little where TRTR is near it.
        difference: mean AUROC of "synthetic, then 10 % real" minus that of "10 % real", on the same test images.
        num_seeds: trainings of each arm.
        num_images: real, and as many synthetic, training images.
        steps: of each training.
    """

    rows: list[Arm]
    ratios: list[MetricResult]
    difference: MetricResult
    num_seeds: int
    num_images: int
    steps: int


def labelled(images: ImageSet) -> LabelledImages:
    """A set as classifiers learn from it: small pixels, and what is known of each image."""
    return LabelledImages(read_squares(images.paths, SIZE), images.targets)


def measure_utility(
    real: LabelledImages,
    synthetic: LabelledImages,
    test: LabelledImages,
    patients: Sequence[str],
    steps: int = 400,
    batch_size: int = 32,
    num_seeds: int = 3,
    say: Callable[[str], None] = lambda line: None,
) -> Utility:
    """Train every arm with every seed and test it on real images.

    Of the larger training set as many images are drawn as the smaller one has, anew for each seed. "real + synthetic"
    sees all of both; "synthetic, then …" changes over after half of the steps; 10 % are of the real images.

    Args:
        real: of patients who are not in the test.
        synthetic: labelled by their prompts.
        test: real images.
        patients: the patient of each test image, [N].
        steps: of each training.
        batch_size: images of each step.
        num_seeds: trainings of each arm; figures are means over them.
        say: called with one line after each arm.
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


def _arms(
    real: LabelledImages, synthetic: LabelledImages, count: int, seed: int
) -> dict[str, tuple[tuple[LabelledImages, ...], dict[str, int]]]:
    """Name -> (what is seen in each share of the steps, how many images of each kind that is)."""
    rng = np.random.default_rng(seed)
    some, made = (images.take(rng.permutation(len(images))[:count]) for images in (real, synthetic))
    few = some.take(np.arange(round(FEW * count)))
    arms = {
        REAL: ((some,), count, 0),
        SYNTHETIC: ((made,), 0, count),
        "real + synthetic": ((some.joined(made),), count, count),
        "synthetic, then real": ((made, some), count, count),
        FEW_REAL: ((few,), len(few), 0),
        FIRST_SYNTHETIC: ((made, few), len(few), count),
    }
    return {arm: (stages, {"num_real": x, "num_synthetic": y}) for arm, (stages, x, y) in arms.items()}
