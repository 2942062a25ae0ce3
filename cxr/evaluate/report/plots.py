"""The report's plots as SVG: the same report always gives the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from cxr.metrics.result import Json, JsonObject
from cxr.request.settings import SHARED

Metric = JsonObject | float | None  # a `MetricResult` as a dict, a bare number, or not measured

WIDTH = 4.8  # inches; narrow, so that letters stay readable when a phone shrinks the plot
# Okabe and Ito's colours, told apart by colour-blind readers; each series has a marker of its own as well.
BLUE, ORANGE, GREEN, PURPLE, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#222222", "#B4B4B4"
SERIES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "D"), (PURPLE, "^"), (BLACK, "v"), ("#E69F00", "P"), ("#56B4E9", "X"))
# How images were generated, as far as a report says it.
REPORTED = (*(name for name in SHARED if name not in ("num_images", "bit_depth")), "scheduler", "weight_dtype")
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "cxr",  # else ids are random
    "svg.fonttype": "path",  # the same letters on every machine
    "text.parse_math": False,  # names may hold dollar signs
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
}
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def value_of(metric: Metric, key: str = "value") -> float:
    """A figure or an end of its interval ("low", "high"); NaN if it is not there."""
    found = metric.get(key) if isinstance(metric, dict) else metric if key == "value" else None
    return math.nan if found is None else float(found)


def spoken(name: str) -> str:
    """A name for people: "Pleural_Thickening" -> "Pleural Thickening", "num_steps" -> "steps"."""
    return name.removeprefix("num_").replace("_", " ")


def settings_of(generated: JsonObject) -> JsonObject:
    """How images were generated, as far as it is known."""
    return generated.get("settings") or {name: generated[name] for name in REPORTED if name in generated}


def draw_plots(report: JsonObject) -> dict[str, bytes]:
    """Draw what the report has figures for.

    Args:
        report: plain values, as in `report.json`.
    Returns:
        Name -> SVG; parts that were not measured have none.
    """
    with mpl.rc_context(STYLE):
        figures = {name: draw(report[part]) for name, (part, draw) in PLOTS.items() if report.get(part)}
        if (sweep := figures.get("sweep")) is not None:
            _mark_used(sweep, report)
        return {name: _svg(figure) for name, figure in figures.items() if figure is not None}


def _fidelity(part: JsonObject) -> Figure | None:
    hollow = {"C": (GREEN, "D", "ceiling C (real images)"), "F": (ORANGE, "|", "floor F (prompts shuffled)")}
    filled = "PF", "PF, 95 % interval (grey: not measurable)"
    return _attribute_rows(part, hollow, filled, "balanced accuracy (0.5 = guessing)", ncols=1)


def _auroc(part: JsonObject) -> Figure | None:
    hollow = {"C_AUROC": (GREEN, "D", "real images"), "AUROC_baseline": (ORANGE, "s", "without LoRA")}
    filled = "AUROC", "generated, 95 % interval"
    return _attribute_rows(part, hollow, filled, "AUROC of the judge (0.5 = guessing)", ncols=2)


def _attribute_rows(
    part: JsonObject, hollow: Mapping[str, tuple[str, str, str]], filled: tuple[str, str], label: str, ncols: int
) -> Figure | None:
    """One row for each attribute, in the order of the table, with one mark for each figure.

    Args:
        part: of the report.
        hollow: figure -> colour, marker and words of what the filled marks are compared with.
        filled: the figure in question, and its words.
        label: of the axis.
        ncols: columns of the legend.
    """
    attributes = part["attributes"]
    if not attributes:
        return None
    figure = Figure(figsize=(WIDTH, 1.3 + 0.25 * len(attributes)), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(attributes)), [spoken(attribute["name"]) for attribute in attributes])
    axes.set_ylim(len(attributes) - 0.4, -0.6)
    for tick, attribute in zip(axes.get_yticklabels(), attributes, strict=True):
        tick.set_color(BLACK if attribute["judgeable"] else "#767676")
    columns = {name: [attribute["metrics"].get(name) for attribute in attributes] for name in (*hollow, filled[0])}
    for name, (colour, marker, words) in hollow.items():
        _dots(axes, columns[name], colour, marker, words, hollow=True)
    colours = [BLUE if attribute["judgeable"] else GREY for attribute in attributes]
    _dots(axes, columns[filled[0]], colours, "o", filled[1])
    axes.set_xlabel(label)
    _finish_shares(axes)
    figure.legend(loc="outside upper left", ncols=ncols)
    return figure


def _kernel_distances(part: Sequence[JsonObject]) -> Figure | None:
    shown = [(entry["extractor"]["name"], _kd_rows(entry)) for entry in part]
    shown = [(name, rows) for name, rows in shown if rows]
    if not shown:
        return None
    heights = [1 + len(rows) for _, rows in shown]
    figure = Figure(figsize=(WIDTH, sum(0.47 + 0.28 * height for height in heights)), layout="constrained")
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, rows) in zip(panels, shown, strict=True):
        colours = [SERIES[index % len(SERIES)][0] for index in range(len(rows))]
        _dots(axes, [metric for _, metric in rows], colours, "o", "")
        axes.set_yticks(range(len(rows)), [row for row, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        _stretch(axes, "x", [value_of(metric) for _, metric in rows])
        axes.set_xlabel(f"KD, extractor “{name}” (no unit; lower is nearer)")
        axes.grid(axis="x")
    return figure


def _sensitivity(part: Sequence[JsonObject]) -> Figure | None:
    names = list(dict.fromkeys(entry["extractor"] for entry in part))
    kinds = list(dict.fromkeys(entry["kind"] for entry in part))
    figure = Figure(figsize=(WIDTH, 0.5 + 2.3 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        entries = [entry for entry in part if entry["extractor"] == name]
        for entry in entries:
            colour, marker = SERIES[kinds.index(entry["kind"]) % len(SERIES)]
            values = [value_of(value) for value in entry["kd"]]
            axes.plot(range(1, len(values) + 1), values, color=colour, marker=marker, ms=4, label=spoken(entry["kind"]))
        _stretch(axes, "y", [value_of(value) for entry in entries for value in entry["kd"]])
        axes.set_xticks(range(1, max(len(entry["kd"]) for entry in entries) + 1))
        axes.set(xlabel="level of degradation, 1 = mildest", ylabel="KD (no unit)", title=f"extractor “{name}”")
        axes.grid()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3)
    return figure


def _sweep(part: JsonObject) -> Figure | None:
    parameter, points = part["parameter"], part["points"]
    others = [name for name in REPORTED if name != parameter]
    groups: dict[str, list[JsonObject]] = {}
    for point in sorted(points, key=lambda point: value_of(point[parameter])):
        settings = [f"{spoken(name)} {point[name]}" for name in others if point.get(name) is not None]
        groups.setdefault(", ".join(settings), []).append(point)
    # Only what differs in nothing but the parameter is joined by a line.
    lines = {label: group for label, group in groups.items() if len(group) > 1}
    single = [group[0] for group in groups.values() if len(group) == 1]
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    titles = {"AUROC": "fidelity AUROC", "coverage": "coverage", "KD": "KD (lower is nearer)", "MS-SSIM": "MS-SSIM"}
    for axes, (name, title) in zip(figure.subplots(2, 2, sharex=True).flat, titles.items(), strict=True):
        xs, ys = ([value_of(point.get(key)) for point in single] for key in (parameter, name))
        axes.scatter(xs, ys, s=16, color=GREY, marker="x", label="other settings, see the table" if single else None)
        for index, (label, group) in enumerate(lines.items()):
            colour, marker = SERIES[index % len(SERIES)]
            xs, ys = ([value_of(point.get(key)) for point in group] for key in (parameter, name))
            axes.plot(xs, ys, color=colour, marker=marker, ms=4, label=label)
        axes.set_title(title, fontsize=9)
        axes.grid()
    figure.supxlabel(f"{spoken(parameter)} (no unit)", fontsize=9)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", fontsize=8)
    return figure


def _mark_used(figure: Figure, report: JsonObject) -> None:
    """A dashed line where the generated images of this report were made."""
    used = settings_of(report["generated"]).get(report["sweep"]["parameter"])
    for value in used if isinstance(used, list) else [] if used is None else [used]:
        for axes in figure.axes:
            axes.axvline(value, color=BLACK, linestyle=(0, (4, 3)), linewidth=0.9, zorder=0)


def _utility(part: JsonObject) -> Figure | None:
    rows = part["rows"]
    figure = Figure(figsize=(WIDTH, 1.2 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for index, row in enumerate(rows):
        single = [value_of(metric) for metric in row["metrics"] if not metric["name"].startswith("macro")]
        axes.scatter(single, [index] * len(single), s=14, color=GREY, label="single label" if index == 0 else None)
    macro = [next((metric for metric in row["metrics"] if metric["name"].startswith("macro")), None) for row in rows]
    _dots(axes, macro, BLUE, "o", "mean over labels, 95 % interval")
    axes.set_yticks(range(len(rows)), [row["arm"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("AUROC on real test images (0.5 = guessing)")
    _finish_shares(axes)
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def _dots(
    axes: Axes, metrics: Sequence[Metric], colours: str | list[str], marker: str, label: str, *, hollow: bool = False
) -> None:
    """One mark in each row, with its interval if it is a filled one; rows without a figure stay empty."""
    colours = [colours] * len(metrics) if isinstance(colours, str) else colours
    values, rows = [value_of(metric) for metric in metrics], range(len(metrics))
    if marker == "|":
        axes.scatter(values, rows, s=60, marker=marker, color=colours, linewidths=1.6, label=label)
    elif hollow:
        axes.scatter(values, rows, s=24, marker=marker, facecolors="white", edgecolors=colours, label=label)
    else:
        lows, highs = ([value_of(metric, key) for metric in metrics] for key in ("low", "high"))
        axes.hlines(rows, lows, highs, colors=colours, linewidth=1.8)
        # The legend shows the first mark's colour, which may be a greyed one.
        axes.scatter(values, rows, s=30, marker=marker, color=colours)
        if label:
            axes.scatter([], [], s=30, marker=marker, color=BLUE, label=label)


def _stretch(axes: Axes, side: str, values: Sequence[float]) -> None:
    """A logarithmic axis where positive values span more than a decade."""
    if min(values) > 0 and max(values) > 20 * min(values):
        axes.set(**{f"{side}scale": "log"})
        axis = axes.xaxis if side == "x" else axes.yaxis
        axis.set_major_formatter("{x:g}")  # powers of ten would need mathematical type, which is off
        axis.set_minor_formatter(NullFormatter())


def _finish_shares(axes: Axes) -> None:
    """Grid, the line of guessing, and an axis that ends at 1."""
    axes.axvline(0.5, color=BLACK, linewidth=0.8, linestyle=":")
    axes.set_xlim(min(axes.get_xlim()[0], 0.45), 1.01)
    axes.grid(axis="x")


def _kd_rows(entry: JsonObject) -> list[tuple[str, Metric]]:
    found = [(row["name"], metric) for row in entry["rows"] for metric in row["metrics"] if metric["name"] == "KD"]
    return [(name, metric) for name, metric in found if not math.isnan(value_of(metric))]


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata=NO_METADATA, facecolor="white")
    return buffer.getvalue()


PLOTS: dict[str, tuple[str, Callable[[Json], Figure | None]]] = {
    "fidelity": ("fidelity", _fidelity),
    "auroc": ("fidelity", _auroc),
    "kd": ("distances", _kernel_distances),
    "sensitivity": ("sensitivity", _sensitivity),
    "sweep": ("sweep", _sweep),
    "utility": ("utility", _utility),
}
