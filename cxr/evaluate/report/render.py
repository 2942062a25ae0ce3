"""The report as text: one body, printed as Markdown and as one HTML page that needs nothing besides itself.

`templates/body.j2` says what stands where and knows no markup. `markdown_parts.j2` and `html_parts.j2` print what it
asks for, and each escapes whatever came from outside. What is here turns figures into words.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from cxr.evaluate.distances import POSING
from cxr.evaluate.report.plots import Metric, settings_of, spoken, value_of
from cxr.request.recipe import SYNTHETIC_NOTICE

Metrics = Mapping[str, Metric] | Sequence[dict[str, Any]]  # by name, or a list of those that know their names

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
ON_REQUEST = {
    "sensitivity": "--sensitivity",
    "readers": "--readings",
    "utility": "--utility",
    "sweep": "--sweep",
}  # parts that take minutes


class Cell(NamedTuple):
    """One cell of a table: a figure, and its interval or a remark in smaller print."""

    text: str
    detail: str = ""


def render(
    kind: str,
    report: dict[str, Any],
    plots: Mapping[str, bytes],
    pictures: Mapping[str, bytes],
    body: str = "body.j2",
) -> str:
    """Print a report or a comparison.

    Args:
        kind: "markdown", which links to ``plots/NAME.svg`` and ``pictures/NAME.png``; or "html", which holds them.
        report: plain values, as in `report.json`.
        plots: name -> SVG.
        pictures: name -> PNG.
        body: the template that says what stands where.
    """
    page = (
        _environment(kind)
        .get_template(f"{kind}.j2")
        .render(
            report=report, plots=plots, pictures=pictures, parts=f"{kind}_parts.j2", body=body, notice=SYNTHETIC_NOTICE
        )
    )
    return re.sub(r"\n{3,}", "\n\n", page).strip() + "\n"


def render_page(template: str, **values: Any) -> str:
    """Print a template that is an HTML page by itself; what is put in is escaped."""
    return _environment("html").get_template(template).render(**values)


@cache
def _environment(kind: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("cxr.evaluate.report"),
        autoescape=kind == "html",  # noqa: S701  Markdown is escaped by its own filter
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (
        with_set,
        added_by,
        figure,
        number,
        short_hash,
        spoken,
        setting,
        setting_in,
        caption,
        flow,
        escape_markdown,
        inline_svg,
    )
    environment.filters |= {each.__name__: each for each in (*filters, data_uri)}
    helpers = (figures, across, levels, goal_cells, counts, names_of, metrics_of, remarks, settings_of)
    sentences = (distance_words, fidelity_lines, copy_words, corrected_p, reason)
    environment.globals |= {each.__name__: each for each in (Cell, *helpers, *sentences)}
    return environment


def with_set(name: str) -> str:
    """The head of a column: trained with these images, too."""
    return f"with {name}"


def added_by(name: str) -> str:
    """The head of a column: what these images add."""
    return f"{name} adds"


# Figures


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
    found = _by_name(metrics)
    return [cell(found.get(name), DECIMALS.get(name, 2)) if name else Cell("") for name in names]


def across(rows: Sequence[dict[str, Any]], name: str) -> list[Cell]:
    """The cells of one figure in several rows."""
    return [figures(row["metrics"], [name])[0] for row in rows]


def levels(entry: dict[str, Any]) -> list[Cell]:
    """KD at each level of a degradation, with the level itself in small print."""
    pairs = zip(entry["kd"], entry["levels"], strict=True)
    return [Cell(number(value, None), f"at {setting(level)}") for value, level in pairs]


def goal_cells(goal: dict[str, Any]) -> list[Cell]:
    """What was measured, what was asked for, and whether that is met or by how much it is missed."""
    decimals = 4 if 0 < (goal["limit"] or 1) < 0.1 else 2
    limit = goal["limit"]
    asked = (
        MISSING
        if limit is None or not math.isfinite(limit)
        else f"{'≥' if goal['at_least'] else '≤'} {number(goal['limit'], decimals)}"
    )
    met = {True: "yes", None: MISSING}.get(goal["met"], f"no, by {number(goal['missed_by'], decimals)}")
    return [Cell(number(goal["value"], decimals)), Cell(number(goal.get("real"), decimals)), Cell(asked), Cell(met)]


def counts(metrics: Metrics, names: Sequence[str] | None = None) -> list[Cell]:
    """How many generated and how many real images stand behind figures: one number each, or the fewest and the most."""
    found = [metric for name, metric in _by_name(metrics).items() if names is None or name in names]
    return [_count(found, "num_generated"), _count(found, "num_reference")]


def names_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the figures of some rows, in the order in which they first appear; means over labels come first."""
    names = dict.fromkeys(metric["name"] for row in rows for metric in row["metrics"])
    return sorted(names, key=lambda name: not name.startswith("macro"))


def metrics_of(rows: Sequence[dict[str, Any]], key: str) -> dict[str, Metrics]:
    """The figures of each row by the row's name, which stands under ``key``."""
    return {row[key]: row.get("metrics", row) for row in rows}


