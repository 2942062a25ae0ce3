"""The mark in the pixels: found after what is done to pictures, not found where it is not, and put on by a model."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sample_dicom import write_dicom

from cxr.generate.images import generate
from cxr.generate.model import load_model
from cxr.images.pixel_mark import FEWEST_BITS, NUM_BITS, find_mark, mark_for
from cxr.images.reading import read_grey
from cxr.provenance.detection import CLAIMED, NOTHING, detect
from cxr.request.errors import ModelError
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest

Picture = NDArray[np.uint8]


def marked(picture: Picture, psnr: float = 44) -> Picture:
    unit = picture / 255
    levels: Picture = np.rint((unit + mark_for(unit, psnr)).clip(0, 1) * 255).astype(np.uint8)
    return levels


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """Two of the embedded model's, without the mark that it puts on."""
    model = load_model("embedded", "clinical")
    assert model.mark_psnr == 44
    model.mark_psnr = None
    request = GenerationRequest("A 55-year-old man with pneumonia", num_images=2, seed=101)
    images = [event for event in generate(request, model) if isinstance(event, GeneratedImage)]
    return [np.asarray(image.pixels, np.uint8) for image in images]


@pytest.fixture(scope="module", params=[0, 1])
def picture(request: pytest.FixtureRequest, pictures: list[Picture]) -> Picture:
    number: int = request.param
    return pictures[number]


def test_shipped_pictures_are_marked() -> None:
    examples = sorted((Path(__file__).parents[1] / "examples").glob("0*.png"))
    assert len(examples) == 8
    for path in examples:
        assert find_mark(read_grey(path)).num_bits >= NUM_BITS - 1


def resized(picture: Picture, height: int, width: int) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def as_jpeg(picture: Picture) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=50)
    return np.asarray(Image.open(file))


DAMAGES: dict[str, Callable[[Picture], Picture]] = {
    "none": lambda picture: picture,
    "JPEG 50": as_jpeg,
    "half the size": lambda picture: resized(picture, 128, 128),
    "three times the size": lambda picture: resized(picture, 768, 768),
    "crop of 20 %": lambda picture: picture[31:236, 7:212],
    "crop of 20 %, enlarged": lambda picture: resized(picture[31:236, 7:212], 256, 256),
    "window": lambda picture: np.rint(((picture / 255 - 0.1) / 0.7).clip(0, 1) ** 1.2 * 255).astype(np.uint8),
    "crop, then JPEG 50": lambda picture: as_jpeg(picture[:205, 40:245]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_mark_is_found_after(damage: str, picture: Picture) -> None:
    assert find_mark(DAMAGES[damage](marked(picture))).num_bits >= NUM_BITS - 3


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_mark_is_found_without_one(damage: str, picture: Picture) -> None:
    found = find_mark(DAMAGES[damage](picture))
    assert not found.is_there
    assert 10 <= found.num_bits <= 38


def test_another_mark_is_none(picture: Picture) -> None:
    other = np.rint((picture / 255 + mark_for(picture / 255, 44)[::-1]).clip(0, 1) * 255).astype(np.uint8)
    assert not find_mark(other).is_there


@pytest.mark.parametrize("psnr", [36, 44, 60])
@pytest.mark.parametrize("shape", [(256, 256), (200, 256), (512, 384)])
def test_its_strength_is_what_was_asked_for(psnr: float, shape: tuple[int, int], picture: Picture) -> None:
    mark = mark_for(resized(picture, *shape) / 255, psnr)
    assert mark.shape == shape
    assert float((mark**2).mean()) == pytest.approx(10 ** (-psnr / 10))


def test_large_pictures_are_marked_and_found_as_small_ones_are(picture: Picture) -> None:
    large = marked(resized(picture, 512, 512))
    assert find_mark(large).is_there
    assert find_mark(resized(large, 256, 256)).is_there


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (3, 2), (256, 256)])
def test_a_picture_without_detail_holds_no_mark(shape: tuple[int, int]) -> None:
    assert not find_mark(np.full(shape, 90, np.uint8)).is_there


def test_its_patterns_stay_what_they_are() -> None:
    """Pictures of today are to be found by every later version."""
    first = [0.096624, -0.070757, 0.200186, 0.092884, 0.102012, -0.198595, 0.061881, 0.079201, -0.053684]
    mark = mark_for(np.zeros((256, 256)), 20)
    assert mark[::97, ::97].ravel() == pytest.approx(first, abs=1e-5)


def images_of(folder: Path, bit_depth: int) -> list[GeneratedImage]:
    request = GenerationRequest("chest x-ray with pneumonia", num_images=2, num_inference_steps=2, bit_depth=bit_depth)
    return [event for event in generate(request, load_model(str(folder), "none")) if isinstance(event, GeneratedImage)]


@pytest.fixture
def model_dir(tiny_model_dir: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model_dir, tmp_path / "tiny")


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_a_model_marks_if_its_folder_says_so(model_dir: Path, bit_depth: int) -> None:
    plain = images_of(model_dir, bit_depth)
    (model_dir / "pixel_mark.json").write_text(json.dumps({"psnr": 44}))
    with_mark = images_of(model_dir, bit_depth)
    for before, after in zip(plain, with_mark, strict=True):
        difference = (after.pixels.astype(float) - before.pixels) / (2**bit_depth - 1)
        assert 10 * np.log10(1 / (difference**2).mean()) == pytest.approx(44, abs=1)
        assert after.recipe.model_revision != before.recipe.model_revision


@pytest.mark.parametrize("settings", [{"psnr": 20}, {"psnr": 61}, {"psnr": "a"}, {"psnr": None}, {}, [], 44])
def test_a_strength_that_is_none_is_refused(settings: object, model_dir: Path) -> None:
    (model_dir / "pixel_mark.json").write_text(json.dumps(settings))
    with pytest.raises(
        ModelError, match=r"pixel_mark\.json.* (not \{\"psnr\": a number from 36 to 60\}|not a JSON object)"
    ):
        load_model(str(model_dir), "none")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".dcm"])
@pytest.mark.usefixtures("without_child")
def test_detect_finds_it_where_nothing_else_is_left(suffix: str, picture: Picture, tmp_path: Path) -> None:
    for name, pixels, verdict in (("marked", marked(picture), CLAIMED), ("plain", picture, NOTHING)):
        path = tmp_path / f"{name}{suffix}"
        if suffix == ".dcm":
            write_dicom(path, pixels.astype(np.uint16) * 16)
        else:
            Image.fromarray(pixels).save(path)
        found = detect(path, b"")
        assert found.verdict == verdict
        claims = [one.text for one in found.evidence if one.kind == "claim"]
        assert [text.partition(" (")[0] for text in claims] == ["its pixels carry this program's mark"] * len(claims)
        assert f"has {FEWEST_BITS}" in "".join(claims) or verdict == NOTHING


def test_what_has_no_pixels_is_not_searched_and_said_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    (remark,) = [one for one in detect(tmp_path / "notes.txt", b"").evidence if "pixels" in one.text]
    assert remark.text == "its pixels cannot be read, and were not searched for this program's mark"
