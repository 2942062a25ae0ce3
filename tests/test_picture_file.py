"""The door for pictures of others: honest ones come through exactly, hostile ones cost little and harm nothing."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import sample_images
from hostile_pictures import GOOD_JPEG, HOSTILE, PIXELS, chunk, compressed_text, png, saved, with_recipe
from PIL import Image

from cxr.images.png import NO_RECIPE, encode_png
from cxr.images.png_text import read_text
from cxr.images.recipe_file import read_recipe_file
from cxr.request.errors import DataError
from cxr.request.events import GeneratedImage

RECIPE = sample_images.RECIPE.to_json().encode()


def written(folder: Path, data: bytes) -> Path:
    path = folder / "upload.png"
    path.write_bytes(data)
    return path


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.parametrize("bits", [8, 16])
def test_the_recipe_of_an_own_image_comes_back_exactly(bits: int, tmp_path: Path) -> None:
    image = sample_images.make_image(0, bit_depth=bits)
    pixels = image.pixels.astype(np.uint16) * 257 if bits == 16 else image.pixels
    data = encode_png(GeneratedImage(0, pixels, image.recipe))
    assert read_recipe_file(written(tmp_path, data), tmp_path) == image.recipe


def test_pictures_of_others_have_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "colour.png"
    Image.new("RGBA", (7, 5), (200, 200, 200, 255)).save(path)
    for foreign in (path, written(tmp_path, GOOD_JPEG)):
        with pytest.raises(DataError, match=NO_RECIPE):
            read_recipe_file(foreign, tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        png(chunk(b"tEXt", b"recipe\0" + RECIPE), PIXELS),
        png(PIXELS, chunk(b"iTXt", b"recipe\0\0\0\0\0" + RECIPE)),
        png(compressed_text(b"zTXt", RECIPE), PIXELS),
        png(compressed_text(b"iTXt", RECIPE), PIXELS),
        # Pixels that are not there or damaged harm nobody: they are not decoded.
        png(chunk(b"iTXt", b"recipe\0\0\0\0\0" + RECIPE), width=2**31 - 1, height=2**31 - 1),
        png(chunk(b"IDAT", b"x\x9c" + bytes(range(64))), chunk(b"tEXt", b"recipe\0" + RECIPE)),
    ],
)
def test_text_of_every_kind_is_read(data: bytes, tmp_path: Path) -> None:
    assert read_recipe_file(written(tmp_path, data), tmp_path) == sample_images.RECIPE


def test_two_recipes_are_one_too_many(tmp_path: Path) -> None:
    twice = png(chunk(b"tEXt", b"recipe\0" + RECIPE), compressed_text(b"zTXt", RECIPE), PIXELS)
    with pytest.raises(DataError, match="damaged"):
        read_recipe_file(written(tmp_path, twice), tmp_path)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pictures_are_refused_fast_and_small(name: str, tmp_path: Path) -> None:
    path, before_mb, began_s = written(tmp_path, HOSTILE[name]), resident_mb(), time.monotonic()
    with pytest.raises(DataError, match="picture") as refusal:
        read_recipe_file(path, tmp_path)
    assert time.monotonic() - began_s < 3
    assert resident_mb() - before_mb < 50
    assert str(tmp_path) not in str(refusal.value)


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) >= 25


def test_a_text_that_is_not_asked_for_is_not_unpacked() -> None:
    assert read_text(io.BytesIO(png(compressed_text(b"zTXt", b"x" * 300_000, b"Comment"), PIXELS)), "recipe") is None


def test_only_regular_files_of_the_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside.png"
    inside.mkdir()
    outside.write_bytes(saved("PNG"))
    (inside / "link.png").symlink_to(outside)
    (inside / "folder.png").mkdir()
    os.mkfifo(inside / "pipe.png")
    for path in (outside, inside / "link.png", inside / ".." / "outside.png", inside / "pipe.png"):
        with pytest.raises(DataError, match="not an uploaded file"):
            read_recipe_file(path, inside)
    for path in (inside / "folder.png", inside / "missing.png"):
        with pytest.raises(DataError, match="picture"):
            read_recipe_file(path, inside)


def test_a_recipe_of_the_wrong_kind_is_one_sentence(tmp_path: Path) -> None:
    for text in ("{", json.dumps({"prompt": 1})):
        with pytest.raises(DataError, match="that this version cannot read: "):
            read_recipe_file(written(tmp_path, with_recipe(text)), tmp_path)