def remarks(rows: Mapping[str, Metrics], *, settings: bool = True) -> list[str]:
    """Notes and settings of figures, each said once: "precision, recall: k 5".

    Args:
        rows: figures by the name of their row.
        settings: also those that a figure has in common in all rows.
    """
    columns: dict[str, dict[str, dict[str, Any]]] = {}
    for row, metrics in rows.items():
        for name, metric in _by_name(metrics).items():
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


def setting(value: Any) -> str:
    """A setting for people."""
    if isinstance(value, list):
        return ", ".join(setting(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else MISSING if value is None else str(value)


def setting_in(name: str, point: Mapping[str, Any]) -> str:
    """One setting of a point of a sweep."""
    return setting(point.get(name))


def _shared_settings(metrics: Sequence[dict[str, Any]]) -> str:
    first, *others = [metric.get("settings") or {} for metric in metrics]
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    return ", ".join(f"{spoken(key)} {setting(value)}" for key, value in shared.items())


def _by_name(metrics: Metrics) -> Mapping[str, Metric]:
    return metrics if isinstance(metrics, Mapping) else {metric["name"]: metric for metric in metrics}


def _count(metrics: Sequence[Metric], key: str) -> Cell:
    found = sorted({metric[key] for metric in metrics if isinstance(metric, dict) and metric.get(key)})
    return Cell("–".join(dict.fromkeys(f"{count:,}" for count in (found[0], found[-1]))) if found else MISSING)


def _places(size: float) -> int:
    """Decimals that show three significant digits of a number of this size."""
    return max(0, 2 - math.floor(math.log10(size))) if size else 2


def _digits(value: float, places: int) -> str:
    return f"{value:.2e}" if places > 8 else f"{value:,.{places}f}"


# Words


def distance_words(entry: dict[str, Any]) -> str:
    """KD beyond that of real films to real films, and coverage, as the end of a sentence."""
    rows = {row["name"]: _by_name(row["metrics"]) for row in entry["rows"]}
    made, real = (rows.get(name, {}) for name in ("generated", POSING))
    above, above_real = (figure(row.get("KD - floor"), None) for row in (made, real))
    coverage, coverage_real = figure(made.get("coverage")), number(value_of(real.get("coverage")))
    return (
        f"KD is {above} above that of real films to real films ({POSING}: {above_real}); coverage is {coverage} "
        f"({coverage_real} for real films)."
    )


def fidelity_lines(comparison: dict[str, Any]) -> list[str]:
    """What each model's report would say of its prompt fidelity in one line."""
    return [f"{row['name']}. {row['headline']}" for row in comparison["fidelity"]]


def copy_words(part: dict[str, Any]) -> str:
    """How many images are flagged as copies, as a sentence."""
    shares = [
        f"{per_cent(space.get('flagged'))} by “{space['name']}” (real films: {per_cent(space.get('flagged_real'))})"
        for space in part["spaces"]
    ]
    return f"Flagged as possible copies: {', '.join(shares)}. Near-exact copies: {number(part.get('near_exact'), 0)}."


def corrected_p(metrics: dict[str, Any]) -> str:
    """The p-value of what the LoRA adds, corrected for the number of findings; only findings have one."""
    settings = (metrics.get("AUROC_gain") or {}).get("settings") or {}
    return number(settings.get("p_holm"), 3)


def per_cent(metric: Metric) -> str:
    """A share in per cent with the upper end of its interval, which is what counts where hardly anything is found."""
    value, high = (100 * value_of(metric, key) for key in ("value", "high"))
    return f"{number(value)} %" + (f", at most {number(high)} %" if math.isfinite(high) else "")


def reason(report: dict[str, Any], part: str) -> str:
    """Why a part was not measured."""
    if found := (report.get("reasons") or {}).get(part):
        return str(found)
    if part in ON_REQUEST:
        return f"it is on request only ({ON_REQUEST[part]})."
    return "what it needs was not given."


def caption(name: str) -> str:
    """The words under a picture, from its file's name."""
    return spoken(name)[:1].upper() + spoken(name)[1:]


def flow(text: str) -> str:
    """One line of text from lines of a template; markup stays markup."""
    return type(text)(re.sub(r" (?=[,.;:)])", "", re.sub(r"\s+", " ", text)).strip())


def escape_markdown(text: object) -> str:
    """Text that Markdown prints as it is, also inside a table."""
    escaped = re.sub(r"([\\`*|])", r"\\\1", re.sub(r"\s+", " ", str(text)))
    escaped = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", escaped)  # inside words they are harmless
    return escaped.replace("](", "]\\(").replace("<", "&lt;")


def inline_svg(svg: bytes, name: str, alt: str) -> Markup:
    """A plot for the inside of a page.

    Args:
        svg: from `cxr.evaluate.report.plots`.
        name: goes before its ids, which would otherwise meet those of other plots.
        alt: what a screen reader says.
    """
    text = svg[svg.index(b"<svg") :].decode()
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1))  # noqa: S704  our own plot


def data_uri(png: bytes) -> str:
    """A picture as an address that needs no request."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
