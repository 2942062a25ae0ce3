"""Prompt fidelity: do the images show what their prompts asked for, as far as judges can tell?

Definitions, for one attribute a (a view, a sex, a finding) and one judge:

- PF, prompt fidelity: mean of the shares of images that were asked to show a and do, and that were asked not to and do
  not, within a view (`cxr.judges.readings.comparisons`). A finding that a prompt does not mention is not asked about.
- AUROC: the same without a threshold.
- C and C_AUROC: both on real held-out films whose labels pose as prompts, the judge's ceiling; not from under
  `FEWEST_REAL` films that show a. F: PF with the prompts shuffled, the floor.
- NPF: (PF - 0.5) / (C - 0.5), the share of what this judge can see at all. Real films have 1.
- Measurable: all judges reach an AUROC of `JUDGEABLE_AUROC` on real films. Summary and headline know no other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.judges.judge import Judge
from cxr.judges.readings import (
    Agreement,
    Array,
    Reading,
    joint_share,
    measure_agreement,
    paired_difference,
    seen_elsewhere,
    shuffled,
)
from cxr.labels.targets import ATTRIBUTES
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.agreement import JUDGEABLE_AUROC
from cxr.metrics.intervals import holm, middle, two_sided
from cxr.metrics.result import MetricResult

CLAIM = 0.92
FEWEST_REAL = 25  # real films that show an attribute; fewer give no ceiling
SHUFFLED_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
FEWEST_IMAGES = 300  # positive and negative prompts of an attribute; fewer are marked
SMALLEST_CEILING = 0.55  # below, NPF would divide by almost nothing
FIRST = {"PA": "view", "male": "sex"}  # what stands first, and what it is called
NOT_MEASURABLE = "not measurable with these judges"
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
        judges: by name; none has chosen, filtered or guided anything.
        readings: what each of the same judges read off each set.
        seed: of the resamples.
    Returns:
        Plain values and `MetricResult`s under the keys judges, attributes (view and sex, then what is measurable, worst
        first), age, summary, shuffle, headline.
    """
    found: Agreements = {"generated": {}, "real": {}, "baseline": {}}
    for name, judge in judges.items():
        for side, reading in readings[name].items():
            found[side][name] = measure_agreement(reading, judge.thresholds, seed)
    generated = {name: sides["generated"] for name, sides in readings.items()}
    floors = {name: shuffled(generated[name], judge.thresholds, seed=seed) for name, judge in judges.items()}
    some = next(iter(found["generated"].values()))
    columns = [k for k in range(len(ATTRIBUTES)) if some.num_positive[k] and some.num_negative[k]]
    attributes = [_attribute(found, floors, column) for column in columns]
    _add_gains(attributes, readings, seed)
    _add_elsewhere(attributes, judges, readings)
    attributes.sort(key=_place)
    age, summary = (
        _age(found, len(next(iter(generated.values())))),
        _summary(found, floors, columns, readings, judges, seed),
    )
    return {
        "judges": [{"name": name, "sha256": judge.sha256, "facts": judge.facts} for name, judge in judges.items()],
        "attributes": attributes,
        "age": {"metrics": age},
        "summary": {"metrics": summary},
        "shuffle": _shuffle(judges, generated, seed),
        "headline": headline(summary, attributes, age),
    }


def normalised(pf: Array, ceiling: Array) -> Array:
    """(PF - 0.5) / (C - 0.5); NaN where the ceiling is below `SMALLEST_CEILING`."""
    enough = ceiling >= SMALLEST_CEILING
    return np.where(enough, (pf - 0.5) / np.where(enough, ceiling - 0.5, 1.0), np.nan)


def lower_judge(agreements: Mapping[str, Agreement], column: int) -> str:
    """The judge by whom an attribute fares worse; by name where they agree or cannot tell."""
    return min(agreements, key=lambda name: (_or_last(float(agreements[name].pf[0, column])), name))


def is_judgeable(real: Mapping[str, Agreement], column: int) -> bool:
    """Whether all judges see an attribute in real films, and there are enough of those to know."""
    return all(
        one.auroc[0, column] >= JUDGEABLE_AUROC
        and min(one.num_positive[column], one.num_negative[column]) >= FEWEST_REAL
        for one in real.values()
    )


def headline(
    summary: Mapping[str, MetricResult], attributes: Sequence[Mapping[str, Any]], age: Mapping[str, MetricResult]
) -> str:
    """View, sex, age and what else is measurable, each beside real films; then how much is not measurable.

    The claim of more than 92 % is made only where lower bound and ceiling carry it.
    """
    parts = []
    for row in attributes:
        if row["judgeable"]:
            pf, real = row["metrics"]["PF"], row["metrics"]["C"]
            words = FIRST.get(row["name"], row["name"])
            parts.append(f"{words} {100 * pf.value:.1f} % (real films {100 * real.value:.1f} %)")
        elif row["name"] in FIRST:
            parts.append(f"{FIRST[row['name']]} {NOT_MEASURABLE}")
    if math.isfinite(age["MAE"].value):
        parts.insert(2, f"age {age['MAE'].value:.1f} years off (real films {age['MAE_real'].value:.1f})")
    if not parts:
        return f"Prompt fidelity is {NOT_MEASURABLE}."
    unknown = sum(not row["judgeable"] and row["name"] not in FIRST for row in attributes)
    rest = f"; {unknown} other attributes are {NOT_MEASURABLE}" if unknown else ""
    pf = summary["macro_PF"]
    carried = pf.low > CLAIM and summary["macro_C"].value >= CLAIM and not unknown
    claim = f", above {100 * CLAIM:.0f} % throughout" if carried else ""
    return f"Prompt fidelity: {', '.join(parts)}{claim}{rest}."


