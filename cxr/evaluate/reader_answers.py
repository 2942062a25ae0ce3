"""What the readers of a blind study sent back, as figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.image_set import ImageSet
from cxr.evaluate.reader_study import CHOICES, FORMAT, NO_FINDING, code_of
from cxr.evaluate.sets import check_apart
from cxr.metrics.intervals import Interval, bootstrap, wilson
from cxr.metrics.result import JsonObject, MetricResult, Row
from cxr.request.errors import DataError
from cxr.request.strict_json import unique_names

MEANS = ("quality",)  # figures that are no shares


class Answers(NamedTuple):
    """All answers of all readers as columns."""

    images: NDArray[np.str_]
    is_generated: NDArray[np.bool_]
    called_generated: NDArray[np.bool_]
    finding_right: NDArray[np.float64]  # NaN where nothing is known
    quality: NDArray[np.float64]

    def take(self, some: NDArray[np.bool_]) -> Answers:
        """Some of the answers."""
        return Answers._make(column[some] for column in self)


class Readers(TypedDict):
    """The part "readers" of a report.

    Args:
        num_readers: who sent answers back.
        rows: generated and real images, with the share that is called generated, the share whose finding is the one
            asked for (of real films: in the labels), and the mean quality.
        told_apart: share of right answers; 0.5 is guessing.
    """

    num_readers: int
    rows: list[Row]
    told_apart: MetricResult


def read_study(paths: Sequence[Path], generated: ImageSet, reference: ImageSet) -> Readers:
    """Put together what readers sent back.

    Args:
        paths: what readers sent back, one file each.
        generated: the images that the page was made from.
        reference: the real films that it was made from.
    Raises:
        DataError: a file is not such an export, or names images that are in neither set.
    """
    check_apart(generated, reference)
    studies = [_read(path) for path in paths]
    for number, study in enumerate(studies):
        if study in studies[:number]:
            first = paths[studies.index(study)]
            raise DataError(f"{paths[number]} says the same as {first}; name what each reader sent back once")
    answers = [
        row for path, study in zip(paths, studies, strict=True) for row in _rows(path, study, generated, reference)
    ]
    columns = Answers(*(np.array(column) for column in zip(*answers, strict=True)))
    rows: list[Row] = []
    for name, some in (("generated", columns.is_generated), ("real", ~columns.is_generated)):
        picked = columns.take(some)
        figures = {
            "called generated": picked.called_generated,
            "finding right": picked.finding_right,
            "quality": picked.quality,
        }
        rows.append({"name": name, "metrics": [_mean(key, values, picked.images) for key, values in figures.items()]})
    return {"num_readers": len(paths), "rows": rows, "told_apart": _told_apart(columns)}


def _told_apart(answers: Answers) -> MetricResult:
    """Both kinds count equally, however many of each were answered: whoever calls all images generated gets 0.5."""
    sides = answers.is_generated, ~answers.is_generated
    if not all(side.any() for side in sides):
        return MetricResult("told apart", np.nan, note="only one of the two kinds was answered")
    weights = np.where(sides[0], 1 / sides[0].sum(), 1 / sides[1].sum())
    return _mean("told apart", answers.is_generated == answers.called_generated, answers.images, weights)


def _mean(
    name: str,
    values: NDArray[np.generic],
    images: NDArray[np.str_],
    weights: NDArray[np.float64] | None = None,
) -> MetricResult:
    """Mean over the answers that are known; several readers' answers on one image are drawn together."""
    numbers = np.asarray(values, np.float64)
    known = np.isfinite(numbers)
    if not known.any():
        return MetricResult(name, np.nan, note="nothing is known to compare with")
    numbers, whose = numbers[known], images[known]
    weights = np.ones(len(numbers)) if weights is None else weights[known]
    measure: Callable[[NDArray[np.intp]], float] = lambda rows: float(np.average(numbers[rows], weights=weights[rows]))  # noqa: E731
    value, count = measure(np.arange(len(numbers))), len(set(whose))
    # Of a share of 0 or 1 all resamples are alike, and yet it is not certain.
    is_extreme = name not in MEANS and value in (0, 1)
    interval = wilson(int(value) * count, count) if is_extreme else bootstrap(measure, whose)
    interval = interval if is_extreme or count > 1 else Interval(np.nan, np.nan)
    return MetricResult(name, value, *interval, num_generated=count)


def _rows(
    path: Path, study: JsonObject, generated: ImageSet, reference: ImageSet
) -> list[tuple[str, bool, bool, float, float]]:
    known = {
        code_of(study["salt"], sha256): (sha256, images is generated, images.labels[k])
        for images in (reference, generated)
        for k, sha256 in enumerate(images.hashes)
    }
    rows = []
    for name, answer in study["answers"].items():
        if name not in known:
            raise DataError(
                f"{path} judges an image that is in neither set; name the folders that the page was made from"
            )
        sha256, is_generated, labels = known[name]
        is_known = labels.findings is not None and answer["finding"] not in labels.unknown
        right = float(answer["finding"] in (labels.findings or (NO_FINDING,))) if is_known else np.nan
        rows.append((sha256, is_generated, answer["origin"] == "generated", right, float(answer["quality"])))
    return rows


def _read(path: Path) -> JsonObject:
    try:
        study = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique_names)
        if study["format"] != FORMAT or not isinstance(study["salt"], str) or not study["answers"]:
            raise ValueError("it holds no answers")
        for answer in study["answers"].values():
            for name, allowed in CHOICES.items():
                if answer[name] not in allowed or type(answer[name]) is not type(allowed[0]):
                    raise ValueError(f"{name} {answer[name]!r} is not one of {', '.join(map(str, allowed))}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not what the page of a reader study exports: {error}") from error
    found: JsonObject = study
    return found
