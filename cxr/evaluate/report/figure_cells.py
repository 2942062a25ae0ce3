"""The cells of a report's tables: figures for people, with their intervals, counts and remarks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cxr.evaluate.image_set import GENERATION_SETTINGS
from cxr.metrics.result import Json, JsonObject

Metric = JsonObject | float | None  # a `MetricResult` as a dict, a bare number, or not measured
Metrics = Mapping[str, Metric] | Sequence[JsonObject]  # by name, or a list of those that know their names

# Decimals by name of the figure, where they are not the two of a share; None: three significant digits.
DECIMALS: dict[str, int | None] = {
    **dict.fromkeys(
        ("KD", "KD - floor", "CMMD", "FD", "FD-infinity", "threshold", "median", "median_real", "smallest")
    ),
    **dict.fromkeys(("MAE", "MAE_real", "MAE_baseline", "failed", "flat", "nan", "duplicates"), 1),  # years; per 1,000
    **dict.fromkeys(("flagged", "flagged_real"), 4),  # compared at one in a thousand
}
MISSING = "–"
HASH_CHARACTERS = 12


class Cell(NamedTuple):
    """One cell of a table: a figure, and its interval or a remark in smaller print."""

    text: str
    detail: str = ""


def value_of(metric: Metric, key: str = "value") -> float:
    """A figure or an end of its interval ("low", "high"); NaN if it is not there."""
    found = metric.get(key) if isinstance(metric, dict) else metric if key == "value" else None
    return math.nan if found is None else float(found)


def spoken(name: str) -> str:
    """A name for people: "Pleural_Thickening" -> "Pleural Thickening", "num_steps" -> "steps"."""
    return name.removeprefix("num_").replace("_", " ")


def settings_of(generated: JsonObject) -> JsonObject:
    """How images were generated, as far as it is known."""
    return generated.get("settings") or {name: generated[name] for name in GENERATION_SETTINGS if name in generated}


def number(value: float | None, decimals: int | None = 2) -> str:
    """A number for people: fixed decimals, or three significant digits where ``decimals`` is None."""
    if value is None or not math.isfinite(value):
        return MISSING
    return _digits(value, _places(abs(value)) if decimals is None else decimals)


def figure(metric: Metric, decimals: int | None = 2) -> str:
    """A figure with its interval in one line: "0.83 [0.80, 0.86]"."""
    return " ".join(cell(metric, decimals)).strip()


def cell(metric: Metric, decimals: int | None = 2) -> Cell:
    """A figure with its interval as a cell."""
    value, low, high = (value_of(metric, key) for key in ("value", "low", "high"))
    if not math.isfinite(value + low + high):
        return Cell(number(value, decimals))
    if decimals is None:
        # One number of places for all three; the interval decides where the figure itself is next to nothing.
        decimals = _places(max(abs(value), abs(low) / 10, abs(high) / 10))
    return Cell(_digits(value, decimals), f"[{_digits(low, decimals)}, {_digits(high, decimals)}]")


def figures(metrics: Metrics, names: Sequence[str]) -> list[Cell]:
    """The cells of these figures; an empty one for "", a dash for what is not there."""
    found = by_name(metrics)
    return [cell(found.get(name), DECIMALS.get(name, 2)) if name else Cell("") for name in names]


def across(rows: Sequence[JsonObject], name: str) -> list[Cell]:
    """The cells of one figure in several rows."""
    return [figures(row["metrics"], [name])[0] for row in rows]


def levels(entry: JsonObject) -> list[Cell]:
    """KD at each level of a degradation, with the level itself in small print."""
    pairs = zip(entry["kd"], entry["levels"], strict=True)
    return [Cell(number(value, None), f"at {setting(level)}") for value, level in pairs]


def goal_cells(goal: JsonObject) -> list[Cell]:
    """What was measured, what was asked for, and whether that is met or by how much it is missed."""
    limit = goal["limit"]
    is_narrow = goal["met"] is False and round(goal["missed_by"], 2) == 0  # else it would be missed by 0.00
    are_whole = all(float(value or 0).is_integer() for value in (goal["value"], goal.get("real"), limit))
    decimals = 0 if are_whole else 4 if 0 < (limit or 1) < 0.1 or is_narrow else 2
    asked = (
        MISSING
        if limit is None or not math.isfinite(limit)
        else f"{'≥' if goal['at_least'] else '≤'} {number(goal['limit'], decimals)}"
    )
    met = {True: "yes", None: MISSING}.get(goal["met"], f"no, by {number(goal['missed_by'], decimals)}")
    return [Cell(number(goal["value"], decimals)), Cell(number(goal.get("real"), decimals)), Cell(asked), Cell(met)]


def counts(metrics: Metrics, names: Sequence[str] | None = None) -> list[Cell]:
    """How many generated and how many real images stand behind figures: one number each, or the fewest and the most."""
    found = [metric for name, metric in by_name(metrics).items() if names is None or name in names]
    return [_count(found, "num_generated"), _count(found, "num_reference")]


def names_of(rows: Sequence[JsonObject]) -> list[str]:
    """Names of the figures of some rows, in the order in which they first appear; means over labels come first."""
    names = dict.fromkeys(metric["name"] for row in rows for metric in row["metrics"])
    return sorted(names, key=lambda name: not name.startswith("macro"))


def metrics_of(rows: Sequence[JsonObject], key: str) -> dict[str, Metrics]:
    """The figures of each row by the row's name, which stands under ``key``."""
    return {row[key]: row.get("metrics", row) for row in rows}


