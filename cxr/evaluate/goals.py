"""What this project wants a model to reach, fixed before anything was measured, beside what the report measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

AGREEMENT = 0.92  # PF of view and sex, or the judge's ceiling where that is lower
YEARS_BEYOND = 5.0  # mean error of the age above the judge's own on real images
GAIN = 0.15  # mean AUROC of the findings above the base without LoRA
FINDING_AUROC = 0.80
TARGET_FINDINGS = ("Effusion", "Cardiomegaly", "Pneumothorax", "Mass")
KD_MULTIPLE = 3.0  # of real against real
COVERAGE_SHARE = 0.7  # of real against real
CONTROL = 0.95  # planted copies that are flagged

Row = dict[str, Any]


def check_goals(report: Mapping[str, Any]) -> list[Row]:
    """Set figures beside goals.

    Args:
        report: plain values, as `cxr.evaluate.report.write.to_plain` gives them; parts that are None have no goals.
    Returns:
        For each goal that its parts allow: name, value, limit, at_least (whether the limit is a least or a most), met,
        missed_by (0 if met) and note: where the limit comes from and, where it is missed, what is known beside it.
        Where nothing can be said, value or limit is NaN, and met and missed_by are None.
    """
    rows: list[Row] = []
    if report.get("fidelity"):
        rows += _fidelity(report["fidelity"])
    for entry in report.get("distances") or ():
        rows += _distances(entry)
    for space in (report.get("copies") or {"spaces": ()})["spaces"]:
        rows += _copies(space)
    return rows


def _fidelity(part: Mapping[str, Any]) -> Iterator[Row]:
    attributes = {row["name"]: row["metrics"] for row in part["attributes"]}
    for name, words in (("PA", "view"), ("male", "sex")):
        if name in attributes:
            ceiling = _value(attributes[name], "C")
            note = "" if ceiling >= AGREEMENT else "the limit is what the judge reaches on real images"
            limit = min(AGREEMENT, ceiling) if math.isfinite(ceiling) else AGREEMENT
            without = _beside(attributes[name], "PF_baseline", "without the LoRA {:.2f}")
            yield _row(f"PF of the {words}", _value(attributes[name], "PF"), limit, note=note, missed=without)
    age = (part.get("age") or {"metrics": {}})["metrics"]
    beyond = _value(age, "MAE") - _value(age, "MAE_real")
    yield _row("Age: years of error beyond those on real images", beyond, YEARS_BEYOND, at_least=False)
    summary = part["summary"]["metrics"]
    mean, real = _value(summary, "macro_AUROC"), _value(summary, "macro_AUROC_real")
    yield _row("AUROC, mean of the findings", mean, real, note="the limit is the same judge's on real images")
    gain = mean - _value(summary, "macro_AUROC_baseline")
    yield _row("The same, above the base without LoRA", gain, GAIN)
    for name in TARGET_FINDINGS:
        if name in attributes:
            beside = _value(attributes[name], "C_AUROC")
            note = f"the judge reaches {beside:.2f} on real images" if math.isfinite(beside) else ""
            yield _row(f"AUROC of {name.lower()}", _value(attributes[name], "AUROC"), FINDING_AUROC, note=note)


def _distances(entry: Mapping[str, Any]) -> Iterator[Row]:
    rows = {row["name"]: {metric["name"]: metric for metric in row["metrics"]} for row in entry["rows"]}
    made, real = rows["generated"], rows["real against real"]
    extractor = f"“{entry['extractor']['name']}”"
    kd = _value(real, "KD")
    multiple = _value(made, "KD") / kd if kd > 0 else math.nan
    note = "" if kd > 0 else "real against real is not above 0"
    without = _beside(rows.get("base without LoRA", {}), "KD", "without the LoRA {:.2f}", kd)
    name = f"KD by {extractor}, times real against real"
    yield _row(name, multiple, KD_MULTIPLE, at_least=False, note=note, missed=without)
    coverage = _value(real, "coverage")
    share = _value(made, "coverage") / coverage if coverage > 0 else math.nan
    yield _row(f"Coverage by {extractor}, share of real against real", share, COVERAGE_SHARE)


def _copies(space: Mapping[str, Any]) -> Iterator[Row]:
    words, real = f"by “{space['name']}”", space["flagged_real"]
    note = "the limit is the upper end for real images of other patients"
    yield _row(f"Flagged as copies {words}", _value(space, "flagged"), real["high"], at_least=False, note=note)
    missed = "so few flags prove little in this space"
    yield _row(f"Known copies flagged {words}", _value(space, "flagged_control"), CONTROL, missed=missed)


def _beside(metrics: Mapping[str, Any], name: str, words: str, unit: float = 1.0) -> str:
    value = _value(metrics, name) / unit if unit > 0 else math.nan
    return words.format(value) if math.isfinite(value) else ""


def _row(
    name: str, value: float, limit: float | None, *, at_least: bool = True, note: str = "", missed: str = ""
) -> Row:
    limit = math.nan if limit is None else limit
    short = limit - value if at_least else value - limit
    known = math.isfinite(short)
    return {
        "name": name,
        "value": value,
        "limit": limit,
        "at_least": at_least,
        "met": short <= 0 if known else None,
        "missed_by": max(short, 0.0) if known else None,
        "note": "; ".join(part for part in (note, missed if known and short > 0 else "") if part),
    }


def _value(metrics: Mapping[str, Any], name: str) -> float:
    found = (metrics.get(name) or {}).get("value")
    return math.nan if found is None else float(found)
