"""A grid on one sheet: alternatives in the words of a prompt, crossed with values of settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cxr.dataset.plan import Plan, build_plan
from cxr.dataset.wishes import check_once
from cxr.folders.sheet import SheetRow, draw_sheet, size_of_sheet
from cxr.generate.planned_image import ImageStore, PlannedImage, Rejection
from cxr.images.pixels import to_8_bits
from cxr.request.errors import RequestError
from cxr.request.events import GeneratedImage
from cxr.request.settings import GRID_AXES, MAX_GRID_IMAGES, SETTINGS

WORDS = {"guidance_scale": "guidance {:g}", "adapter_weight": "LoRA weight {:g}", "num_inference_steps": "{} steps"}
_ALTERNATIVES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class GridLayout:
    """Where each image of a grid stands.

    Args:
        title: what all images have in common.
        columns: what stands above each column; none if there is one column.
        rows: the label of each row, and the numbers of its images in the plan.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.rows), len(self.rows[0][1])


def spell_out(prompt: str) -> list[str]:
    """Every prompt that a text with alternatives stands for: "a {small|large} mass" gives two.

    Raises:
        RequestError: a brace is unmatched.
    """
    parts = _ALTERNATIVES.split(prompt)
    if any(brace in text for text in parts[::2] for brace in "{}"):
        raise RequestError("has an unmatched brace; write alternatives as {small|large}", field="prompt")
    choices = [part.split("|") if place % 2 else [part] for place, part in enumerate(parts)]
    if (count := int(np.prod([len(choice) for choice in choices]))) > MAX_GRID_IMAGES:
        raise RequestError(f"stands for {count:,} prompts; use at most {MAX_GRID_IMAGES}", field="prompt")
    return list(dict.fromkeys(" ".join("".join(chosen).split()) for chosen in product(*choices)))


def build_grid(prompt: str, axes: Mapping[str, Sequence[object]], settings: Mapping[str, object]) -> Plan:
    """The plan of a grid, of at most `MAX_GRID_IMAGES` images.

    Args:
        prompt: may hold alternatives, as `spell_out` reads them.
        axes: of `GRID_AXES`, each with its values; one that is empty or missing stands as the settings say.
        settings: what all images have in common.
    Raises:
        RequestError: a value is not allowed or appears twice, or there are too many images.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        SETTINGS["prompt"].check(prompt)
    check_once(axes)
    grid = {"prompt": spell_out(prompt), **{name: [*axes[name]] for name in GRID_AXES if axes.get(name)}}
    common = {name: value for name, value in settings.items() if name not in grid}
    seed = common.pop("seed", 0)
    return build_plan({"name": "grid", "seed": seed, "settings": common, "grid": grid}, "grid", MAX_GRID_IMAGES)


def layout_of(plan: Plan) -> GridLayout:
    """Where the images of a grid stand: the last setting that changes goes across, the prompts and others down."""
    changing = [name for name, values in plan.grid.items() if len(values) > 1]
    across = changing.pop() if changing and changing[-1] != "prompt" else None
    rows: dict[str, list[int]] = {}
    for image in plan.images:
        label = ", ".join(_named(name, getattr(image.request, name)) for name in changing)
        rows.setdefault(label, []).append(image.index)
    columns = tuple(_named(across, value) for value in plan.grid[across]) if across else ()
    fixed = [name for name in plan.grid if name not in changing and name != across]
    title = ", ".join(_named(name, getattr(plan.images[0].request, name)) for name in fixed)
    return GridLayout(title, columns, tuple((label, tuple(places)) for label, places in rows.items()))


def describe_grid(plan: Plan, form: str, resolution: int | None, step_s: float | None = None) -> str:
    """What a grid comes to, before it is made: images, steps, size of the sheet, time.

    Args:
        plan: of the grid.
        form: in which the model reads prompts.
        resolution: height and width of an image in pixels, if that is known.
        step_s: seconds of a denoising step here, if that is known.
    """
    layout, steps = layout_of(plan), plan.num_steps(form)
    rows, columns = layout.size
    count = f"{len(plan.images)} image{'s' * (len(plan.images) > 1)}"
    text = f"{rows} × {columns} = {count}, {steps:,} steps in all"
    if resolution:
        width, height = size_of_sheet(layout.size, resolution, title=layout.title, columns=layout.columns)
        text += f"; a sheet of {width:,} × {height:,} pixels"
    return text + (f"; about {max(1, round(steps * step_s)):,} s" if step_s else "")


def draw_grid(plan: Plan, pixels: Mapping[int, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The sheet [H, W] uint8; an image that is not there is black.

    Args:
        plan: of the grid.
        pixels: [side, side] of each image by its number, at least one.
    """
    layout, missing = layout_of(plan), np.zeros_like(next(iter(pixels.values())))
    rows = [SheetRow(label, tuple(pixels.get(index, missing) for index in places)) for label, places in layout.rows]
    return draw_sheet(rows, title=layout.title, columns=layout.columns)


class GridStore(ImageStore):
    """The images of a grid, in memory: they are wanted together, on one sheet.

    Attributes:
        pixels: [side, side] uint8 of each image by its number.
        failures: why others are missing.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.pixels: dict[int, NDArray[np.uint8]] = {}
        self.failures: dict[int, str] = {}

    def missing(self) -> Sequence[PlannedImage]:
        """All images, those together that can be made together."""
        return sorted(self.plan.images, key=lambda image: image.request.shared_settings)

    def write(self, image: PlannedImage, made: GeneratedImage, rejected: tuple[Rejection, ...]) -> None:
        """Keep one image."""
        self.pixels[image.index] = to_8_bits(made.pixels)

    def give_up(self, image: PlannedImage, rejected: tuple[Rejection, ...]) -> None:
        """Note that it could not be made."""
        self.failures[image.index] = rejected[-1].reason


def _named(name: str, value: object) -> str:
    return str(value) if name == "prompt" else WORDS.get(name, name.replace("_", " ") + " {}").format(value)
