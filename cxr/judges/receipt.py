"""What was asked of images against what the shipped judge sees in them, beside what it reaches on real radiographs.

The receipt informs whoever asked; nothing is filtered or made again because of it.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr.compiler import asked_labels, misread_findings
from cxr.images.squares import fit_square
from cxr.judges.judge import Judge, load_judge, read_labels
from cxr.judges.networks import SIZE
from cxr.judges.shipped import WEIGHTS
from cxr.labels.targets import LABELS, NEAR_YEARS
from cxr.request.errors import DataError
from cxr.vocabulary import FINDINGS, PromptLabels

JUDGE_NAME, RELIABILITY_NAME = "dense.safetensors", "reliability.json"
NOT_SAID = "not said"
# Label of the judge -> name of the row, and what yes and no are called.
CHOICES = {"PA": ("view", "PA", "AP"), "male": ("sex", "male", "female")}
NOTHING_ASKED = "The prompt names no view, sex, age or finding that the judge could look for."
NEGATED = "The prompt does not ask for {}; the model may not have understood that."


@dataclass(frozen=True)
class LabelReliability:
    """What the judge reaches on real images with one label; NaN where it was not measured."""

    balanced_accuracy: float
    judgeable: bool


@dataclass(frozen=True)
class Reliability:
    """What the judge reaches on real radiographs of patients it has not seen.

    Args:
        judge_sha256: of the judge's file.
        num_images: real images that it was tested on.
        labels: by label.
        age_within_10: share of ages within `NEAR_YEARS`.
    """

    judge_sha256: str
    num_images: int
    labels: Mapping[str, LabelReliability]
    age_within_10: float


class ShippedJudge(NamedTuple):
    """The judge that comes with the program, and what it is worth."""

    judge: Judge
    reliability: Reliability


@dataclass(frozen=True)
class ReceiptRow:
    """One line of a receipt.

    Args:
        label: "view", "sex", "age", "no findings", or a finding in the data set's spelling.
        asked: what the prompt says, or `NOT_SAID`.
        seen: what the judge sees; the age in years.
        score: how clearly, 0.5 (undecided) to 1; NaN for ages. It is no probability.
        ceiling: per cent; how often the judge is right on real images, for ages within `NEAR_YEARS`. NaN: unknown.
        judgeable: whether that is enough to rely on; there is no limit for ages.
        as_asked: None where the prompt does not say.
    """

    label: str
    asked: str
    seen: str
    score: float
    ceiling: float
    judgeable: bool
    as_asked: bool | None


@dataclass(frozen=True)
class Receipt:
    """The lines for one image, and sentences about what could not be read out of the prompt."""

    rows: tuple[ReceiptRow, ...]
    notes: tuple[str, ...] = ()

    def facts(self) -> list[dict[str, Any]]:
        """The lines for programs; None where a ceiling is not known."""
        return [
            {
                "label": row.label,
                "asked": row.asked,
                "seen": row.seen,
                "ceiling": None if math.isnan(row.ceiling) else round(row.ceiling, 1),
                "judgeable": row.judgeable,
            }
            for row in self.rows
        ]


def shipped_judge() -> ShippedJudge | None:
    """The judge of receipts; None if its two files are not there or do not belong together."""
    return _load(WEIGHTS)


def read_receipt(pixels: NDArray[np.uint8], prompt: str, judge: Judge, reliability: Reliability) -> list[Receipt]:
    """Compare images with the prompt that made them.

    Args:
        pixels: [N, H, W] uint8.
        prompt: in the words of the captions; other words ask for nothing.
        judge: reads the images.
        reliability: of that judge.
    Returns:
        One for each image. Lines are the view, the sex, the age, each finding that is asked for, "no findings" if none
        should be there, and what else is seen of findings that the judge can be relied on for.
    """
    asked, notes = _understand(prompt)
    if asked == PromptLabels(None, None, None, None):
        return [Receipt((), notes or (NOTHING_ASKED,))] * len(pixels)
    scores = read_labels(judge.network, np.stack([fit_square(image, SIZE) for image in pixels]))
    margins = scores[:, : len(LABELS)] - judge.thresholds[: len(LABELS)]
    return [
        Receipt(tuple(_rows(asked, dict(zip(LABELS, row, strict=True)), years, reliability)), notes)
        for row, years in zip(margins.tolist(), scores[:, -1].tolist(), strict=True)  # plain numbers
    ]


def _understand(prompt: str) -> tuple[PromptLabels, tuple[str, ...]]:
    denied = misread_findings(prompt)
    return asked_labels(prompt), (NEGATED.format(", ".join(denied)),) if denied else ()


def _rows(
    asked: PromptLabels, margins: Mapping[str, float], years: float, reliability: Reliability
) -> Iterator[ReceiptRow]:
    wishes = {"PA": asked.view, "male": {"M": "male", "F": "female", None: None}[asked.sex]}
    for label, (name, yes, no) in CHOICES.items():
        yield _row(name, wishes[label], yes, no, margins[label], reliability.labels.get(label))
    yield _age_row(asked.age, years, reliability.age_within_10)
    findings = asked.findings or ()
    for finding in findings:
        yield _row(finding, "yes", "yes", "no", margins[finding], reliability.labels.get(finding))
    if asked.findings == ():
        yield _row("no findings", "yes", "no", "yes", margins["abnormal"], reliability.labels.get("abnormal"))
    wish = "no" if asked.findings == () else None
    for finding in FINDINGS:
        if finding in findings:
            continue
        row = _row(finding, wish, "yes", "no", margins[finding], reliability.labels.get(finding))
        if row.judgeable and row.seen == "yes":
            yield row


def _row(name: str, asked: str | None, yes: str, no: str, margin: float, known: LabelReliability | None) -> ReceiptRow:
    """A line on a label that is there or not; the margin is the logit above the threshold, NaN without one."""
    seen = yes if margin >= 0 else no
    score = 1 / (1 + math.exp(-min(abs(margin), 50.0)))
    ceiling = known.balanced_accuracy if known else math.nan
    judgeable = bool(known and known.judgeable and math.isfinite(margin) and math.isfinite(ceiling))
    matches = None if asked is None else asked == seen
    return ReceiptRow(name, asked or NOT_SAID, seen, score, 100 * ceiling, judgeable, matches)


def _age_row(asked: int | None, years: float, within: float) -> ReceiptRow:
    matches = None if asked is None else abs(asked - years) <= NEAR_YEARS
    words = NOT_SAID if asked is None else f"{asked} years"
    return ReceiptRow("age", words, f"{max(years, 0):.0f} years", math.nan, 100 * within, True, matches)


@functools.lru_cache(maxsize=1)
def _load(folder: Path) -> ShippedJudge | None:
    try:
        reliability = _read_reliability((folder / RELIABILITY_NAME).read_text(encoding="utf-8"))
        judge = load_judge(folder / JUDGE_NAME)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
        return None
    return ShippedJudge(judge, reliability) if judge.sha256 == reliability.judge_sha256 else None


def _read_reliability(text: str) -> Reliability:
    content = json.loads(text)
    labels = {
        name: LabelReliability(_number(row["balanced_accuracy"]), row["judgeable"] is True)
        for name, row in content["labels"].items()
    }
    within = _number(content["age"]["within_10"])
    return Reliability(content["judge_sha256"], int(content["num_images"]), labels, within)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
