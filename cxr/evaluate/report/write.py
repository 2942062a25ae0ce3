"""A finished evaluation -> a folder: figures for programs, pages for people, plots and pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.report.plots import draw_plots
from cxr.evaluate.report.render import render
from cxr.images.atomic import write_whole
from cxr.images.png import plain_png
from cxr.images.png_text import PNG_SIGNATURE
from cxr.metrics.result import JsonObject, to_json, to_plain
from cxr.request.errors import RequestError

PICTURE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

Picture = NDArray[np.uint8] | bytes


def write_report(
    report: Mapping[str, object], output: Path, pictures: Mapping[str, Picture] | None = None
) -> list[Path]:
    """Write a report: ``report.json``, ``report.md``, ``report.html``, ``plots/*.svg`` and ``pictures/*.png``.

    The same report gives the same bytes. All files show the same figures, rounded to six significant digits.

    Args:
        report: what was measured, by part; a part that was not measured is None.
        output: the folder, made if it is not there; its files of the same names are replaced.
        pictures: name -> [H, W] uint8 (grey) or [H, W, 3] uint8 (RGB), or the bytes of a PNG. One with "pair" in its
            name is shown with the copies, any other at the top.
    Returns:
        The files, `report.json` first.
    Raises:
        RequestError: a picture's name or content cannot be used.
        OutputError: the folder cannot be written.
    """
    plain = to_plain(report)
    images = {name: _as_png(name, picture) for name, picture in sorted((pictures or {}).items())}
    plots = draw_plots(plain)
    files = _pages("report", plain, plots, images, "body.j2")
    files |= {f"plots/{name}.svg": svg for name, svg in plots.items()}
    files |= {f"pictures/{name}.png": png for name, png in images.items()}
    return _write(files, output)


def write_comparison(comparison: Mapping[str, object], output: Path, name: str = "comparison") -> list[Path]:
    """Write tables: ``NAME.json``, ``NAME.md`` and ``NAME.html``.

    Args:
        comparison: of models, as `cxr.evaluate.compare.compare_models` gives it; or what ``name`` says.
        output: folder for the files.
        name: "comparison", or "few_real" for what `cxr.evaluate.few_real.compare_few_real` gives.
    Raises:
        OutputError: the folder cannot be written.
    """
    return _write(_pages(name, to_plain(comparison), {}, {}, f"{name}.j2"), output)


def _pages(
    name: str, plain: JsonObject, plots: Mapping[str, bytes], pictures: Mapping[str, bytes], body: str
) -> dict[str, bytes]:
    kinds = {"markdown": "md", "html": "html"}
    pages = {f"{name}.{suffix}": render(kind, plain, plots, pictures, body).encode() for kind, suffix in kinds.items()}
    return {f"{name}.json": to_json(plain)} | pages


def _write(files: Mapping[str, bytes], output: Path) -> list[Path]:
    for name, content in files.items():
        write_whole(output / name, content)
    return [output / name for name in files]


def _as_png(name: str, picture: Picture) -> bytes:
    if not PICTURE_NAME.fullmatch(name):
        raise RequestError(f"the picture's name is {name!r}; use letters, digits, _ and - only")
    if isinstance(picture, bytes):
        if not picture.startswith(PNG_SIGNATURE):
            raise RequestError(f"the picture {name} is not a PNG; give the bytes of a PNG or an array")
        return picture
    if picture.dtype != np.uint8 or picture.ndim not in {2, 3} or picture.shape[2:] not in {(), (3,)}:
        raise RequestError(
            f"the picture {name} is {picture.dtype} {list(picture.shape)}; use uint8 [H, W] or [H, W, 3]"
        )
    return plain_png(picture)
