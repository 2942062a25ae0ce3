"""PNG: pixels and recipe read back equal, foreign files are refused."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hostile_pictures import PIXELS, png
from PIL import Image
from sample_images import RECIPE, make_image

from cxr.images.png import encode_png, read_recipe
from cxr.images.reading import read_grey, read_levels
from cxr.request.errors import DataError
from cxr.request.events import GeneratedImage
from cxr.request.notices import DIGITAL_SOURCE_TYPE


@pytest.mark.parametrize(
    "prompt", ["pneumonia", "épanchement pleural", "肺炎\nصدر", 'a "quoted" <b>&amp;</b> \u2028 text']
)
def test_png_gives_back_pixels_and_recipe(prompt: str, tmp_path: Path) -> None:
    image = make_image(0, prompt=prompt)
    data = encode_png(image)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == "L"
        assert np.array_equal(np.asarray(opened), image.pixels)
    assert read_recipe(data) == image.recipe
    (tmp_path / "image.png").write_bytes(data)
    assert read_recipe(tmp_path / "image.png") == image.recipe
    assert encode_png(image) == data


def test_png_says_twice_that_it_is_synthetic() -> None:
    with Image.open(io.BytesIO(encode_png(make_image(0)))) as opened:
        assert opened.info["Software"].startswith("CXR Studio")
        assert "Synthetic" in opened.info["Warning"]
        packet = ElementTree.fromstring(opened.info["XML:com.adobe.xmp"].encode())
    field = packet.find(".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert field is not None
    assert field.text == DIGITAL_SOURCE_TYPE
    assert DIGITAL_SOURCE_TYPE.endswith("/trainedAlgorithmicMedia")


def test_pixels_of_another_kind_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="uint8"):
        encode_png(GeneratedImage(0, np.zeros((4, 4), np.float32), RECIPE))  # type: ignore[arg-type]


def test_16_bits_come_back_as_they_were(tmp_path: Path) -> None:
    pixels = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    path = tmp_path / "deep.png"
    path.write_bytes(encode_png(GeneratedImage(0, pixels, RECIPE)))
    assert np.array_equal(read_levels(path), pixels)
    assert np.array_equal(read_grey(path), np.round(pixels / 257))
    assert read_recipe(path) == RECIPE


def _png_with(recipe: str | None) -> bytes:
    from PIL import PngImagePlugin

    text = PngImagePlugin.PngInfo()
    if recipe is not None:
        text.add_itxt("recipe", recipe)
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read as a PNG"),
        (b"BM" + bytes(60), "cannot be read as a PNG"),
        (encode_png(make_image(0))[:60], "cannot be read as a PNG|holds no recipe"),
        (encode_png(make_image(0))[:40] + b"\xff" * 400, "cannot be read as a PNG"),
        (_png_with(None), "holds no recipe"),
        (_png_with("not JSON"), "a recipe that this version cannot read"),
        (_png_with("[1]"), "a recipe that this version cannot read"),
        (_png_with("[" * 100_000), "a recipe that this version cannot read"),
        (_png_with('{"prompt": "only"}'), "a recipe that this version cannot read"),
    ],
)
def test_foreign_or_damaged_png_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_recipe(data)


@pytest.mark.parametrize("width", [4_000, 2**31 - 1])
def test_a_picture_with_other_pixels_than_its_header_says_is_refused(width: int, tmp_path: Path) -> None:
    path = tmp_path / "odd.png"
    path.write_bytes(png(PIXELS, width=width, height=width))
    with pytest.raises(DataError, match=r"odd\.png cannot be read as an image"):
        read_levels(path)


def test_missing_png_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png cannot be read as a PNG: no such file"):
        read_recipe(tmp_path / "gone.png")
