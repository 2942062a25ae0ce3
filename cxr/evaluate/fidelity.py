"""Prompt fidelity: does a judge see in the images what their prompts asked for?

Three columns side by side: the generated images, the same prompts and seeds from a baseline (the base without LoRA),
and real radiographs of held-out patients, which show how well this judge can see at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.data import Radiograph, read_grey
from cxr.errors import DataError
from cxr.evaluate.judge import JudgeNetwork, judge, judged_pixels, reduced, reliability, targets_of
from cxr.export import finished_images
from cxr.vocabulary import FINDINGS, labels_of


@dataclass(frozen=True)
class FidelityRow:
    """One label: AUROC (or years, for the age) on each set, and how many generated images ask for it."""

    label: str
    generated: float
    baseline: float
    real: float
    num_positive: int
    num_known: int


def measure_fidelity(
    network: JudgeNetwork, generated: Path, baseline: Path | None, real: list[Radiograph]
) -> list[FidelityRow]:
    """Compare what prompts ask with what the judge sees.

    Args:
        network: a judge that was trained on real images only.
        generated: folder that ``python -m cxr generate`` wrote, with prompts in the words of the captions.
        baseline: the same prompts and seeds made otherwise; None leaves its column NaN.
        real: held-out radiographs, which the judge was not trained on.
    Returns:
        One row for each label, the mean absolute error of the age, and the mean of the findings.
    Raises:
        DataError: a folder holds no generated images, or nothing is held out.
    """
    if not real:
        raise DataError("no radiograph is held out; give a larger --validation-share or more patients")
    targets, figures = _figures(network, generated)
    other = _figures(network, baseline)[1] if baseline else {}
    ceiling = reliability(judge(network, judged_pixels(real)), targets_of(real).numpy())
    rows = []
    for column, name in enumerate(figures):
        known = ~np.isnan(targets[:, column])
        positive = 0 if name == "age_mae" else int((targets[known, column] > 0).sum())
        label = name.removeprefix("auroc_")
        rows.append(
            FidelityRow(label, figures[name], other.get(name, np.nan), ceiling[name], positive, int(known.sum()))
        )
    return [*rows, _macro(rows)]


def as_markdown(rows: list[FidelityRow]) -> str:
    """The rows as a table, best for a model card; "-" where a set has no such image."""
    lines = [
        "| label | generated | without LoRA | real, held out | images asking for it |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        figures = " | ".join(
            "-" if np.isnan(value) else f"{value:.3f}" for value in (row.generated, row.baseline, row.real)
        )
        count = f"{row.num_positive} of {row.num_known}" if row.num_positive else str(row.num_known)
        lines.append(f"| {row.label} | {figures} | {count} |")
    return "\n".join(lines) + "\n"


def _figures(network: JudgeNetwork, folder: Path) -> tuple[NDArray[np.float32], dict[str, float]]:
    files = finished_images(folder)
    pixels = np.stack([reduced(read_grey(file.path)) for file in files])
    targets = targets_of([labels_of(file.metadata["prompt"]) for file in files]).numpy()
    return targets, reliability(judge(network, pixels), targets)


def _macro(rows: list[FidelityRow]) -> FidelityRow:
    """Mean over the findings that both sets have."""
    shared = [row for row in rows if row.label in FINDINGS and not np.isnan(row.generated + row.real)]
    if not shared:
        return FidelityRow("findings, mean", np.nan, np.nan, np.nan, 0, 0)
    generated, baseline, real = (
        float(np.mean([getattr(row, name) for row in shared])) for name in ("generated", "baseline", "real")
    )
    return FidelityRow("findings, mean", generated, baseline, real, 0, max(row.num_known for row in shared))
