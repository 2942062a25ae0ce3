"""The report's plots as SVG: the same report always gives the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from cxr.evaluate.image_set import GENERATION_SETTINGS
from cxr.evaluate.report.figure_cells import Metric, settings_of, spoken, value_of
from cxr.evaluate.report.plot_marks import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, dots, finish_shares, stretch
from cxr.metrics.result import Json, JsonObject

WIDTH = 4.8  # inches; narrow, so that letters stay readable when a phone shrinks the plot
SERIES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "D"), (PURPLE, "^"), (BLACK, "v"), ("#E69F00", "P"), ("#56B4E9", "X"))
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
        dots(axes, columns[name], colour, marker, words, hollow=True)
    colours = [BLUE if attribute["judgeable"] else GREY for attribute in attributes]
    dots(axes, columns[filled[0]], colours, "o", filled[1])
    axes.set_xlabel(label)
    finish_shares(axes)
    figure.legend(loc="outside upper left", ncols=ncols)
    return figure


def _kernel_distances(part: Sequence[JsonObject]) -> Figure | None:
    shown = [(entry["extractor"]["name"], rows) for entry in part if (rows := _kd_rows(entry))]
    if not shown:
        return None
    heights = [1 + len(rows) for _, rows in shown]
    figure = Figure(figsize=(WIDTH, sum(0.47 + 0.28 * height for height in heights)), layout="constrained")
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, rows) in zip(panels, shown, strict=True):
        colours = [SERIES[index % len(SERIES)][0] for index in range(len(rows))]
        dots(axes, [metric for _, metric in rows], colours, "o", "")
        axes.set_yticks(range(len(rows)), [row for row, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        stretch(axes, "x", [value_of(metric) for _, metric in rows])
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
        stretch(axes, "y", [value_of(value) for entry in entries for value in entry["kd"]])
        axes.set_xticks(range(1, max(len(entry["kd"]) for entry in entries) + 1))
        axes.set(xlabel="level of degradation, 1 = mildest", ylabel="KD (no unit)", title=f"extractor “{name}”")
        axes.grid()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3)
    return figure


def _sweep(part: JsonObject) -> Figure | None:
    parameter, points = part["parameter"], part["points"]
    others = [name for name in GENERATION_SETTINGS if name != parameter]
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
    dots(axes, macro, BLUE, "o", "mean over labels, 95 % interval")
    axes.set_yticks(range(len(rows)), [row["arm"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("AUROC on real test images (0.5 = guessing)")
    finish_shares(axes)
    figure.legend(loc="outside upper left", ncols=2)
    return figure


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
