"""What was asked of images against what the embedded judge sees in them, beside what it reaches on real radiographs.

The receipt informs whoever asked; nothing is filtered or made again because of it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr.images.squares import fit_square
from cxr.judges.judge import WEIGHTS, Judge, load_judge, read_labels
from cxr.judges.networks import SIZE
from cxr.judges.reliability import Reliability, read_reliability
from cxr.labels.targets import LABELS, NEAR_YEARS
from cxr.labels.vocabulary import FINDINGS, UNKNOWN, PromptLabels
from cxr.prompts import asked_labels, misread_findings
from cxr.request.errors import DataError

JUDGE_NAME, RELIABILITY_NAME = "dense.safetensors", "reliability.json"
NOT_SAID, NO_FINDINGS = "not said", "no findings"
JUDGEABLE_AGE = 0.85  # share of real films on which the age is right; below, a verdict on one image is no verdict
FACTS = ("label", "asked", "seen", "ceiling", "judgeable")  # of a line, for programs
# Label of the judge -> name of the row, and what yes and no are called.
CHOICES = {"PA": ("view", "PA", "AP"), "male": ("sex", "male", "female")}
NOTHING_ASKED = "The prompt names no view, sex, age or finding that the judge could look for."
NEGATED = "The prompt does not ask for {}; the model may not have understood that."
NOT_JUDGED = "Not counted, because the judge is wrong too often on single images: {}."


class ReceiptJudge(NamedTuple):
    """The judge of receipts, and what it is worth."""

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
        judgeable: whether that is enough to rely on for one image; what is not, is not counted.
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

    @property
    def as_asked(self) -> bool | None:
        """Whether all that can be judged is as asked; None if nothing can be."""
        return all(self.verdicts) if self.verdicts else None

    @property
    def verdicts(self) -> list[bool]:
        """Whether it is as asked, of each line that was asked and can be judged."""
        return [row.as_asked for row in self.rows if row.judgeable and row.as_asked is not None]

    def facts(self) -> list[dict[str, object]]:
        """The lines for programs; None where a ceiling is not known."""
        ceilings = [None if math.isnan(row.ceiling) else round(row.ceiling, 1) for row in self.rows]
        return [
            {name: getattr(row, name) for name in FACTS} | {"ceiling": ceiling}
            for row, ceiling in zip(self.rows, ceilings, strict=True)
        ]


def embedded_judge() -> ReceiptJudge | None:
    """The judge of receipts; None if its two files are not there or do not belong together."""
    return _load(WEIGHTS)


def read_receipt(
    pixels: NDArray[np.uint8], prompt: str, judge: Judge, reliability: Reliability, *, sent_prompt: str = ""
) -> list[Receipt]:
    """Compare images with the prompt that made them.

    Args:
        pixels: [N, H, W] uint8.
        prompt: in the words of the captions; other words ask for nothing.
        judge: reads the images.
        reliability: of that judge.
        sent_prompt: what the model read in place of the prompt, if it was reworded.
    Returns:
        One for each image. Lines are each finding that is asked for, "no findings" if none should be there, then the
        view, the sex and the age, those asked for first, and what else is seen of findings that the judge can be relied
        on for. A note names what is asked for and cannot be judged.
    """
    asked, denied = asked_labels(prompt), misread_findings(sent_prompt or prompt)
    notes = (NEGATED.format(", ".join(denied)),) if denied else ()
    if asked == UNKNOWN:
        return [Receipt((), notes or (NOTHING_ASKED,))] * len(pixels)
    scores = read_labels(judge.network, np.stack([fit_square(image, SIZE) for image in pixels]))
    margins = scores[:, : len(LABELS)] - judge.thresholds[: len(LABELS)]
    receipts = []
    for margin, years in zip(margins.tolist(), scores[:, -1].tolist(), strict=True):  # plain numbers
        rows = sorted(_rows(asked, dict(zip(LABELS, margin, strict=True)), years, reliability), key=_place)
        receipts.append(Receipt(tuple(rows), (*notes, *_not_judged(rows))))
    return receipts


def _place(row: ReceiptRow) -> int:
    """What was asked of findings comes first, then what else was asked."""
    is_finding = row.label in FINDINGS or row.label == NO_FINDINGS
    return (2 + is_finding) if row.as_asked is None else (0 if is_finding else 1)


def _not_judged(rows: Iterable[ReceiptRow]) -> tuple[str, ...]:
    names = [row.label.replace("_", " ") for row in rows if row.as_asked is not None and not row.judgeable]
    return (NOT_JUDGED.format(", ".join(names)),) if names else ()


def _rows(
    asked: PromptLabels, margins: dict[str, float], years: float, reliability: Reliability
) -> Iterator[ReceiptRow]:
    def row(name: str, label: str, wish: str | None, yes: str = "yes", no: str = "no") -> ReceiptRow:
        """A line on a label that is there or not; the margin is the logit above the threshold, NaN without one."""
        margin, ceiling = margins[label], reliability.balanced_accuracy.get(label, math.nan)
        seen = yes if margin >= 0 else no
        score = 1 / (1 + math.exp(-min(abs(margin), 50.0)))
        judgeable = label in reliability.judgeable and math.isfinite(margin) and math.isfinite(ceiling)
        matches = None if wish is None else wish == seen
        return ReceiptRow(name, wish or NOT_SAID, seen, score, 100 * ceiling, judgeable, matches)

    wishes = {"PA": asked.view, "male": {"M": "male", "F": "female", None: None}[asked.sex]}
    for label, (name, yes, no) in CHOICES.items():
        yield row(name, label, wishes[label], yes, no)
    near = None if asked.age is None else abs(asked.age - years) <= NEAR_YEARS
    wish = NOT_SAID if asked.age is None else f"{asked.age} years"
    ceiling, is_sure = 100 * reliability.age_within_10, reliability.age_within_10 >= JUDGEABLE_AGE
    yield ReceiptRow("age", wish, f"{max(years, 0):.0f} years", math.nan, ceiling, is_sure, near)
    findings = asked.findings or ()
    for finding in findings:
        yield row(finding, finding, "yes")
    if asked.findings == ():
        yield row(NO_FINDINGS, "abnormal", "yes", "no", "yes")
    for finding in (name for name in FINDINGS if name not in findings):
        unasked = row(finding, finding, "no" if asked.findings == () else None)
        if unasked.judgeable and unasked.seen == "yes":
            yield unasked


@functools.lru_cache(maxsize=1)
def _load(folder: Path) -> ReceiptJudge | None:
    try:
        reliability = read_reliability((folder / RELIABILITY_NAME).read_text(encoding="utf-8"))
        judge = load_judge(folder / JUDGE_NAME)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
        return None
    return ReceiptJudge(judge, reliability) if judge.sha256 == reliability.judge_sha256 else None
