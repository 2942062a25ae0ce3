"""Agreements of judges -> the report's part on prompt fidelity: attributes worst first, summary, headline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.sections.fidelity import (
    Agreement,
    Reading,
    lower_judge,
    macro,
    measure_agreement,
    normalised,
    paired_difference,
    partly_shuffled,
    shuffled,
)
from cxr.judges.judge import Judge
from cxr.labels.targets import ATTRIBUTES
from cxr.metrics.agreement import JUDGEABLE_AUROC
from cxr.metrics.intervals import holm, middle, two_sided
from cxr.metrics.result import MetricResult
from cxr.vocabulary import FINDINGS

# The fixed list that the headline is the mean of; age is told in years instead, having no yes and no.
HEADLINE = (
    *("PA", "male", "abnormal", "Effusion", "Cardiomegaly", "Pneumothorax"),
    *("Consolidation or Pneumonia", "Mass or Nodule", "Edema", "Atelectasis"),
)
CLAIM = 0.92
SHUFFLED_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
FEWEST_IMAGES = 300  # positive and negative prompts of an attribute; fewer are marked

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Readings:
    """What one judge read off each set; the baseline may be missing."""

    generated: Reading
    real: Reading
    baseline: Reading | None = None


def measure_fidelity(judges: Mapping[str, Judge], readings: Mapping[str, Readings], seed: int = 0) -> dict[str, Any]:
    """The part "fidelity" of a report.

    Args:
        judges: by name; neither has chosen, filtered or guided anything.
        readings: of the same judges.
        seed: of the resamples.
    Returns:
        Plain values and `MetricResult`s under the keys judges, attributes, age, summary, headline.
    """
    sides = {
        side: {
            name: measure_agreement(reading, judges[name].thresholds, seed)
            for name in judges
            if (reading := getattr(readings[name], side)) is not None
        }
        for side in ("generated", "real", "baseline")
    }
    floors = {name: shuffled(readings[name].generated, judges[name].thresholds, seed) for name in judges}
    table = _Table(sides, floors, len(next(iter(readings.values())).generated))
    columns = [k for k in range(len(ATTRIBUTES)) if table.asked(k)]
    attributes = [table.attribute(column) for column in columns]
    _add_gains(attributes, readings, seed)
    attributes.sort(key=lambda row: (_or_last(row["metrics"]["PF"].value), row["name"]))
    summary = table.summary(columns)
    return {
        "judges": [{"name": name, "sha256": judge.sha256, "facts": judge.facts} for name, judge in judges.items()],
        "attributes": attributes,
        "age": {"metrics": table.age()},
        "summary": {"metrics": summary},
        "shuffle": _shuffle(judges, readings, seed),
        "headline": headline(summary, attributes),
    }


def _add_gains(attributes: list[dict[str, Any]], readings: Mapping[str, Readings], seed: int) -> None:
    """What the LoRA adds to each AUROC on the prompts that the baseline answers too, and how surely."""
    gains = {
        name: paired_difference(each.generated, each.baseline, seed)
        for name, each in readings.items()
        if each.baseline is not None
    }
    if not gains:
        return
    for row in attributes:
        values = gains[row["judge"]][:, ATTRIBUTES.index(row["name"])]
        gain = _metric("AUROC_gain", values, settings={"p": two_sided(values[1:])})
        row["metrics"]["AUROC_gain"] = gain
    findings = [row["metrics"]["AUROC_gain"] for row in attributes if row["name"] in FINDINGS]
    for gain, corrected in zip(findings, holm([gain.settings["p"] for gain in findings]), strict=True):
        gain.settings["p_holm"] = corrected


def _shuffle(judges: Mapping[str, Judge], readings: Mapping[str, Readings], seed: int) -> dict[str, Any]:
    """Mean PF of each judge with more and more of the prompts given to other images; it has to fall."""
    means = {}
    for name, judge in judges.items():
        table = [partly_shuffled(readings[name].generated, judge.thresholds, share, seed) for share in SHUFFLED_SHARES]
        means[name] = [float(np.nanmean(row)) if np.isfinite(row).any() else math.nan for row in table]
    falling = all(bool(np.all(np.diff(values) < 0)) for values in means.values())
    return {"levels": SHUFFLED_SHARES, "PF": means, "monotone": falling}


def headline(summary: Mapping[str, MetricResult], attributes: list[dict[str, Any]]) -> str:
    """One sentence; the claim of more than 92 % is made only where lower bound and ceiling carry it."""
    pf, ceiling, share = summary["macro_PF"], summary["macro_C"], summary["macro_NPF"]
    if not math.isfinite(pf.value) or not attributes:
        return "The prompts ask for nothing that the judges can tell from its absence."
    listed = [row for row in attributes if row["name"] in HEADLINE] or attributes
    worst = f"worst attribute {listed[0]['name']} at {100 * listed[0]['metrics']['PF'].value:.1f} %"
    spread = f"{100 * pf.value:.1f} % agreement ({100 * pf.low:.1f} to {100 * pf.high:.1f})"
    if pf.low > CLAIM and ceiling.value >= CLAIM:
        return f"Prompt fidelity is above {100 * CLAIM:.0f} %: {spread}, {worst}."
    if not math.isfinite(share.value):
        return f"Prompt fidelity: {spread}, {worst}; no real images to compare with."
    way = f"{100 * share.value:.0f} % of the way from chance to these judges' ceiling on real images"
    return f"Prompt fidelity: {spread}, {way}, {worst}."


@dataclass(frozen=True)
class _Table:
    sides: Mapping[str, Mapping[str, Agreement]]
    floors: Mapping[str, Array]
    num_images: int

    def asked(self, column: int) -> bool:
        some = next(iter(self.sides["generated"].values()))
        return bool(some.num_positive[column] and some.num_negative[column])

    def attribute(self, column: int) -> dict[str, Any]:
        generated, real = self.sides["generated"], self.sides["real"]
        name = lower_judge(generated, column)
        mine, ceiling = generated[name], real[name]
        other = next((key for key in generated if key != name), None)
        num_positive, num_negative = int(mine.num_positive[column]), int(mine.num_negative[column])
        counts: dict[str, Any] = {"num_generated": num_positive + num_negative}
        real_counts: dict[str, Any] = {
            "num_reference": int(ceiling.num_positive[column] + ceiling.num_negative[column])
        }
        metrics = {
            "PF": _metric("PF", mine.pf[:, column], **counts),
            "AUROC": _metric("AUROC", mine.auroc[:, column], **counts),
            "C": _metric("C", ceiling.pf[:, column], **real_counts),
            "C_AUROC": _metric("C_AUROC", ceiling.auroc[:, column], **real_counts),
            "F": MetricResult("F", float(self.floors[name][column]), **counts),
            "NPF": _metric("NPF", normalised(mine.pf, ceiling.pf)[:, column], **counts, **real_counts),
        }
        baseline = self.sides["baseline"].get(name)
        if baseline is not None:
            metrics["PF_baseline"] = _metric("PF_baseline", baseline.pf[:, column])
            metrics["AUROC_baseline"] = _metric("AUROC_baseline", baseline.auroc[:, column])
        return {
            "name": ATTRIBUTES[column],
            "judge": name,
            # The weaker end: both judges have to see the attribute on real images.
            "judgeable": bool(all(real[key].auroc[0, column] >= JUDGEABLE_AUROC for key in real)),
            "num_positive": num_positive,
            "num_negative": num_negative,
            "num_positive_real": int(ceiling.num_positive[column]),
            "exploratory": min(num_positive, num_negative) < FEWEST_IMAGES,
            "metrics": metrics,
            "other_judge": other and self._other(other, column),
        }

    def _other(self, name: str, column: int) -> dict[str, Any]:
        generated, real = self.sides["generated"][name], self.sides["real"][name]
        figures = {"PF": generated.pf, "AUROC": generated.auroc, "C": real.pf, "C_AUROC": real.auroc}
        return {"name": name} | {key: float(values[0, column]) for key, values in figures.items()}

    def age(self) -> dict[str, MetricResult]:
        generated, real = self.sides["generated"], self.sides["real"]
        name = max(generated, key=lambda key: (float(generated[key].mae[0]), key))
        count = {"num_generated": self.num_images}
        return {
            "MAE": _metric("MAE", generated[name].mae, settings={"judge": name}, **count),
            "MAE_real": _metric("MAE_real", real[name].mae),
            "within_10": _metric("within_10", generated[name].within, **count),
            "within_10_real": _metric("within_10_real", real[name].within),
        }

    def summary(self, columns: list[int]) -> dict[str, MetricResult]:
        """Means over the fixed list and over the findings, each by the judge who gives the lower one."""
        real = self.sides["real"]
        listed = [k for k in columns if ATTRIBUTES[k] in HEADLINE]
        findings = [k for k in columns if ATTRIBUTES[k] in FINDINGS]
        usable = {key: np.isfinite(self.sides["generated"][key].pf[0]) & np.isfinite(real[key].pf[0]) for key in real}
        pf = {key: macro(value.pf, listed, usable[key]) for key, value in self.sides["generated"].items()}
        name = min(pf, key=lambda key: (_or_last(float(pf[key][0])), key))
        ceiling = macro(real[name].pf, listed, usable[name])
        counts = {"num_generated": self.num_images, "settings": {"judge": name}}
        results = {
            "macro_PF": _metric("macro_PF", pf[name], **counts),
            "macro_C": _metric("macro_C", ceiling),
            "macro_NPF": _metric("macro_NPF", normalised(pf[name], ceiling)),
            "macro_F": MetricResult("macro_F", float(macro(self.floors[name][None], listed, usable[name])[0])),
            "joint": _metric("joint", self.sides["generated"][name].joint, **counts),
            "joint_real": _metric("joint_real", real[name].joint),
        }
        for side, suffix in (("generated", ""), ("real", "_real"), ("baseline", "_baseline")):
            if name in self.sides[side]:
                values = macro(self.sides[side][name].auroc, findings, usable[name])
                results[f"macro_AUROC{suffix}"] = _metric(f"macro_AUROC{suffix}", values)
        return results


def _metric(name: str, values: Array, **facts: Any) -> MetricResult:
    """A figure with its resamples [1 + B] as a result with an interval."""
    return MetricResult(name, float(values[0]), *middle(values[1:]), **facts)


def _or_last(value: float) -> float:
    return value if math.isfinite(value) else math.inf
