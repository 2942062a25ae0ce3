"""The door for pictures of others: honest ones come through exactly, hostile ones cost little and harm nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import sample_images
from hostile_pictures import GOOD_JPEG, HOSTILE, LYING_JPEG, PIXELS, chunk, compressed_text, png, saved, with_recipe
from PIL import Image

from cxr.images.picture_file import Picture, read_header, read_picture
from cxr.images.png import encode_png
from cxr.request.errors import DataError
from cxr.request.events import GeneratedImage
from cxr.request.recipe import Recipe


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
    picture = read_picture(written(tmp_path, encode_png(GeneratedImage(0, pixels, image.recipe))), tmp_path)
    assert picture.recipe_text is not None
    assert Recipe.from_json(picture.recipe_text) == image.recipe
    assert (picture.height, picture.width) == pixels.shape


def test_pictures_of_others_are_read_and_have_no_recipe(tmp_path: Path) -> None:
    assert read_picture(written(tmp_path, GOOD_JPEG), tmp_path) == Picture(64, 64)
    path = tmp_path / "colour.png"
    Image.new("RGBA", (7, 5), (200, 200, 200, 255)).save(path)
    assert read_picture(path, tmp_path) == Picture(7, 5)


def test_text_that_is_packed_is_read_too(tmp_path: Path) -> None:
    packed = png(compressed_text(b"zTXt", 1_000), PIXELS)
    assert read_picture(written(tmp_path, packed), tmp_path).recipe_text == "A" * 1_000


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pictures_are_refused_fast_and_small(name: str, tmp_path: Path) -> None:
    path, before_mb, began_s = written(tmp_path, HOSTILE[name]), resident_mb(), time.monotonic()
    with pytest.raises(DataError, match="picture") as refusal:
        read_picture(path, tmp_path)
    assert time.monotonic() - began_s < 3
    assert resident_mb() - before_mb < 50
    assert str(tmp_path) not in str(refusal.value)


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) >= 25


def test_the_largest_that_is_allowed_fits_into_the_child(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (4_000, 4_000)).save(path)
    assert read_picture(path, tmp_path) == Picture(4_000, 4_000)
    with pytest.raises(DataError, match="4,001 × 4,000 pixels; use at most 16 million"):
        read_header(png(chunk(b"IDAT", b""), width=4_001, height=4_000))


def test_a_jpeg_that_lies_about_its_size_costs_no_more_than_one_of_that_size(tmp_path: Path) -> None:
    picture = read_picture(written(tmp_path, LYING_JPEG), tmp_path)
    assert (picture.height, picture.width) == (3_999, 4_000)


def test_only_regular_files_of_the_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside.png"
    inside.mkdir()
    outside.write_bytes(saved("PNG"))
    (inside / "link.png").symlink_to(outside)
    (inside / "folder.png").mkdir()
    os.mkfifo(inside / "pipe.png")
    for path in (outside, inside / "link.png", inside / ".." / "outside.png", inside / "pipe.png"):
        with pytest.raises(DataError, match="not an uploaded file"):
            read_picture(path, inside)
    for path in (inside / "folder.png", inside / "missing.png"):
        with pytest.raises(DataError, match="picture"):
            read_picture(path, inside)


def test_a_recipe_is_only_text_here(tmp_path: Path) -> None:
    assert read_picture(written(tmp_path, with_recipe("{")), tmp_path).recipe_text == "{"
