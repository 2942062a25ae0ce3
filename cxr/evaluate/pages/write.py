"""A finished evaluation -> a folder: figures for programs, pages for people, plots and pictures."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.evaluate.pages.plots import draw_plots
from cxr.evaluate.pages.render import render
from cxr.images.atomic import atomic_file, cannot_write
from cxr.request.errors import RequestError

SIGNIFICANT_DIGITS = 6
PICTURE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

Picture = NDArray[np.uint8] | bytes


def write_report(report: dict[str, Any], output: Path, pictures: Mapping[str, Picture] | None = None) -> list[Path]:
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
    files = {"report.json": _as_json(plain)}
    files["report.md"] = render("markdown", plain, plots, images).encode()
    files["report.html"] = render("html", plain, plots, images).encode()
    files |= {f"plots/{name}.svg": svg for name, svg in plots.items()}
    files |= {f"pictures/{name}.png": png for name, png in images.items()}
    return [_write(output / name, data) for name, data in files.items()]


def write_json(value: Any, path: Path) -> Path:
    """Write one result, in the same way as ``report.json``.

    Raises:
        OutputError: the file cannot be written.
    """
    return _write(path, _as_json(to_plain(value)))


def to_plain(value: Any) -> Any:
    """Turn results into what JSON can say.

    Dataclasses become objects; arrays, named tuples and other sequences lists; paths text with forward slashes; floats
    six significant digits; what is not finite null.

    Raises:
        TypeError: a value of another kind.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, (np.generic, np.ndarray)):
        return to_plain(value.tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [to_plain(item) for item in value]
    raise TypeError(f"a report cannot hold a {type(value).__name__}")


def _as_json(plain: Any) -> bytes:
    # Keys are sorted so that equal reports are equal files.
    text = json.dumps(plain, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


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
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    with atomic_file(path) as file:
        file.write(data)
    return path
