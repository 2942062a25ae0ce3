"""The card of a data set and its pictures: what is in it, how it was made, what it is not."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxr.dataset.pairs import PairFigures
from cxr.dataset.plan import NOT_SAID, Plan, counted_under
from cxr.folders.sheet import SheetRow, draw_sheet, encode_sheet
from cxr.generate.planned_image import PlannedImage
from cxr.images.reading import read_grey
from cxr.request.notices import SYNTHETIC_NOTICE
from cxr.request.settings import PLAN_SETTINGS

COLUMNS, MAX_ROWS, MAX_CHARACTERS = 6, 15, 200
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#B4B4B4"  # Okabe and Ito's, which colour-blind readers can tell apart
SEXES = {"F": ("women", ORANGE), "M": ("men", BLUE), None: (NOT_SAID, GREY)}


def card_files(
    plan: Plan,
    images: Sequence[PlannedImage],
    paths: Mapping[int, Path],
    facts: Mapping[str, object],
    pairs: Mapping[str, tuple[int, PairFigures]],
) -> dict[str, bytes]:
    """The card and what it shows.

    Args:
        images: that were made.
        paths: where each is, by index.
        facts: of the manifest.
        pairs: by what was changed the number of pairs and their mean figures.
    Returns:
        Name in the data set -> content.
    """
    files = {"plots/counts.png": _counts_plot(images), "plots/samples.png": _samples(images, paths)}
    if plan.grid:
        files["plots/grid.png"] = _grid(plan, images, paths)
    environment = Environment(
        loader=PackageLoader("cxr.dataset"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = plain
    text = environment.get_template("card.md.j2").render(
        facts=facts,
        name=plan.name,
        notice=SYNTHETIC_NOTICE,
        size=next((words for limit, words in SIZES if len(images) < limit), "n>1M"),
        splits=list(dict.fromkeys(image.split for image in images)),
        tables={of: _table(images, of) for of in (*plan.tables[:-1], "age")},
        settings=_settings(images),
        has_grid=bool(plan.grid),
        pairs=pairs,
        has_16_bits=any(image.request.bit_depth == 16 for image in images),
    )
    return files | {"README.md": text.encode()}


def plain(text: str) -> str:
    """A user's text as one line that Markdown, HTML and YAML treat as plain text."""
    kept = "".join(character if character.isalnum() or character in " .,-_()" else " " for character in text)
    return " ".join(kept.split())[:MAX_CHARACTERS]


def _table(images: Sequence[PlannedImage], of: str) -> list[tuple[str, dict[str, int]]]:
    """Value -> split -> images."""
    tally: dict[str, Counter[str]] = {}
    for image in images:
        for value in counted_under(image, of):
            tally.setdefault(value, Counter())[image.split] += 1
    return [(value, dict(tally[value])) for value in sorted(tally, key=lambda value: (value == NOT_SAID, value))]


def _settings(images: Sequence[PlannedImage]) -> list[tuple[str, str]]:
    rows = []
    for name in PLAN_SETTINGS:
        values = sorted({getattr(image.request, name) for image in images})
        if name == "negative_prompt":
            used = sum(bool(value) for value in values)
            rows.append((name, f"{used} different" if used else "none"))
        elif name == "reword":
            rows.append((name, " and ".join("yes" if value else "no" for value in values)))
        else:
            rows.append((name, ", ".join(f"{value:g}" for value in values)))
    return rows


def _counts_plot(images: Sequence[PlannedImage]) -> bytes:
    """Images of each finding and of each age, by sex."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9, 4), dpi=100, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _bars(left, images, "findings", "images")
        _bars(right, images, "age", "images, by age in years")
        if right.get_legend_handles_labels()[0]:  # matplotlib warns where no image has a sex
            right.legend(frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _bars(axes: Axes, images: Sequence[PlannedImage], of: str, title: str) -> None:
    names = [value for value, _ in _table(images, of)]
    before = [0] * len(names)
    for sex, (word, colour) in SEXES.items():
        tally = Counter(value for image in images if image.labels.sex == sex for value in counted_under(image, of))
        if tally:
            numbers = [tally[name] for name in names]
            axes.barh([name.replace("_", " ") for name in names], numbers, left=before, color=colour, label=word)
            before = [total + number for total, number in zip(before, numbers, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel(title)


def sampled(images: Sequence[PlannedImage]) -> dict[str, list[PlannedImage]]:
    """Some images of each finding, by its name, for the picture of samples: the first of the plan, not chosen."""
    rows: dict[str, list[PlannedImage]] = {}
    for image in images:
        row = rows.setdefault(" + ".join(counted_under(image, "findings")).replace("_", " "), [])
        if len(row) < COLUMNS:
            row.append(image)
    return dict(list(rows.items())[:MAX_ROWS])


def _samples(images: Sequence[PlannedImage], paths: Mapping[int, Path]) -> bytes:
    return _sheet([(name, [paths[image.index] for image in row]) for name, row in sampled(images).items()])


def _grid(plan: Plan, images: Sequence[PlannedImage], paths: Mapping[int, Path]) -> bytes:
    """Every image of a grid: the last setting that changes goes across, the others down."""
    changing = [name for name, values in plan.grid.items() if len(values) > 1] or ["seed"]

    def named(name: str, value: object) -> str:
        # Prompts by their place in the plan: the picture stays readable, and they stay out of it.
        return f"prompt {plan.grid['prompt'].index(value) + 1}" if name == "prompt" else f"{name} {value:g}"

    across = ", ".join(named(changing[-1], value) for value in plan.grid.get(changing[-1], ()))
    rows: dict[str, list[Path]] = {}
    for image in images:
        down = ", ".join(named(name, getattr(image.request, name)) for name in changing[:-1])
        rows.setdefault(f"{down}   across: {across}".strip(), []).append(paths[image.index])
    return _sheet(list(rows.items()))


def _sheet(rows: Sequence[tuple[str, list[Path]]]) -> bytes:
    drawn = [SheetRow(label, tuple(read_grey(path) for path in files)) for label, files in rows if files]
    return encode_sheet(draw_sheet(drawn) if drawn else np.zeros((8, 8), np.uint8))  # not one image could be made
