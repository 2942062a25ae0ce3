"""The two images of one patient and one seed: what differs, where, and how much of it lies outside the finding's place.

``pairs/`` holds for each patient the signed difference and a mask of where it lies, and ``pairs.csv`` the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from cxr.folders.dataset_manifest import PAIRS_NAME, pair_pictures
from cxr.folders.dataset_reader import FinishedImage
from cxr.folders.tables import csv_text
from cxr.generate.planned_image import COUNTERFACTUAL, PlannedImage
from cxr.images.atomic import write_whole
from cxr.images.png import plain_png
from cxr.images.reading import read_grey
from cxr.labels.cells import label_cells
from cxr.labels.regions import expected_region
from cxr.labels.vocabulary import PromptLabels

TABLE_NAME = f"{PAIRS_NAME}/pairs.csv"
MIN_LEVELS = 4.0  # of 256: below, a difference is texture
IN_REGION = ", in its region only"  # of the changes of a pair
SMOOTHING = 0.01  # of the side, standard deviation
COLUMNS = ("patient_id", "factual", "counterfactual", "changed", "mean_difference", "share_changed", "share_outside")

OneImage = TypeVar("OneImage", PlannedImage, FinishedImage)


@dataclass(frozen=True)
class PairFigures:
    """How the images of one pair differ.

    Args:
        mean_difference: of all pixels, in grey levels of 256, without sign.
        share_changed: of the pixels, those in the mask.
        share_outside: of the difference without sign, what lies outside the expected region of the findings that were
            changed; None where that is not known.
        share_outside_if_even: what lay outside if the film had changed alike everywhere: the share of the film that is
            outside; None where that is not known.
    """

    mean_difference: float
    share_changed: float
    share_outside: float | None
    share_outside_if_even: float | None


def signed_difference(factual: NDArray[np.uint8], counterfactual: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Second minus first at half scale: 128 where both are equal, brighter where the counterfactual is. [H, W] each."""
    halved = (counterfactual.astype(np.float32) - factual.astype(np.float32)) / 2
    difference: NDArray[np.uint8] = np.clip(np.rint(halved + 128), 0, 255).astype(np.uint8)
    return difference


def changed_mask(difference: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a signed difference is more than texture.

    Smoothed, and at least half of what its hundredth part of largest values reaches, or `MIN_LEVELS`.

    Args:
        difference: [H, W] as `signed_difference` gives it.
    Returns:
        [H, W]; empty where nothing has changed.
    """
    size = np.abs(difference.astype(np.int16) - 128).astype(np.uint8)  # halves of grey levels
    blurred = Image.fromarray(size).filter(ImageFilter.GaussianBlur(SMOOTHING * max(size.shape)))
    smooth = np.asarray(blurred, np.float32) * 2
    mask: NDArray[np.bool_] = smooth >= max(MIN_LEVELS, float(np.percentile(smooth, 99)) / 2)
    return mask


def measure_pair(
    factual: NDArray[np.uint8],
    counterfactual: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    region: NDArray[np.bool_] | None,
) -> PairFigures:
    """How two images differ.

    Args:
        factual: [H, W].
        counterfactual: [H, W].
        mask: [H, W], where they differ, as `changed_mask` says.
        region: [H, W], where the change is expected; None if that is not known.
    """
    size = np.abs(counterfactual.astype(np.float64) - factual.astype(np.float64))
    total = float(size.sum())
    outside = None if region is None or total == 0 else float(size[~region].sum()) / total
    even = None if outside is None or region is None else float((~region).mean())
    return PairFigures(float(size.mean()), float(mask.mean()), outside, even)


def pairs_of(images: Sequence[OneImage]) -> list[tuple[OneImage, OneImage]]:
    """Factual and counterfactual of each patient of whom both are there, by index."""
    return [
        (one, two)
        for one, two in pairwise(images)
        if two.pair_role == COUNTERFACTUAL and one.patient_id == two.patient_id
    ]


def write_pairs(
    images: Sequence[PlannedImage], names: Mapping[int, str], directory: Path
) -> tuple[list[str], dict[str, tuple[int, PairFigures]]]:
    """Write differences, masks and the table; the same images give the same bytes.

    Args:
        images: that were made, by index.
        names: of their files in the data set, by index.
    Returns:
        Names of the files that were written, and by what was changed the number of pairs and their mean figures.
    Raises:
        OutputError: the disk refused a file.
        DataError: an image cannot be read.
    """
    rows, written = [], []
    figures: dict[str, list[PairFigures]] = {}
    for one, two in pairs_of(images):
        first, second = (read_grey(directory / names[image.index]) for image in (one, two))
        difference = signed_difference(first, second)
        mask = changed_mask(difference)
        found = measure_pair(first, second, mask, _region(one.labels, two.labels, first.shape))
        changed = changes(one.labels, two.labels, in_region=bool(two.request.surrounding_prompt))
        figures.setdefault(changed, []).append(found)
        rows.append([one.patient_id, names[one.index], names[two.index], changed, *_cells(found)])
        pictures = (difference, mask.astype(np.uint8) * 255)
        for name, picture in zip(pair_pictures(one.patient_id), pictures, strict=True):
            write_whole(directory / name, plain_png(picture))
            written.append(name)
    if not rows:
        return [], {}
    write_whole(directory / TABLE_NAME, csv_text([COLUMNS, *rows]).encode())
    means = {changed: (len(some), _mean(some)) for changed, some in figures.items()}
    return [*written, TABLE_NAME], means


def changes(factual: PromptLabels, counterfactual: PromptLabels, *, in_region: bool = False) -> str:
    """What differs in the labels: "findings: Effusion to No Finding"; and whether the images differ there only."""
    before, after = label_cells(factual), label_cells(counterfactual)
    return ", ".join(f"{name}: {before[name]} to {after[name]}" for name in before if before[name] != after[name]) + (
        IN_REGION if in_region else ""
    )


def _region(factual: PromptLabels, counterfactual: PromptLabels, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    before, after = label_cells(factual), label_cells(counterfactual)
    if any(before[name] != after[name] for name in before if name != "findings"):
        return None  # other ages, sexes and views change everything
    found = set(factual.findings or ()) ^ set(counterfactual.findings or ())
    return expected_region(sorted(found), shape[0], shape[1])


def _cells(found: PairFigures) -> Iterator[str]:
    for value in (found.mean_difference, found.share_changed, found.share_outside):
        yield "" if value is None else f"{value:.4f}"


def _mean(some: Sequence[PairFigures]) -> PairFigures:
    outside = [one.share_outside for one in some if one.share_outside is not None]
    even = [one.share_outside_if_even for one in some if one.share_outside_if_even is not None]
    return PairFigures(
        fmean(one.mean_difference for one in some),
        fmean(one.share_changed for one in some),
        fmean(outside) if outside else None,
        fmean(even) if even else None,
    )
