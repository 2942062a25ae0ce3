"""A blind study for human readers: one page of mixed images to judge, and what came back as figures.

The page knows no answers: each image is named by a salted hash of its file, and only somebody with the files can tell
from that whether it is real. So the file that a reader sends back needs no key beside it.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.evaluate.detail import choose_side
from cxr.evaluate.report.render import data_uri, render_page
from cxr.evaluate.sets import ImageSet, check_apart
from cxr.images.squares import read_squares
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.intervals import Interval, bootstrap, wilson
from cxr.metrics.result import JsonObject, MetricResult, Row
from cxr.request.errors import DataError
from cxr.request.recipe import once

FORMAT = "cxr reader study 1"
NO_FINDING = "none"
WORST, BEST = 1, 5  # quality
MEANS = ("quality",)  # figures that are no shares
CHOICES = {
    "origin": ("real", "generated"),
    "finding": (NO_FINDING, *FINDINGS),
    "quality": tuple(range(WORST, BEST + 1)),
}


class Answers(NamedTuple):
    """All answers of all readers as columns."""

    images: NDArray[np.str_]
    is_generated: NDArray[np.bool_]
    called_generated: NDArray[np.bool_]
    finding_right: NDArray[np.float64]  # NaN where nothing is known
    quality: NDArray[np.float64]

    def take(self, some: NDArray[np.bool_]) -> Answers:
        """Some of the answers."""
        return Answers(
            self.images[some],
            self.is_generated[some],
            self.called_generated[some],
            self.finding_right[some],
            self.quality[some],
        )


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


def make_study(generated: ImageSet, reference: ImageSet, count: int, seed: int = 0, salt: str = "") -> str:
    """One HTML page with as many generated as real images in random order, which needs nothing besides itself.

    Args:
        generated: the images in question.
        reference: real films; those smaller than the generated ones are not shown.
        count: of each kind, or as many as there are.
        seed: of the choice and the order.
        salt: of the names; a random one if empty.
    """
    check_apart(generated, reference)
    salt, rng = salt or secrets.token_hex(8), np.random.default_rng(seed)
    side, large = choose_side(generated, reference)
    items = []
    for images, among in ((generated, np.arange(len(generated))), (reference, large)):
        _, firsts = np.unique([images.hashes[k] for k in among], return_index=True)
        among = among[np.sort(firsts)]  # no file twice
        chosen = rng.choice(among, min(count, len(among)), replace=False)
        pixels = read_squares([images.paths[k] for k in chosen], side)
        items += [(code_of(salt, images.hashes[k]), _as_uri(image)) for k, image in zip(chosen, pixels, strict=True)]
    order = rng.permutation(len(items))
    return render_page("study.j2", items=[items[k] for k in order], choices=CHOICES, format=FORMAT, salt=salt)


def read_study(paths: Sequence[Path], generated: ImageSet, reference: ImageSet, seed: int = 0) -> Readers:
    """Put together what readers sent back.

    Args:
        paths: what readers sent back, one file each.
        generated: the images that the page was made from.
        reference: the real films that it was made from.
        seed: of the intervals, which draw whole images.
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
        rows.append(
            {"name": name, "metrics": [_mean(key, values, picked.images, seed) for key, values in figures.items()]}
        )
    return {"num_readers": len(paths), "rows": rows, "told_apart": _told_apart(columns, seed)}


def _told_apart(answers: Answers, seed: int) -> MetricResult:
    """Both kinds count equally, however many of each were answered: whoever calls all images generated gets 0.5."""
    sides = answers.is_generated, ~answers.is_generated
    if not all(side.any() for side in sides):
        return MetricResult("told apart", np.nan, note="only one of the two kinds was answered")
    weights = np.where(sides[0], 1 / sides[0].sum(), 1 / sides[1].sum())
    return _mean("told apart", answers.is_generated == answers.called_generated, answers.images, seed, weights)


def _mean(
    name: str,
    values: NDArray[np.generic],
    images: NDArray[np.str_],
    seed: int,
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
    interval = wilson(int(value) * count, count) if is_extreme else bootstrap(measure, whose, seed)
    interval = interval if is_extreme or count > 1 else Interval(np.nan, np.nan)
    return MetricResult(name, value, *interval, num_generated=count)


def _rows(
    path: Path, study: JsonObject, generated: ImageSet, reference: ImageSet
) -> list[tuple[str, bool, bool, float, float]]:
    known = {
        code_of(study["salt"], sha256): (images is generated, images.labels[k].findings)
        for images in (reference, generated)
        for k, sha256 in enumerate(images.hashes)
    }
    rows = []
    for name, answer in study["answers"].items():
        if name not in known:
            raise DataError(
                f"{path} judges an image that is in neither set; name the folders that the page was made from"
            )
        is_generated, findings = known[name]
        right = np.nan if findings is None else float(answer["finding"] in (findings or (NO_FINDING,)))
        rows.append((name, is_generated, answer["origin"] == "generated", right, float(answer["quality"])))
    return rows


def _read(path: Path) -> JsonObject:
    try:
        study = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
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


def code_of(salt: str, sha256: str) -> str:
    """What the page calls an image."""
    return hashlib.sha256(f"{salt} {sha256}".encode()).hexdigest()[:16]


def _as_uri(image: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return data_uri(buffer.getvalue())
