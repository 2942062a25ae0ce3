"""What this project wants a model to reach, beside what the report measured and what real films get in its place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TypedDict

from cxr.evaluate.distances import POSING
from cxr.evaluate.fidelity_summary import NOT_MEASURABLE
from cxr.metrics.result import Json, JsonObject

AGREEMENT = 0.92  # PF of view and sex, or the judge's ceiling where that is lower
YEARS_BEYOND = 5.0  # mean error of the age above the judge's own on real films
GAIN = 0.15  # mean AUROC of the findings above the base without LoRA, or what real films have
FINDING_AUROC = 0.80  # or the judge's ceiling
COVERAGE_SHARE = 0.7  # of that of real films
CONTROL = 0.95  # planted copies that are flagged


class Goal(TypedDict):
    """One figure beside what it should reach.

    Args:
        name: of the figure.
        value: what was measured; NaN where nothing can be said.
        real: what real films posing as generated get.
        limit: what is asked for, no more than real films reach; NaN where nothing can be said.
        at_least: whether the limit is a least or a most.
        met: None where nothing can be said.
        missed_by: 0 if met; None where nothing can be said.
        note: where the limit comes from and, where it is missed, what is known beside it.
    """

    name: str
    value: float
    real: float
    limit: float
    at_least: bool
    met: bool | None
    missed_by: float | None
    note: str


def check_goals(report: Mapping[str, Json]) -> list[Goal]:
    """Set figures beside goals.

    Args:
        report: plain values, as `cxr.metrics.result.to_plain` gives them; parts that are None have no goals.
    Returns:
        The goals that its parts allow.
    """
    rows: list[Goal] = []
    if report.get("fidelity"):
        rows += _fidelity(report["fidelity"])
    for entry in report.get("distances") or ():
        rows += _distances(entry)
    if report.get("detail"):
        rows.append(_detail(report["detail"]))
    if (report.get("diversity") or {}).get("wholes"):
        rows.append(_duplicates(report["diversity"]["wholes"]))
    if report.get("copies"):
        rows += _copies(report["copies"])
    return rows


def _fidelity(part: Mapping[str, Json]) -> Iterator[Goal]:
    attributes = {row["name"]: row for row in part["attributes"]}
    for name, words in (("PA", "view"), ("male", "sex")):
        if name in attributes:
            metrics, judgeable = attributes[name]["metrics"], attributes[name]["judgeable"]
            ceiling = _value(metrics, "C")
            note = (
                NOT_MEASURABLE if not judgeable else "" if ceiling >= AGREEMENT else "the limit is that of real films"
            )
            limit = min(AGREEMENT, ceiling) if judgeable else math.nan
            without = _beside(metrics, "PF_baseline", "without the LoRA {:.2f}")
            yield _goal(f"PF of the {words}", _value(metrics, "PF"), limit, real=ceiling, note=note, missed=without)
    age = (part.get("age") or {"metrics": {}})["metrics"]
    real = _value(age, "MAE_real")
    yield _goal("Age: years of error", _value(age, "MAE"), real + YEARS_BEYOND, at_least=False, real=real)
    summary = part["summary"]["metrics"]
    mean, base, real = (_value(summary, f"macro_AUROC{suffix}") for suffix in ("", "_baseline", "_real"))
    if math.isfinite(base):
        name = "AUROC of findings, above the base without LoRA"
        yield _goal(name, mean - base, min(GAIN, real - base), real=real - base)
    others = [row for row in part["attributes"] if row["name"] not in ("PA", "male")]
    for row in others:
        if row["judgeable"]:
            real = _value(row["metrics"], "C_AUROC")
            name = f"AUROC of {row['name'].replace('_', ' ').lower()}"
            yield _goal(name, _value(row["metrics"], "AUROC"), min(FINDING_AUROC, real), real=real)
    if unknown := [row["name"] for row in others if not row["judgeable"]]:
        yield _goal(f"AUROC of {len(unknown)} other attributes", math.nan, math.nan, note=NOT_MEASURABLE)


def _distances(entry: Mapping[str, Json]) -> Iterator[Goal]:
    rows = {row["name"]: {metric["name"]: metric for metric in row["metrics"]} for row in entry["rows"]}
    made, real, extractor = rows["generated"], rows[POSING], f"“{entry['extractor']['name']}”"
    without = _beside(rows.get("base without LoRA", {}), "KD - floor", "without the LoRA {:.4f}")
    yield _goal(
        f"KD by {extractor}, above that of real to real",
        _value(made, "KD - floor"),
        (real.get("KD - floor") or {}).get("high"),
        at_least=False,
        real=_value(real, "KD - floor"),
        note="the limit is the upper end for real films",
        missed=without,
    )
    coverage = _value(real, "coverage")
    yield _goal(f"Coverage by {extractor}", _value(made, "coverage"), COVERAGE_SHARE * coverage, real=coverage)


def _detail(part: Mapping[str, Json]) -> Goal:
    made, real = (_num_differing(row["metrics"]) for row in part["rows"])
    name = f"Properties at {part['side']} pixels that differ from real films"
    return _goal(name, made, real, at_least=False, real=real)


def _num_differing(metrics: list[JsonObject]) -> float:
    """How many properties differ; NaN where none has an interval, as of too few patients."""
    known = [metric["settings"] for metric in metrics if metric.get("settings") and metric["low"] is not None]
    return sum(bool(settings.get("differs")) for settings in known) if known else math.nan


def _duplicates(wholes: list[JsonObject]) -> Goal:
    made, real = ({metric["name"]: metric for metric in row["metrics"]}["near-duplicates"] for row in wholes)
    note = "the limit is the upper end for real films"
    return _goal("Near-duplicates", made["value"], real["high"], at_least=False, real=real["value"], note=note)


def _copies(part: Mapping[str, Json]) -> Iterator[Goal]:
    note = "the limit is the upper end for real films of other patients"
    for space in part["spaces"]:
        real, name = space["flagged_real"], f"Flagged as copies by “{space['name']}”"
        yield _goal(name, _value(space, "flagged"), real["high"], at_least=False, real=real["value"], note=note)
    if kinds := part.get("control"):
        worst = min(kinds, key=lambda kind: kind["found"]["value"])
        missed = "so few flags prove little of that kind of copy"
        name = f"Planted copies found, the worst kind ({worst['kind']})"
        yield _goal(name, worst["found"]["value"], CONTROL, missed=missed)


def _beside(metrics: Mapping[str, Json], name: str, words: str) -> str:
    value = _value(metrics, name)
    return words.format(value) if math.isfinite(value) else ""


def _goal(
    name: str,
    value: float,
    limit: float | None,
    *,
    at_least: bool = True,
    real: float = math.nan,
    note: str = "",
    missed: str = "",
) -> Goal:
    limit = math.nan if limit is None else limit
    short = limit - value if at_least else value - limit
    known = math.isfinite(short)
    return {
        "name": name,
        "value": value,
        "real": real,
        "limit": limit,
        "at_least": at_least,
        "met": short <= 0 if known else None,
        "missed_by": max(short, 0.0) if known else None,
        "note": "; ".join(part for part in (note, missed if known and short > 0 else "") if part),
    }


def _value(metrics: Mapping[str, Json], name: str) -> float:
    found = (metrics.get(name) or {}).get("value")
    return math.nan if found is None else float(found)