def remarks(rows: Mapping[str, Metrics], *, settings: bool = True) -> list[str]:
    """Notes and settings of figures, each said once: "precision, recall: k 5".

    Args:
        rows: figures by the name of their row.
        settings: also those that a figure has in common in all rows.
    """
    columns: dict[str, dict[str, JsonObject]] = {}
    for row, metrics in rows.items():
        for name, metric in by_name(metrics).items():
            if isinstance(metric, dict):
                columns.setdefault(name, {})[row] = metric
    said: dict[str, list[str]] = {}
    for name, column in columns.items():
        texts = [_shared_settings(list(column.values()))] if settings else []
        for note in dict.fromkeys(str(metric.get("note") or "") for metric in column.values()):
            where = [row for row, metric in column.items() if metric.get("note") == note]
            texts.append(note if not note or len(where) == len(column) else f"{note} ({', '.join(where)})")
        for text in filter(None, texts):
            said.setdefault(text, []).append(spoken(name))
    return [f"{', '.join(names)}: {text}" for text, names in said.items()]


def short_hash(value: str | None) -> str:
    """The first 12 characters of a hash or a revision; `report.json` has the rest."""
    return value.removeprefix("sha256:")[:HASH_CHARACTERS] if value else MISSING


def setting(value: Json) -> str:
    """A setting for people."""
    if isinstance(value, list):
        return ", ".join(setting(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else MISSING if value is None else str(value)


def setting_in(name: str, point: Mapping[str, Json]) -> str:
    """One setting of a point of a sweep."""
    return setting(point.get(name))


def _shared_settings(metrics: Sequence[JsonObject]) -> str:
    first, *others = [metric.get("settings") or {} for metric in metrics]
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    return ", ".join(f"{spoken(key)} {setting(value)}" for key, value in shared.items())


def by_name(metrics: Metrics) -> Mapping[str, Metric]:
    """Figures by their names."""
    return metrics if isinstance(metrics, Mapping) else {metric["name"]: metric for metric in metrics}


def _count(metrics: Sequence[Metric], key: str) -> Cell:
    found = sorted({metric[key] for metric in metrics if isinstance(metric, dict) and metric.get(key)})
    return Cell("–".join(dict.fromkeys(f"{count:,}" for count in (found[0], found[-1]))) if found else MISSING)


def _places(size: float) -> int:
    """Decimals that show three significant digits of a number of this size."""
    return max(0, 2 - math.floor(math.log10(size))) if size else 2


def _digits(value: float, places: int) -> str:
    return f"{value:.2e}" if places > 8 else f"{value:,.{places}f}"
