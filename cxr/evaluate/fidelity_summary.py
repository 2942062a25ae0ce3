"""Prompt fidelity in few figures and one sentence, which claims no more than the judges can tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from cxr.evaluate.fidelity_figures import MIN_REAL_FILMS, Agreements, Readings, is_judgeable, or_last, share_of_ceiling
from cxr.judges.judge import Judge
from cxr.judges.prompt_agreement import joint_share, shuffled
from cxr.labels.targets import ATTRIBUTES
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.arrays import Array
from cxr.metrics.result import Facts, JsonObject, MetricResult, figure_of, figure_of_share

CLAIM = 0.92
FIRST = {"PA": "view", "male": "sex"}  # what stands first, and what it is called
NOT_MEASURABLE = "not measurable with these judges and films"
SHUFFLED_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)


class Attribute(TypedDict):
    """What the judges say of one attribute, by the one by whom it fares worse.

    Args:
        name: of `ATTRIBUTES`.
        judge: whose figures these are.
        judgeable: whether all judges can measure it.
        num_positive: images asked to show it.
        num_negative: images asked not to.
        num_positive_real: real films that show it.
        exploratory: whether there are too few prompts.
        metrics: figures by name.
        other_judge: name and figures of another judge; None where there is only one.
    """

    name: str
    judge: str
    judgeable: bool
    num_positive: int
    num_negative: int
    num_positive_real: int
    exploratory: bool
    metrics: dict[str, MetricResult]
    other_judge: JsonObject | None


class Shuffle(TypedDict):
    """PF with more and more of the prompts given to other images.

    Args:
        levels: shares of the prompts.
        PF: mean over the attributes at each level, by judge.
        monotone: whether it falls throughout, as it has to.
    """

    levels: Sequence[float]
    PF: dict[str, list[float]]
    monotone: bool


def headline(
    summary: Mapping[str, MetricResult], attributes: Sequence[Attribute], age: Mapping[str, MetricResult]
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
        parts.insert(
            sum(row["name"] in FIRST for row in attributes),
            f"age {age['MAE'].value:.1f} years off (real films {age['MAE_real'].value:.1f})",
        )
    if not parts:
        return f"Prompt fidelity is {NOT_MEASURABLE}."
    unknown = sum(not row["judgeable"] and row["name"] not in FIRST for row in attributes)
    rest = f"; {unknown} other attributes are {NOT_MEASURABLE}" if unknown else ""
    pf = summary["macro_PF"]
    carried = pf.low > CLAIM and summary["macro_C"].value >= CLAIM and not unknown
    claim = f", above {100 * CLAIM:.0f} % throughout" if carried else ""
    return f"Prompt fidelity: {', '.join(parts)}{claim}{rest}."


def summarise_age(found: Agreements, num_images: int, num_real: int) -> dict[str, MetricResult]:
    """Errors of the age, by the judge who errs more; the images of both kinds are counted."""
    generated, real = found["generated"], found["real"]
    name = max(generated, key=lambda key: (float(generated[key].mae[0]), key))
    return {
        "MAE": figure_of("MAE", generated[name].mae, num_generated=num_images, settings={"judge": name}),
        "MAE_real": figure_of("MAE_real", real[name].mae, num_reference=num_real),
        "within_10": figure_of_share(
            "within_10", generated[name].within, generated[name].num_clusters, num_generated=num_images
        ),
        "within_10_real": figure_of_share(
            "within_10_real", real[name].within, real[name].num_clusters, num_reference=num_real
        ),
    }


def summarise(
    found: Agreements,
    floors: Mapping[str, Array],
    columns: Sequence[int],
    readings: Mapping[str, Readings],
    judges: Mapping[str, Judge],
) -> dict[str, MetricResult]:
    """Means over the measurable attributes, by the judge who gives the lower one; of findings, also unsure AUROCs."""
    generated, real = found["generated"], found["real"]
    usable = [k for k in columns if is_judgeable(real, k)]

    def macro(values: Array, chosen: Sequence[int]) -> Array:
        mean: Array = values[:, chosen].mean(axis=1) if chosen else np.full(len(values), np.nan)
        return mean

    pf = {judge: macro(one.pf, usable) for judge, one in generated.items()}
    name = min(pf, key=lambda judge: (or_last(float(pf[judge][0])), judge))
    masked = np.where(np.isin(np.arange(len(ATTRIBUTES)), usable), judges[name].thresholds, np.nan)
    ceiling, sides = macro(real[name].pf, usable), readings[name]
    known = [k for k in columns if ATTRIBUTES[k] in FINDINGS and real[name].num_positive[k] >= MIN_REAL_FILMS]
    facts: Facts = {
        "num_generated": len(sides["generated"]),
        "settings": {"judge": name, "attributes": [ATTRIBUTES[k] for k in usable]},
        "note": "" if usable else f"every attribute is {NOT_MEASURABLE}",
    }
    made: Facts = {"num_generated": len(sides["generated"])}
    films: Facts = {"num_reference": len(sides["real"])}
    count, num_real = (one[name].num_independent(usable) for one in (generated, real))
    both = (
        figure_of_share("macro_PF", pf[name], count, **facts),
        figure_of_share("macro_C", ceiling, num_real, **films),
    )
    results = {
        **{one.name: one for one in both},
        "macro_NPF": share_of_ceiling(pf[name], ceiling, both, "macro_NPF"),
        "macro_F": MetricResult("macro_F", float(macro(floors[name][None], usable)[0]), **made),
        "joint": figure_of_share("joint", joint_share(sides["generated"], masked), count, **facts),
        "joint_real": figure_of_share("joint_real", joint_share(sides["real"], masked), num_real, **films),
    }
    for side, suffix in (("generated", ""), ("real", "_real"), ("baseline", "_baseline")):
        if name in found[side]:
            key = f"macro_AUROC{suffix}"
            one, settings = found[side][name], {"num_findings": len(known)}
            facts = {"settings": settings, **(films if side == "real" else {"num_generated": len(sides[side])})}
            results[key] = figure_of_share(key, macro(one.auroc, known), one.num_independent(known), **facts)
    return results


def measure_shuffles(judges: Mapping[str, Judge], readings: Readings) -> Shuffle:
    """Mean PF of each judge with more and more of the prompts given to other images; it has to fall."""
    means = {}
    for name, judge in judges.items():
        table = [shuffled(readings[name], judge.thresholds, share) for share in SHUFFLED_SHARES]
        means[name] = [float(np.nanmean(row)) if np.isfinite(row).any() else math.nan for row in table]
    falling = all(bool(np.all(np.diff(values) < 0)) for values in means.values())
    return {"levels": SHUFFLED_SHARES, "PF": means, "monotone": falling}
