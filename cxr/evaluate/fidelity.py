"""Prompt fidelity: do the images show what their prompts asked for, as far as judges can tell?

Definitions, for one attribute a (a view, a sex, a finding) and one judge:

- PF, prompt fidelity: mean of the shares of images that were asked to show a and do, and that were asked not to and do
  not, within a view (`cxr.judges.readings.comparisons`). A finding that a prompt does not mention is not asked about.
- AUROC: the same without a threshold.
- C and C_AUROC: both on real held-out films whose labels pose as prompts, the judge's ceiling; not from under
  `MIN_REAL_FILMS` films that show a. F: PF with the prompts shuffled, the floor.
- NPF: (PF - 0.5) / (C - 0.5), the share of what this judge can see at all. Real films have 1.
- Measurable: all judges reach an AUROC of `JUDGEABLE_AUROC` on real films. Summary and headline know no other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from cxr.evaluate.fidelity_figures import (
    MIN_REAL_FILMS,
    Agreements,
    Readings,
    is_judgeable,
    lower_judge,
    or_last,
    share_of_ceiling,
)
from cxr.evaluate.fidelity_summary import (
    FIRST,
    Attribute,
    Shuffle,
    headline,
    measure_shuffles,
    summarise,
    summarise_age,
)
from cxr.judges.judge import Judge
from cxr.judges.prompt_agreement import measure_agreement, paired_difference, seen_elsewhere, shuffled
from cxr.labels.targets import ATTRIBUTES
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.arrays import Array
from cxr.metrics.intervals import holm, two_sided
from cxr.metrics.result import Facts, JsonObject, MetricResult, figure_of, figure_of_share

MIN_IMAGES = 300  # positive and negative prompts of an attribute; fewer are marked
# Figure of an attribute -> whose images it is measured on, and the field of `Agreement` that holds it.
FIGURES = {
    "PF": ("generated", "pf"),
    "AUROC": ("generated", "auroc"),
    "C": ("real", "pf"),
    "C_AUROC": ("real", "auroc"),
    "PF_baseline": ("baseline", "pf"),
    "AUROC_baseline": ("baseline", "auroc"),
}


class Fidelity(TypedDict):
    """The part "fidelity" of a report.

    Args:
        judges: name, hash and facts of each.
        attributes: view and sex, then what is measurable, worst first.
        age: errors of the age, under "metrics".
        summary: means over what is measurable, under "metrics".
        shuffle: a test of the figures themselves.
        headline: one sentence.
    """

    judges: list[JsonObject]
    attributes: list[Attribute]
    age: dict[str, dict[str, MetricResult]]
    summary: dict[str, dict[str, MetricResult]]
    shuffle: Shuffle
    headline: str


def measure_fidelity(judges: Mapping[str, Judge], readings: Mapping[str, Readings]) -> Fidelity:
    """Do the images show what their prompts asked for?

    Args:
        judges: by name; none has chosen, filtered or guided anything.
        readings: what each of the same judges read off each set.
    """
    found: Agreements = {"generated": {}, "real": {}, "baseline": {}}
    for name, judge in judges.items():
        for side, reading in readings[name].items():
            found[side][name] = measure_agreement(reading, judge.thresholds)
    generated = {name: sides["generated"] for name, sides in readings.items()}
    floors = {name: shuffled(generated[name], judge.thresholds) for name, judge in judges.items()}
    some = next(iter(found["generated"].values()))
    columns = [k for k in range(len(ATTRIBUTES)) if some.num_positive[k] and some.num_negative[k]]
    attributes = [_attribute(found, floors, column) for column in columns]
    _add_gains(attributes, readings)
    _add_elsewhere(attributes, judges, readings)
    attributes.sort(key=_place)
    age = summarise_age(found, *(len(next(iter(readings.values()))[side]) for side in ("generated", "real")))
    summary = summarise(found, floors, columns, readings, judges)
    return {
        "judges": [{"name": name, "sha256": judge.sha256, "facts": judge.facts} for name, judge in judges.items()],
        "attributes": attributes,
        "age": {"metrics": age},
        "summary": {"metrics": summary},
        "shuffle": measure_shuffles(judges, generated),
        "headline": headline(summary, attributes, age),
    }


def _place(row: Attribute) -> tuple[int, bool, float, str]:
    first = list(FIRST).index(row["name"]) if row["name"] in FIRST else len(FIRST)
    return first, not row["judgeable"], or_last(row["metrics"]["PF"].value), row["name"]


def _attribute(found: Agreements, floors: Mapping[str, Array], column: int) -> Attribute:
    generated, real = found["generated"], found["real"]
    name = lower_judge(generated, column)
    mine, ceiling = generated[name], real[name]
    positive, negative = int(mine.num_positive[column]), int(mine.num_negative[column])
    real_positive, real_negative = int(ceiling.num_positive[column]), int(ceiling.num_negative[column])
    few = real_positive < MIN_REAL_FILMS
    note = f"no ceiling from under {MIN_REAL_FILMS} real films" if few else ""
    facts: dict[str, Facts] = {
        "generated": {"num_generated": positive + negative},
        "real": {"num_reference": real_positive + real_negative, "note": note},
        "baseline": {},
    }
    metrics = {}
    for key, (side, field) in FIGURES.items():
        if side == "real" and few:
            metrics[key] = MetricResult(key, math.nan, **facts[side])
        elif one := found[side].get(name):
            values, count = getattr(one, field)[:, column], one.num_independent([column])
            metrics[key] = figure_of_share(key, values, count, **facts[side])
    metrics["F"] = MetricResult("F", float(floors[name][column]), num_generated=positive + negative)
    films = ceiling.pf[:, column] * (np.nan if few else 1.0)
    metrics["NPF"] = share_of_ceiling(mine.pf[:, column], films, (metrics["PF"], metrics["C"]), "NPF")
    return {
        "name": ATTRIBUTES[column],
        "judge": name,
        "judgeable": is_judgeable(real, column),
        "num_positive": positive,
        "num_negative": negative,
        "num_positive_real": real_positive,
        "exploratory": min(positive, negative) < MIN_IMAGES,
        "metrics": metrics,
        "other_judge": _other_judge(found, name, column),
    }


def _other_judge(found: Agreements, judge: str, column: int) -> JsonObject | None:
    other = next((name for name in found["generated"] if name != judge), None)
    if other is None:
        return None
    compared = {key: value for key, value in FIGURES.items() if value[0] != "baseline"}
    figures = {key: getattr(found[side][other], field) for key, (side, field) in compared.items()}
    return {"name": other, **{key: float(values[0, column]) for key, values in figures.items()}}


def _add_gains(attributes: list[Attribute], readings: Mapping[str, Readings]) -> None:
    """What the LoRA adds to each AUROC on the prompts that the baseline answers too, and how surely."""
    gains = {
        name: paired_difference(sides["generated"], sides["baseline"])
        for name, sides in readings.items()
        if "baseline" in sides
    }
    if not gains:
        return
    for row in attributes:
        values = gains[row["judge"]][:, ATTRIBUTES.index(row["name"])]
        row["metrics"]["AUROC_gain"] = figure_of("AUROC_gain", values, settings={"p": two_sided(values[1:])})
    findings = [row["metrics"]["AUROC_gain"] for row in attributes if row["name"] in FINDINGS]
    for gain, corrected in zip(findings, holm([gain.settings["p"] for gain in findings]), strict=True):
        gain.settings["p_holm"] = corrected


def _add_elsewhere(
    attributes: Sequence[Attribute], judges: Mapping[str, Judge], readings: Mapping[str, Readings]
) -> None:
    """How often a finding is seen in images of one other finding; a fault where that is more than in real films."""
    for row in attributes:
        column, thresholds = ATTRIBUTES.index(row["name"]), judges[row["judge"]].thresholds
        for side, suffix in (("generated", ""), ("real", "_real")):
            name = f"seen_elsewhere{suffix}"
            value = seen_elsewhere(readings[row["judge"]][side], thresholds)[column]
            if math.isfinite(value):
                row["metrics"][name] = MetricResult(name, float(value))
