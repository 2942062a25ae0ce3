"""Marks and axes that the plots of a report share, in colours that colour-blind readers tell apart (Okabe and Ito)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from cxr.evaluate.report.figure_cells import Metric, value_of

# Each series has a marker of its own as well.
BLUE, ORANGE, GREEN, PURPLE, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#222222", "#B4B4B4"


def dots(
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


def stretch(axes: Axes, side: str, values: Sequence[float]) -> None:
    """A logarithmic axis where positive values span more than a decade."""
    if min(values) > 0 and max(values) > 20 * min(values):
        axes.set(**{f"{side}scale": "log"})
        axis = axes.xaxis if side == "x" else axes.yaxis
        axis.set_major_formatter("{x:g}")  # powers of ten would need mathematical type, which is off
        axis.set_minor_formatter(NullFormatter())


def finish_shares(axes: Axes) -> None:
    """Grid, the line of guessing, and an axis that ends at 1."""
    axes.axvline(0.5, color=BLACK, linewidth=0.8, linestyle=":")
    axes.set_xlim(min(axes.get_xlim()[0], 0.45), 1.01)
    axes.grid(axis="x")
