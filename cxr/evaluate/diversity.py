"""How different are images of one prompt? Structural similarity within groups, beside that of real images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cxr.evaluate.sets import ImageSet
from cxr.images.squares import read_squares
from cxr.metrics.similarity import measure_similarity

SIZE = 176  # pixels; MS-SSIM needs more than 160, and takes twice as long at 256
MAX_GROUPS = 40
MAX_IMAGES = 10  # of a group
MAX_PAIRS = 240  # of all groups together
AGE_SPAN = 10  # years; real images of one group are of one decade


def measure_diversity(generated: ImageSet, reference: ImageSet, seed: int = 0) -> dict[str, Any]:
    """SSIM and MS-SSIM within prompts, and within real images of equal labels from different patients.

    Args:
        generated: several images of a prompt, for some prompts.
        reference: real images with labels.
        seed: of the choice of groups and pairs.
    Returns:
        The part "diversity" of a report: rows "generated" and "real", without those that have no two images to compare.
    """
    sides = {
        "generated": _group(generated, generated.prompts),
        "real": _group(reference, _descriptions(reference), apart=True),
    }
    return {"rows": [_row(name, groups, seed) for name, groups in sides.items() if groups]}


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
    if len(groups) > MAX_GROUPS:
        chosen = np.random.default_rng(seed).choice(len(groups), MAX_GROUPS, replace=False)
        groups = [groups[k] for k in np.sort(chosen)]
    pixels = [read_squares(paths[:MAX_IMAGES], SIZE) for paths in groups]
    return {"name": name, "metrics": measure_similarity(pixels, max(1, MAX_PAIRS // len(groups)), seed)}