def _place(row: Mapping[str, Any]) -> tuple[int, bool, float, str]:
    first = list(FIRST).index(row["name"]) if row["name"] in FIRST else len(FIRST)
    return first, not row["judgeable"], _or_last(row["metrics"]["PF"].value), row["name"]


def _attribute(found: Agreements, floors: Mapping[str, Array], column: int) -> dict[str, Any]:
    generated, real = found["generated"], found["real"]
    name = lower_judge(generated, column)
    mine, ceiling = generated[name], real[name]
    positive, negative = int(mine.num_positive[column]), int(mine.num_negative[column])
    real_positive, real_negative = int(ceiling.num_positive[column]), int(ceiling.num_negative[column])
    few = real_positive < FEWEST_REAL
    note = f"no ceiling from under {FEWEST_REAL} real films" if few else ""
    facts: dict[str, dict[str, Any]] = {
        "generated": {"num_generated": positive + negative},
        "real": {"num_reference": real_positive + real_negative, "note": note},
        "baseline": {},
    }
    metrics = {
        key: _metric(key, getattr(found[side][name], field)[:, column], **facts[side])
        if not (side == "real" and few)
        else MetricResult(key, math.nan, **facts[side])
        for key, (side, field) in FIGURES.items()
        if name in found[side]
    }
    metrics["F"] = MetricResult("F", float(floors[name][column]), num_generated=positive + negative)
    share = normalised(mine.pf[:, column], ceiling.pf[:, column])
    metrics["NPF"] = _metric("NPF", share * (np.nan if few else 1.0), **facts["generated"])
    other = next((key for key in generated if key != name), None)
    compared = {key: value for key, value in FIGURES.items() if value[0] != "baseline"}
    return {
        "name": ATTRIBUTES[column],
        "judge": name,
        "judgeable": is_judgeable(real, column),
        "num_positive": positive,
        "num_negative": negative,
        "num_positive_real": real_positive,
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


def _add_elsewhere(
    attributes: Sequence[dict[str, Any]], judges: Mapping[str, Judge], readings: Mapping[str, Readings]
) -> None:
    """How often a finding is seen in images of one other finding; a fault where that is more than in real films."""
    for row in attributes:
        column, thresholds = ATTRIBUTES.index(row["name"]), judges[row["judge"]].thresholds
        for side, suffix in (("generated", ""), ("real", "_real")):
            name = f"seen_elsewhere{suffix}"
            value = seen_elsewhere(readings[row["judge"]][side], thresholds)[column]
            if math.isfinite(value):
                row["metrics"][name] = MetricResult(name, float(value))


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
    found: Agreements,
    floors: Mapping[str, Array],
    columns: Sequence[int],
    readings: Mapping[str, Readings],
    judges: Mapping[str, Judge],
    seed: int,
) -> dict[str, MetricResult]:
    """Means over the measurable attributes, by the judge who gives the lower one; of findings, also unsure AUROCs."""
    generated, real = found["generated"], found["real"]
    usable = [k for k in columns if is_judgeable(real, k)]

    def macro(values: Array, chosen: Sequence[int]) -> Array:
        mean: Array = values[:, chosen].mean(axis=1) if chosen else np.full(len(values), np.nan)
        return mean

    pf = {judge: macro(one.pf, usable) for judge, one in generated.items()}
    name = min(pf, key=lambda judge: (_or_last(float(pf[judge][0])), judge))
    masked = np.where(np.isin(np.arange(len(ATTRIBUTES)), usable), judges[name].thresholds, np.nan)
    ceiling, sides = macro(real[name].pf, usable), readings[name]
    known = [k for k in columns if ATTRIBUTES[k] in FINDINGS and real[name].num_positive[k] >= FEWEST_REAL]
    facts: dict[str, Any] = {
        "num_generated": len(sides["generated"]),
        "settings": {"judge": name, "attributes": [ATTRIBUTES[k] for k in usable]},
        "note": "" if usable else f"every attribute is {NOT_MEASURABLE}",
    }
    results = {
        "macro_PF": _metric("macro_PF", pf[name], **facts),
        "macro_C": _metric("macro_C", ceiling),
        "macro_NPF": _metric("macro_NPF", normalised(pf[name], ceiling)),
        "macro_F": MetricResult("macro_F", float(macro(floors[name][None], usable)[0])),
        "joint": _metric("joint", joint_share(sides["generated"], masked, seed), **facts),
        "joint_real": _metric("joint_real", joint_share(sides["real"], masked, seed)),
    }
    for side, suffix in (("generated", ""), ("real", "_real"), ("baseline", "_baseline")):
        if name in found[side]:
            key = f"macro_AUROC{suffix}"
            results[key] = _metric(key, macro(found[side][name].auroc, known), settings={"num_findings": len(known)})
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
