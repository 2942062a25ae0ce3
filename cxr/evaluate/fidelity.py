"""Prompt fidelity: do the images show what their prompts asked for, as far as judges can tell?

Definitions, for one attribute a (a view, a sex, a finding) and one judge:

- PF, prompt fidelity: mean of the shares of images that were asked to show a and do, and that were asked not to and do
  not. Of the latter, normal images and images with other findings (hard negatives) count one half each.
- AUROC: the same without a threshold, over the same mixture.
- C and C_AUROC: both on real held-out images, the judge's ceiling. F: PF with the prompts shuffled, the floor.
- NPF: (PF - 0.5) / (C - 0.5), the share of what this judge can see at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.judges.judge import Judge
from cxr.judges.readings import Agreement, Array, Reading, measure_agreement, paired_difference, shuffled
from cxr.labels.targets import ATTRIBUTES
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.agreement import JUDGEABLE_AUROC
from cxr.metrics.intervals import holm, middle, two_sided
from cxr.metrics.result import MetricResult

# The fixed list that the headline is the mean of; age is told in years instead, having no yes and no.
HEADLINE = (
    *("PA", "male", "abnormal", "Effusion", "Cardiomegaly", "Pneumothorax"),
    *("Consolidation or Pneumonia", "Mass or Nodule", "Edema", "Atelectasis"),
)
CLAIM = 0.92
SHUFFLED_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
FEWEST_IMAGES = 300  # positive and negative prompts of an attribute; fewer are marked
SMALLEST_CEILING = 0.55  # below, NPF would divide by almost nothing
# Figure of an attribute -> whose images it is measured on, and the field of `Agreement` that holds it.
FIGURES = {
    "PF": ("generated", "pf"),
    "AUROC": ("generated", "auroc"),
    "C": ("real", "pf"),
    "C_AUROC": ("real", "auroc"),
    "PF_baseline": ("baseline", "pf"),
    "AUROC_baseline": ("baseline", "auroc"),
}

Readings = Mapping[str, Reading]  # by side: "generated", "real" and, where there is one, "baseline"
Agreements = dict[str, dict[str, Agreement]]  # by side, then by judge


def measure_fidelity(judges: Mapping[str, Judge], readings: Mapping[str, Readings], seed: int = 0) -> dict[str, Any]:
    """The part "fidelity" of a report.

    Args:
        judges: by name; neither has chosen, filtered or guided anything.
        readings: what each of the same judges read off each set.
        seed: of the resamples.
    Returns:
        Plain values and `MetricResult`s under the keys judges, attributes (worst first), age, summary, shuffle,
        headline.
    """
    found: Agreements = {"generated": {}, "real": {}, "baseline": {}}
    for name, judge in judges.items():
        for side, reading in readings[name].items():
            found[side][name] = measure_agreement(reading, judge.thresholds, seed)
    generated = {name: sides["generated"] for name, sides in readings.items()}
    floors = {name: shuffled(generated[name], judge.thresholds, seed=seed) for name, judge in judges.items()}
    num_images, some = len(next(iter(generated.values()))), next(iter(found["generated"].values()))
    columns = [k for k in range(len(ATTRIBUTES)) if some.num_positive[k] and some.num_negative[k]]
    attributes = [_attribute(found, floors, column) for column in columns]
    _add_gains(attributes, readings, seed)
    attributes.sort(key=lambda row: (_or_last(row["metrics"]["PF"].value), row["name"]))
    summary = _summary(found, floors, columns, num_images)
    return {
        "judges": [{"name": name, "sha256": judge.sha256, "facts": judge.facts} for name, judge in judges.items()],
        "attributes": attributes,
        "age": {"metrics": _age(found, num_images)},
        "summary": {"metrics": summary},
        "shuffle": _shuffle(judges, generated, seed),
        "headline": headline(summary, attributes),
    }


def normalised(pf: Array, ceiling: Array) -> Array:
    """(PF - 0.5) / (C - 0.5); NaN where the ceiling is below `SMALLEST_CEILING`."""
    enough = ceiling >= SMALLEST_CEILING
    return np.where(enough, (pf - 0.5) / np.where(enough, ceiling - 0.5, 1.0), np.nan)


def lower_judge(agreements: Mapping[str, Agreement], column: int) -> str:
    """The judge by whom an attribute fares worse; by name where they agree or cannot tell."""
    return min(agreements, key=lambda name: (_or_last(float(agreements[name].pf[0, column])), name))


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


def _attribute(found: Agreements, floors: Mapping[str, Array], column: int) -> dict[str, Any]:
    generated, real = found["generated"], found["real"]
    name = lower_judge(generated, column)
    mine, ceiling = generated[name], real[name]
    positive, negative = int(mine.num_positive[column]), int(mine.num_negative[column])
    counts = {
        "generated": {"num_generated": positive + negative},
        "real": {"num_reference": int(ceiling.num_positive[column] + ceiling.num_negative[column])},
        "baseline": {},
    }
    metrics = {
        key: _metric(key, getattr(found[side][name], field)[:, column], **counts[side])
        for key, (side, field) in FIGURES.items()
        if name in found[side]
    }
    metrics["F"] = MetricResult("F", float(floors[name][column]), num_generated=positive + negative)
    share = normalised(mine.pf[:, column], ceiling.pf[:, column])
    metrics["NPF"] = _metric("NPF", share, **counts["generated"], **counts["real"])
    other = next((key for key in generated if key != name), None)
    compared = {key: value for key, value in FIGURES.items() if value[0] != "baseline"}
    return {
        "name": ATTRIBUTES[column],
        "judge": name,
        # The weaker end: both judges have to see the attribute on real images.
        "judgeable": bool(all(one.auroc[0, column] >= JUDGEABLE_AUROC for one in real.values())),
        "num_positive": positive,
        "num_negative": negative,
        "num_positive_real": int(ceiling.num_positive[column]),
        "exploratory": min(positive, negative) < FEWEST_IMAGES,
        "metrics": metrics,
        "other_judge": other
        and {"name": other}
        | {key: float(getattr(found[side][other], field)[0, column]) for key, (side, field) in compared.items()},
    }


def _add_gains(attributes: list[dict[str, Any]], readings: Mapping[str, Readings], seed: int) -> None:
    """What the LoRA adds to each AUROC on the prompts that the baseline answers too, and how surely."""
    gains = {
        name: paired_difference(sides["generated"], sides["baseline"], seed)
        for name, sides in readings.items()
        if "baseline" in sides
    }
    if not gains:
        return
    for row in attributes:
        values = gains[row["judge"]][:, ATTRIBUTES.index(row["name"])]
        row["metrics"]["AUROC_gain"] = _metric("AUROC_gain", values, settings={"p": two_sided(values[1:])})
    findings = [row["metrics"]["AUROC_gain"] for row in attributes if row["name"] in FINDINGS]
    for gain, corrected in zip(findings, holm([gain.settings["p"] for gain in findings]), strict=True):
        gain.settings["p_holm"] = corrected


def _age(found: Agreements, num_images: int) -> dict[str, MetricResult]:
    generated, real = found["generated"], found["real"]
    name = max(generated, key=lambda key: (float(generated[key].mae[0]), key))
    return {
        "MAE": _metric("MAE", generated[name].mae, num_generated=num_images, settings={"judge": name}),
        "MAE_real": _metric("MAE_real", real[name].mae),
        "within_10": _metric("within_10", generated[name].within, num_generated=num_images),
        "within_10_real": _metric("within_10_real", real[name].within),
    }


def _summary(
    found: Agreements, floors: Mapping[str, Array], columns: Sequence[int], num_images: int
) -> dict[str, MetricResult]:
    """Means over the fixed list and over the findings, each by the judge who gives the lower one."""
    generated, real = found["generated"], found["real"]

    def macro(values: Array, judge: str, names: Sequence[str]) -> Array:
        """Mean over attributes [1 + B, A] -> [1 + B], of those that this judge has figures of on both sides."""
        usable = np.isfinite(generated[judge].pf[0]) & np.isfinite(real[judge].pf[0])
        chosen = [k for k in columns if ATTRIBUTES[k] in names and usable[k]]
        mean: Array = values[:, chosen].mean(axis=1) if chosen else np.full(len(values), np.nan)
        return mean

    pf = {judge: macro(one.pf, judge, HEADLINE) for judge, one in generated.items()}
    name = min(pf, key=lambda judge: (_or_last(float(pf[judge][0])), judge))
    ceiling = macro(real[name].pf, name, HEADLINE)
    facts: dict[str, Any] = {"num_generated": num_images, "settings": {"judge": name}}
    results = {
        "macro_PF": _metric("macro_PF", pf[name], **facts),
        "macro_C": _metric("macro_C", ceiling),
        "macro_NPF": _metric("macro_NPF", normalised(pf[name], ceiling)),
        "macro_F": MetricResult("macro_F", float(macro(floors[name][None], name, HEADLINE)[0])),
        "joint": _metric("joint", generated[name].joint, **facts),
        "joint_real": _metric("joint_real", real[name].joint),
    }
    for side, suffix in (("generated", ""), ("real", "_real"), ("baseline", "_baseline")):
        if name in found[side]:
            key = f"macro_AUROC{suffix}"
            results[key] = _metric(key, macro(found[side][name].auroc, name, FINDINGS))
    return results


def _shuffle(judges: Mapping[str, Judge], readings: Readings, seed: int) -> dict[str, Any]:
    """Mean PF of each judge with more and more of the prompts given to other images; it has to fall."""
    means = {}
    for name, judge in judges.items():
        table = [shuffled(readings[name], judge.thresholds, share, seed) for share in SHUFFLED_SHARES]
        means[name] = [float(np.nanmean(row)) if np.isfinite(row).any() else math.nan for row in table]
    falling = all(bool(np.all(np.diff(values) < 0)) for values in means.values())
    return {"levels": SHUFFLED_SHARES, "PF": means, "monotone": falling}


def _metric(name: str, values: NDArray[np.float64], **facts: Any) -> MetricResult:
    """A figure with its resamples [1 + B] as a result with an interval."""
    return MetricResult(name, float(values[0]), *middle(values[1:]), **facts)


def _or_last(value: float) -> float:
    return value if math.isfinite(value) else math.inf
