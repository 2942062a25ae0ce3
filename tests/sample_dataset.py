"""A small finished data set, made by hand, for the tests of what reads one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from sample_images import RECIPE

from cxr.folders.metadata import image_name
from cxr.images.png import encode_png
from cxr.request.events import GeneratedImage, GreyLevels
from cxr.request.notices import DIGITAL_SOURCE_TYPE, SYNTHETIC_NOTICE
from cxr.request.recipe import Recipe

# Split, findings, age, sex, view; not in the order of the splits, and with everything that may be unsaid.
IMAGES: tuple[tuple[str, list[str] | None, int | None, str | None, str | None], ...] = (
    ("train", ["Effusion"], 55, "M", "PA"),
    ("validation", ["Edema", "Mass"], 7, "F", "AP"),
    ("train", [], None, "F", "AP"),
    ("train", None, 81, None, None),
)
FIRST_SEED = 123


def pixels_of(index: int, bit_depth: int = 8) -> GreyLevels:
    """[6, 5]: not square, of an odd number of bytes, and with the darkest and the brightest level."""
    chance = np.random.default_rng(index)
    if bit_depth == 8:
        levels: GreyLevels = chance.integers(0, 256, (6, 5), dtype=np.uint8)
    else:
        levels = chance.integers(0, 65536, (6, 5), dtype=np.uint16)
    levels[0, :2] = 0, 2**bit_depth - 1
    return levels


def make_dataset(directory: Path, bit_depth: int = 8) -> None:
    """Write the folder as ``python -m cxr dataset`` leaves it."""
    lines: dict[str, list[str]] = {}
    for index, labels in enumerate(IMAGES):
        split = labels[0]
        (directory / split).mkdir(parents=True, exist_ok=True)
        lines.setdefault(split, []).append(_write_image(directory, index, bit_depth))
    for split, rows in lines.items():
        (directory / split / "metadata.jsonl").write_bytes("".join(rows).encode())
    (directory / "plots").mkdir()
    (directory / "plots" / "ages.png").write_bytes(bytes(range(256)) * 10)
    (directory / "README.md").write_bytes(b"# Card\n")
    (directory / "labels.csv").write_bytes(b"file_name,Effusion\n")
    write_manifest(directory)


def write_manifest(directory: Path, **changes: Any) -> None:
    """List every file of the folder as it is now, so that a change to it counts as meant."""
    (directory / "manifest.json").unlink(missing_ok=True)
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    rows = [
        {
            "file_name": path.relative_to(directory).as_posix(),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size_bytes": path.stat().st_size,
        }
        for path in files
    ]
    manifest = {
        "format": 1,
        "name": "sample",
        "notice": SYNTHETIC_NOTICE,
        "digital_source_type": DIGITAL_SOURCE_TYPE,
        "files": rows,
    }
    (directory / "manifest.json").write_text(json.dumps(manifest | changes, indent=2), encoding="utf-8")


def tree(directory: Path) -> dict[str, bytes]:
    """Every file below a folder, by its name there."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


def _write_image(directory: Path, index: int, bit_depth: int) -> str:
    split, findings, age, sex, view = IMAGES[index]
    seed = FIRST_SEED + index
    settings = vars(RECIPE) | {"prompt": f"Übung {index}: “PA view”", "seed": seed, "bit_depth": bit_depth}
    recipe = Recipe(**settings)
    png = encode_png(GeneratedImage(index, pixels_of(index, bit_depth), recipe))
    name = image_name(index, seed)
    (directory / split / name).write_bytes(png)
    labels = {
        "patient_id": f"SYN{index:07d}",
        "findings": "" if findings is None else "|".join(findings) or "No Finding",
        "age": "" if age is None else str(age),
        "sex": sex or "",
        "view": view or "",
    }
    row = {"file_name": name, **asdict(recipe), **labels, "sha256": hashlib.sha256(png).hexdigest()}
    return json.dumps(row, ensure_ascii=False) + "\n"
