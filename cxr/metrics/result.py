"""What a measurement is handed on as: a figure with its interval and the numbers of images behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class MetricResult:
    """One measured figure.

    Args:
        name: torchmetrics' or the paper's name, "KD", "coverage", "AUROC".
        value: NaN if it could not be measured; the note then says why.
        low, high: ends of the 95 % interval; NaN where there is none.
        num_generated: generated images behind it.
        num_reference: real images behind it.
        settings: what the figure depends on besides the images.
        note: one sentence for the reader, or nothing.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    num_generated: int = 0
    num_reference: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    note: str = ""
