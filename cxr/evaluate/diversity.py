"""How different are the images, within a prompt and as a whole? Beside that of real images of equal labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.distances import JACKKNIFE_GROUPS, POSING, halve
from cxr.evaluate.image_set import ImageSet
from cxr.images.squares import read_squares
from cxr.metrics.diversity import mean_pairwise_distance, nearest_distances, standardised, vendi_score
from cxr.metrics.features import Features
from cxr.metrics.intervals import bootstrap, jackknife
from cxr.metrics.result import JsonObject, MetricResult, Row, share_of
from cxr.metrics.similarity import similarities

SIZE = 176  # pixels; MS-SSIM needs more than 160, and takes twice as long at 256
MAX_GROUPS = 40
MAX_IMAGES = 10  # of a group
MAX_PAIRS = 240  # of all groups together
AGE_SPAN = 10  # years; real images of one group are of one decade
MAX_VENDI = 2_000  # images; its matrix grows with their square
NEAR_REAL = "near a real film"
NEAR_QUANTILE = 0.01  # of real films' distances to their nearest other film

Indices = NDArray[np.intp]


class FeatureSet(NamedTuple):
    """A set of images and what one extractor sees in them, [N, D]."""

    images: ImageSet
    features: Features


class Diversity(TypedDict):
    """The part "diversity" of a report.

    Args:
        rows: within groups, without sets that have no two images to compare: feature distance (mean over pairs,
            features on the reference's scale), SSIM and MS-SSIM.
        wholes: the Vendi score, and the shares of near-duplicates (`near_duplicates`) and of images that are as near to
            a real film.
    """

    rows: list[Row]
    wholes: list[Row]


def measure_diversity(several: FeatureSet, generated: FeatureSet, reference: FeatureSet) -> Diversity:
    """Diversity within prompts and of whole sets.

    Args:
        several: several images of a prompt, for some prompts.
        generated: the images in question.
        reference: real images with labels.
    """
    sides = {
        "generated": (several, group(several.images, several.images.prompts)),
        POSING: (reference, group(reference.images, _descriptions(reference.images), apart=True)),
    }
    rows = [_row(name, side, groups, reference.features) for name, (side, groups) in sides.items() if groups]
    return {"rows": rows, "wholes": _wholes(generated, reference)}


def notes_on(part: Diversity) -> Iterator[str]:
    """What could not be measured, and whether images are nearer to real films than real films are to each other."""
    measured = {row["name"] for row in part["rows"]}
    if "generated" not in measured:
        yield "Diversity within prompts was not measured: no prompt has two images."
    if POSING not in measured:
        why = "no two of different patients have equal labels."
        yield f"Diversity of real images within equal labels was not measured: {why}"
    near, near_real = (row["metrics"][-1] for row in part["wholes"])
    if near.low > near_real.high:
        yield (
            f"{100 * near.value:.0f} % of the generated images are nearer to a film of the reference than hardly "
            "any two real films are to each other; figures against films that a model has seen mean nothing."
        )


def group(images: ImageSet, keys: Iterable[str], *, apart: bool = False) -> list[Indices]:
    """Indices of images by key, groups of two or more; with ``apart`` one image of each patient."""
    groups: dict[str, dict[str, int]] = {}
    for number, key in enumerate(keys):
        if key:
            groups.setdefault(key, {}).setdefault(images.patients[number] if apart else str(number), number)
    return [np.array(list(members.values())) for _, members in sorted(groups.items()) if len(members) > 1]


def near_duplicates(features: Features, threshold: float, num_reference: int) -> MetricResult:
    """Images that are nearer to another image of their set than hardly any two real films are to each other.

    Args:
        features: [N, D], standardised by the reference.
        threshold: `NEAR_QUANTILE` of the distances of real films to the nearest other one, of whichever patient.
        num_reference: of those films.
    """
    flags = nearest_distances(features) < threshold
    return share_of("near-duplicates", flags, num_reference, {"threshold": threshold, "quantile": NEAR_QUANTILE})


def _wholes(generated: FeatureSet, reference: FeatureSet) -> list[Row]:
    rng = np.random.default_rng(0)
    count = min(MAX_VENDI, len(generated.images), len(reference.images))
    patients = np.asarray(reference.images.patients)
    firsts = rng.permutation(np.unique(patients, return_index=True)[1])  # one image of each patient
    real, halves = standardised(reference.features, reference.features), halve(list(patients))
    threshold = float(np.quantile(nearest_distances(real[halves.first]), NEAR_QUANTILE))
    chosen = {
        "generated": standardised(generated.features, reference.features)[rng.permutation(len(generated.images))],
        POSING: np.concatenate([real[firsts], np.delete(real, firsts, axis=0)]),
    }
    rows: list[Row] = []
    for name, features in chosen.items():
        some = features[:count]
        parts = [vendi_score(np.delete(some, np.s_[k::JACKKNIFE_GROUPS], axis=0)) for k in range(JACKKNIFE_GROUPS)]
        whole = vendi_score(some)
        vendi = MetricResult("Vendi score", whole, *jackknife(whole, parts), len(some), len(real))
        # Films pose in halves; of images that repeat films those of both halves are to be found.
        pool, films = (real[halves.second], real[halves.first]) if name == POSING else (features, real)
        near = nearest_distances(pool, films) < threshold
        of_real = share_of(NEAR_REAL, near, len(films), {"threshold": threshold, "quantile": NEAR_QUANTILE})
        rows.append({"name": name, "metrics": [vendi, near_duplicates(pool, threshold, len(halves.first)), of_real]})
    return rows


def _descriptions(images: ImageSet) -> list[str]:
    """What real images of one group have in common; "" for those of which too little is known."""
    texts = []
    for labels in images.labels:
        known = None not in (labels.findings, labels.age, labels.sex, labels.view)
        decade = (labels.age or 0) // AGE_SPAN
        texts.append(f"{labels.view} {labels.sex} {decade} {'|'.join(labels.findings or ())}" if known else "")
    return texts


def _row(name: str, side: FeatureSet, groups: Sequence[Indices], reference: Features) -> Row:
    rng = np.random.default_rng(0)
    if len(groups) > MAX_GROUPS:
        groups = [groups[k] for k in np.sort(rng.choice(len(groups), MAX_GROUPS, replace=False))]
    groups = [members[:MAX_IMAGES] for members in groups]
    features = standardised(side.features, reference)
    distances = np.array([mean_pairwise_distance(features[members]) for members in groups])
    max_pairs = max(1, MAX_PAIRS // len(groups))
    found = [similarities(read_squares([side.images.paths[k] for k in members], SIZE), max_pairs) for members in groups]
    columns = {"feature distance": distances, "SSIM": np.array([row[0] for row in found])}
    columns["MS-SSIM"] = np.array([row[1] for row in found])
    facts = {"num_groups": len(groups), "num_pairs": int(sum(row[2] for row in found)), "size": SIZE}
    return {"name": name, "metrics": [_mean(key, values, groups, facts) for key, values in columns.items()]}


def _mean(name: str, values: NDArray[np.float64], groups: Sequence[Indices], facts: JsonObject) -> MetricResult:
    """Mean over groups, whose interval draws whole groups."""
    measure: Callable[[Indices], float] = lambda rows: float(values[rows].mean())  # noqa: E731
    interval = bootstrap(measure, np.arange(len(values)))
    return MetricResult(name, float(values.mean()), *interval, sum(map(len, groups)), settings=facts)
