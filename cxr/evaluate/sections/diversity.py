"""How different are images of one prompt? Structural similarity within groups, beside that of real images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.sets import ImageSet
from cxr.images.squares import read_squares
from cxr.metrics.result import MetricResult
from cxr.metrics.similarity import Similarity, measure_similarity

SIZE = 176  # pixels; MS-SSIM needs more than 160, and takes twice as long at 256
MOST_GROUPS = 40
MOST_IMAGES = 10  # of a group
MOST_PAIRS = 240  # of all groups together
AGE_SPAN = 10  # years; real images of one group are of one decade


def measure_diversity(
    generated: ImageSet, reference: ImageSet, seed: int = 0
) -> tuple[dict[str, Any] | None, list[str]]:
    """SSIM and MS-SSIM within prompts, and within real images of equal labels from different patients.

    Args:
        generated: several images of a prompt, for some prompts.
        reference: real images with labels.
        seed: of the choice of groups and pairs.
    Returns:
        The part "diversity" of a report, None if no prompt has two images; and notes.
    """
    groups = _group(generated, generated.prompts)
    if not groups:
        return None, ["Diversity was not measured: no prompt has two images."]
    rows = [_row("generated", groups, seed)]
    real = _group(reference, _descriptions(reference), apart=True)
    notes = []
    if real:
        rows.append(_row("real", real, seed))
    else:
        notes.append("Diversity of real images was not measured: no two of different patients have equal labels.")
    return {"rows": rows}, notes


def _descriptions(images: ImageSet) -> list[str]:
    """What real images of one group have in common; "" for those of which too little is known."""
    texts = []
    for labels in images.labels:
        known = None not in (labels.findings, labels.age, labels.sex, labels.view)
        decade = (labels.age or 0) // AGE_SPAN
        texts.append(f"{labels.view} {labels.sex} {decade} {'|'.join(labels.findings or ())}" if known else "")
    return texts


def _group(images: ImageSet, keys: Iterable[str], *, apart: bool = False) -> list[list[Path]]:
    """Files by key, groups of two or more; with ``apart`` one file of each patient."""
    groups: dict[str, dict[str, Path]] = {}
    for number, (key, path) in enumerate(zip(keys, images.paths, strict=True)):
        if key:
            groups.setdefault(key, {}).setdefault(images.patients[number] if apart else str(number), path)
    return [list(members.values()) for _, members in sorted(groups.items()) if len(members) > 1]


def _row(name: str, groups: list[list[Path]], seed: int) -> dict[str, Any]:
    chance = np.random.default_rng(seed)
    if len(groups) > MOST_GROUPS:
        groups = [groups[k] for k in np.sort(chance.choice(len(groups), MOST_GROUPS, replace=False))]
    pixels: list[NDArray[np.uint8]] = [read_squares(paths[:MOST_IMAGES], SIZE) for paths in groups]
    similar = measure_similarity(pixels, max(1, MOST_PAIRS // len(groups)), seed)
    return {
        "name": name,
        "metrics": [_metric("SSIM", similar, similar.ssim), _metric("MS-SSIM", similar, similar.ms_ssim)],
    }


def _metric(name: str, similar: Similarity, value: float) -> MetricResult:
    settings = {"num_groups": similar.num_groups, "num_pairs": similar.num_pairs, "data_range": 255, "size": SIZE}
    return MetricResult(name, value, settings=settings)
