"""Images with recipes, and disks that fail, for the tests of exporters."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr.folders.image_folder import ImageFolder
from cxr.request.events import GeneratedImage
from cxr.request.recipe import Recipe

RECIPE = Recipe(
    prompt="A 55-year-old man with pneumonia",
    negative_prompt="",
    seed=7,
    num_inference_steps=8,
    guidance_scale=3.0,
    scheduler="UniPCMultistepScheduler",
    model="embedded",
    model_revision="sha256:00",
    adapter="clinical",
    adapter_sha256="11",
    adapter_weight=1.0,
    width=32,
    height=32,
    weight_dtype="float32",
    device="cpu",
    micro_batch_size=1,
    library_versions={"torch": "2.13.0"},
)


def make_image(index: int, seed: int | None = None, **changes: Any) -> GeneratedImage:
    seed = 7 + index if seed is None else seed
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8)
    return GeneratedImage(index, pixels, Recipe(**(vars(RECIPE) | {"seed": seed} | changes)))


def fill(directory: Path, count: int = 4) -> None:
    with ImageFolder(directory) as folder:
        for index in range(count):
            folder.write(make_image(index))


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder and of those in it, by its path in there."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def failing(name: str, call: int, code: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the n-th call of a function of ``os`` fail as the system would; a failing write leaves half its bytes."""
    real, calls = getattr(os, name), 0

    def fail(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < call:
            return real(*arguments, **options)
        if name == "write":
            real(arguments[0], arguments[1][: len(arguments[1]) // 2])
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        yield


# Per image: file, its folder entry (fsync 1, 2), line (write 1, fsync 3).
