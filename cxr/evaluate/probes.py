"""Tests of single words: are denials understood ("no pneumothorax"), and is left told from right?

No judge reads sides. But it can be shown an image whose one half is replaced by the other half's mirror image: the half
with which it sees the finding more clearly is the side. On real films with known sides that figure has a ceiling, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.image_set import ImageSet
from cxr.judges.judge import Judge, read_labels
from cxr.labels.targets import LABELS
from cxr.labels.vocabulary import FINDINGS, labels_of
from cxr.metrics.agreement import weighted_auroc
from cxr.metrics.arrays import Array, Flags
from cxr.metrics.intervals import weightings
from cxr.metrics.result import MetricResult, figure_of_share
from cxr.prompts import asked_labels, misread_findings

MIN_IMAGES = 10  # images of each of the two kinds

Scores = Callable[[Judge, ImageSet], Array]  # [N, len(LABELS) + 1], logits


class Probe(TypedDict):
    """One finding: how well two kinds of images are told apart, and the same of real films."""

    name: str
    judge: str
    metrics: dict[str, MetricResult]
    num_positive: int
    num_negative: int


class Probes(TypedDict):
    """The part "probes" of a report. Rows without `MIN_IMAGES` images of both kinds are left out, and ceilings are NaN.

    Args:
        denials: by finding the AUROC that tells images that are to show it from those whose prompt denies it (0.5: a
            denial is read as a wish), beside that of films with it and normal ones.
        sides: by finding the AUROC that tells "left" from "right".
    """

    denials: list[Probe]
    sides: list[Probe]


def measure_probes(
    judges: Mapping[str, Judge],
    images: ImageSet,
    reference: ImageSet,
    scores: Scores,
    pixels: Callable[[ImageSet], NDArray[np.uint8]],
) -> Probes:
    """Tell images by what their prompts deny, and by the side that they name.

    Args:
        judges: by name; the figure is that of the one who gives the lower one.
        images: with prompts, some of which deny a finding or name a side.
        reference: real films, for what the judges can tell at all.
        scores: what a judge reads off images.
        pixels: images -> [N, 128, 128] uint8.
    """
    denials, sides = [], []
    shown = [asked_labels(prompt).findings or () for prompt in images.prompts]
    misread = [misread_findings(prompt) for prompt in images.prompts]
    made_sides, real_sides = _sides_of(images), _sides_of(reference)
    for finding in FINDINGS:
        asked, denied = (np.array([finding in names for names in column]) for column in (shown, misread))
        if min(asked.sum(), denied.sum()) >= MIN_IMAGES:
            column = LABELS.index(finding)
            real = reference.targets[:, column] == 1, reference.targets[:, LABELS.index("abnormal")] == 0
            margins = {
                name: (scores(judge, images)[:, column], scores(judge, reference)[:, column])
                for name, judge in judges.items()
            }
            denials.append(_row(finding, margins, (asked, denied), real, images, reference))
        left, right = _left_and_right(made_sides, finding)
        if min(left.sum(), right.sum()) >= MIN_IMAGES:
            known = _left_and_right(real_sides, finding)
            margins = {
                name: (
                    _leaning(judge, finding, pixels(images), left | right),
                    _leaning(judge, finding, pixels(reference), known[0] | known[1]),
                )
                for name, judge in judges.items()
            }
            sides.append(_row(finding, margins, (left, right), known, images, reference))
    return {"denials": denials, "sides": sides}


def _row(
    finding: str,
    margins: Mapping[str, tuple[Array, Array]],
    made: tuple[Flags, Flags],
    real: tuple[Flags, Flags],
    images: ImageSet,
    reference: ImageSet,
) -> Probe:
    figures = {
        name: (
            _area("AUROC", generated, made, images.prompts, is_real=False),
            _area("C_AUROC", films, real, reference.patients, is_real=True),
        )
        for name, (generated, films) in margins.items()
    }
    judge = min(figures, key=lambda name: (figures[name][0].value, name))
    return {
        "name": finding,
        "judge": judge,
        "metrics": {one.name: one for one in figures[judge]},
        "num_positive": int(made[0].sum()),
        "num_negative": int(made[1].sum()),
    }


def _area(
    name: str, scores: Array, kinds: tuple[Flags, Flags], clusters: Sequence[str], *, is_real: bool
) -> MetricResult:
    yes, no = kinds
    if min(yes.sum(), no.sum()) < MIN_IMAGES:
        return MetricResult(
            name, np.nan, note=f"{yes.sum()} and {no.sum()} real films; {MIN_IMAGES} of each are needed"
        )
    some = yes | no
    weights = weightings(np.asarray(clusters)[some])
    values = weighted_auroc(scores[some], yes[some], weights)
    count = int(min(yes.sum(), no.sum(), len(set(np.asarray(clusters)[some]))))
    if is_real:
        return figure_of_share(name, values, count, num_reference=int(some.sum()))
    return figure_of_share(name, values, count, num_generated=int(some.sum()))


def _leaning(judge: Judge, finding: str, pixels: NDArray[np.uint8], some: Flags) -> Array:
    """How much more clearly the finding is seen with the patient's left half, on the right of the picture: [N]."""
    leaning = np.zeros(len(pixels))
    if some.any():
        middle_column = pixels.shape[2] // 2
        chosen = pixels[some]
        halves = chosen[:, :, middle_column:], chosen[:, :, :middle_column][:, :, ::-1]
        seen = [
            read_labels(judge.network, np.concatenate([half[:, :, ::-1], half], axis=2))[:, LABELS.index(finding)]
            for half in halves
        ]
        leaning[some] = seen[0] - seen[1]
    return leaning


def _sides_of(images: ImageSet) -> list[tuple[tuple[str, str], ...]]:
    """(finding, side) of each image, as its prompt asks for them or else its labels name them."""
    pairs = zip(images.prompts, images.labels, strict=True)
    return [_asked_sides(prompt) if prompt else labels.sides for prompt, labels in pairs]


def _asked_sides(prompt: str) -> tuple[tuple[str, str], ...]:
    """Without those of a finding that is denied: "no left pleural effusion"."""
    asked = asked_labels(prompt).findings or ()
    return tuple(pair for pair in labels_of(prompt).sides if pair[0] in asked)


def _left_and_right(sides: Sequence[tuple[tuple[str, str], ...]], finding: str) -> tuple[Flags, Flags]:
    """Which images have a finding on the left and not on the right, and which the other way round."""
    left, right = (np.array([(finding, side) in named for named in sides]) for side in ("left", "right"))
    return left & ~right, right & ~left
