"""What synthetic images add to few real ones: a classifier with and without them, for several counts of films."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TypedDict

import numpy as np

from cxr.evaluate.image_set import ImageSet
from cxr.evaluate.result_cache import library_versions
from cxr.evaluate.scored_test import ScoredTest, check_labelled
from cxr.evaluate.sets import Sets, check_sets, doubts_on_tables, unknown_to
from cxr.evaluate.utility import labelled
from cxr.evaluate.utility_classifier import LabelledImages, classify, train_classifier
from cxr.metrics.arrays import Array
from cxr.metrics.result import JsonObject, MetricResult
from cxr.request.errors import DataError, RequestError

COUNTS = (100, 300, 1000)
MIN_FILMS = 10
FORMAT = 1


class FewRealRow(TypedDict):
    """The AUROC of each label and their mean over the findings, for one count of real images.

    Args:
        count: real images.
        name: of the set of synthetic images beside them, "" for none.
        metrics: figures, or what the set adds to them.
    """

    count: int
    name: str
    metrics: list[MetricResult]


class FewReal(TypedDict):
    """What sets of synthetic images add to few real ones. The 95 % intervals draw whole patients of the test.

    Args:
        rows: for each count, no set and the sets.
        differences: for each count and set, what the set adds, on the same test images.
        counts: numbers of real images.
        num_synthetic: images of each set.
        num_seeds: trainings of each arm.
        steps: of each training.
    """

    rows: list[FewRealRow]
    differences: list[FewRealRow]
    counts: Sequence[int]
    num_synthetic: int
    num_seeds: int
    steps: int


def measure_few_real(
    real: LabelledImages,
    synthetic: Mapping[str, LabelledImages],
    test: LabelledImages,
    patients: Sequence[str],
    counts: Sequence[int] = COUNTS,
    steps: int = 400,
    batch_size: int = 32,
    num_seeds: int = 3,
    say: Callable[[str], None] = lambda line: None,
) -> FewReal:
    """Train on few real images alone, and on the same ones with synthetic ones beside them.

    Half of what is seen with synthetic images is real: the real ones are repeated. Every set of synthetic images gives
    as many as the smallest one has, drawn anew for each seed, as the real ones are.

    Args:
        real: of patients who are not in the test.
        synthetic: sets of synthetic images by name, labelled by their prompts.
        test: real images.
        patients: the patient of each test image, [N].
        counts: numbers of real images, each at most that of ``real``.
        steps: of each training.
        batch_size: images of each step.
        num_seeds: trainings of each arm; figures are means over them.
        say: called with one line after each training.
    Raises:
        RequestError: a count is under `MIN_FILMS` or above the number of real images.
        DataError: as `cxr.evaluate.scored_test.check_labelled`.
    """
    check_labelled(real, synthetic, test, patients)
    counts, tested = _checked(counts, len(real)), ScoredTest(test, patients)
    num_synthetic = min(len(images) for images in synthetic.values())
    areas: dict[tuple[int, str], Array] = {}
    for count, name in product(counts, ("", *synthetic)):
        scores = []
        for seed in range(num_seeds):
            seen = _seen(real, synthetic.get(name), count, num_synthetic, seed)
            scores.append(classify(train_classifier((seen,), steps, batch_size, seed), test.pixels))
            say(f"utility: {count} real films{f' + {name}' if name else ''}, seed {seed + 1} of {num_seeds}")
        areas[count, name] = tested.areas(scores)
    facts = {"num_synthetic": num_synthetic, "steps": steps, "batch_size": batch_size}
    added = {(count, name): found - areas[count, ""] for (count, name), found in areas.items() if name}
    return {
        "rows": _rows(tested, areas, facts),
        "differences": _rows(tested, added, facts),
        "counts": counts,
        "num_synthetic": num_synthetic,
        "num_seeds": num_seeds,
        "steps": steps,
    }


def _rows(tested: ScoredTest, areas: Mapping[tuple[int, str], Array], facts: Mapping[str, int]) -> list[FewRealRow]:
    """The figures of each count and set, from areas as `ScoredTest.areas` gives them; ``facts`` of arms with a set."""
    rows: list[FewRealRow] = []
    for (count, name), found in areas.items():
        settings = {"num_real": count, **facts, **({} if name else {"num_synthetic": 0})}
        rows.append({"count": count, "name": name, "metrics": tested.metrics(found, settings)})
    return rows


def _checked(counts: Sequence[int], num_real: int) -> list[int]:
    if wrong := [count for count in sorted(counts) if not MIN_FILMS <= count <= num_real]:
        allowed = f"use {MIN_FILMS} to {num_real}, the number of real images"
        raise RequestError(f"is {wrong[0]}; {allowed}", field="counts")
    return sorted(set(counts))


def compare_few_real(
    synthetic: Mapping[str, ImageSet],
    training: ImageSet,
    reference: ImageSet,
    counts: Sequence[int] = COUNTS,
    steps: int = 400,
    say: Callable[[str], None] = lambda line: None,
) -> JsonObject:
    """What ``python -m cxr evaluate utility`` measures: `measure_few_real` on folders, with what a report says of them.

    Args:
        synthetic: sets of generated images by name.
        training: labelled real films to learn from.
        reference: labelled real films of other patients, to test on.
        counts: numbers of real films to learn from.
        steps: of each training.
        say: called with one line after each training.
    Raises:
        RequestError, DataError: as `measure_few_real`; or a set has no labels, or films are on both sides.
    """
    for images in synthetic.values():
        check_sets(Sets(images, reference, training=training))
    for images in (*synthetic.values(), training, reference):
        if np.isnan(images.targets).all():
            raise DataError(f"{images.folder} has no labels or prompts; add them to its table")
    reference, notes = unknown_to((), reference)
    real, test, *others = map(labelled, (training, reference, *synthetic.values()))
    found = measure_few_real(
        real, dict(zip(synthetic, others, strict=True)), test, reference.patients, counts, steps, say=say
    )
    return {
        **found,
        "format": FORMAT,
        "title": f"What synthetic images add to few real ones: {', '.join(synthetic)}",
        "reference": reference.describe(),
        "training": training.describe(),
        "models": {name: images.describe() for name, images in synthetic.items()},
        "notes": [*notes, *doubts_on_tables((*synthetic.values(), training, reference))],
        "versions": library_versions(),
    }


def _seen(
    real: LabelledImages, synthetic: LabelledImages | None, count: int, num_synthetic: int, seed: int
) -> LabelledImages:
    """What one training draws its batches from."""
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(real))[:count]
    if synthetic is None:
        return real.take(some)
    return real.take(np.resize(some, num_synthetic)).joined(
        synthetic.take(rng.permutation(len(synthetic))[:num_synthetic])
    )
