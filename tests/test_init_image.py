"""Images that begin from a picture: reading it, its latents and region, the recipe, the command line, data sets."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pydicom
import pytest
import sample_images
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from numpy.typing import NDArray
from PIL import Image
from sample_dataset import make_dataset
from tiny_families import BUILDERS, save_tiny
from tiny_model import build_tiny_pipeline

from cxr.commands.main import main
from cxr.commands.restore import PICTURE
from cxr.dataset.plan import build_plan
from cxr.dataset.reproduce import IDENTICAL, Reproducer
from cxr.folders.dataset_reader import read_dataset
from cxr.folders.dicom import SyntheticPatient, encode_dicom
from cxr.folders.foreign_image import read_foreign
from cxr.generate.images import generate, generate_each
from cxr.generate.init_latents import encode_picture, fade, put_back, region_of
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.images.init_picture import read_init_picture, read_mask
from cxr.images.png import XMP_KEY, encode_png, read_recipe
from cxr.images.squares import fit_square
from cxr.labels.vocabulary import UNKNOWN
from cxr.models.families.family import SCHEDULERS
from cxr.request.errors import DataError, RequestError
from cxr.request.events import FailedImage, GeneratedImage
from cxr.request.generation_request import GenerationRequest
from cxr.request.init_image import MAX_SIDE, InitImage, hash_of
from cxr.request.mask_cells import CELLS, check_cells, read_mask_cells, write_cells
from cxr.request.notices import COMPOSITE_SOURCE_TYPE, DERIVED_NOTICE
from cxr.request.recipe import OF_DERIVED, Recipe

PROMPT = "A 55-year-old man with pneumonia"
LEFT_HALF = " ".join(f"{row}:0-7" for row in range(CELLS))


def picture_of(pixels: NDArray[np.uint8]) -> InitImage:
    return InitImage(pixels.shape[1], pixels.shape[0], pixels.tobytes(), hash_of(pixels))


def noisy(height: int = 32, width: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


START = picture_of(noisy())
REQUEST = GenerationRequest(PROMPT, seed=7, num_inference_steps=4, guidance_stop=1.0, init_image=START, strength=0.5)


def image_of(request: GenerationRequest, model: LoadedModel) -> GeneratedImage:
    (event,) = (event for event in generate(request, model) if isinstance(event, (GeneratedImage, FailedImage)))
    assert isinstance(event, GeneratedImage)
    return event


# What is asked for


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ("  ", ""),
        ("4:10", "4:10"),
        ("5:9,11-14 4:10-13", "4:10-13 5:9,11-14"),
        ("4:1 4:2 4:3", "4:1-3"),
        ("0:0-15", "0:0-15"),
        ([], ""),
        ([[4, 10]], "4:10"),
        ([(4, 10), (4, 11), (4, 10)], "4:10-11"),
        ([[15, 15], [0, 0]], "0:0 15:15"),
    ],
    ids=str,
)
def test_a_region_has_one_way_to_be_written(value: Any, text: str) -> None:
    assert check_cells(value) == text
    assert check_cells(text) == text
    assert write_cells(read_mask_cells(text)) == text


@pytest.mark.parametrize(
    "value",
    [
        *(
            "4",
            "4:",
            ":4",
            "4:16",
            "16:4",
            "4:3-1",
            "04:010",
            "4:1-",
            "4:-1",
            "4:1;2",
            "a:b",
            "4:1,",
            "4.5:1",
            "4:1\n5:x",
            "x" * 3_000,
        ),
        *(None, 7, {}, True, {"4": 1}, [4, 10], [[4]], [[4, 10, 1]], ["4:10"], [[4, "10"]], [[4, 10.0]], [[True, 1]]),
        *([[16, 0]], [[0, -1]], [[0, 0]] * 257, [None]),
    ],
    ids=lambda value: str(value)[:20],
)
def test_other_regions_are_one_sentence(value: Any) -> None:
    with pytest.raises(RequestError, match=r"^mask_cells has .*rows of cells with their columns, 0 to 15") as refusal:
        check_cells(value)
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_image": None, "mask_cells": ""}, "strength only applies where images begin from a picture"),
        ({"init_image": None, "strength": 0.75, "mask_cells": "4:1"}, "mask_cells only applies where"),
        ({"init_image": "a.png"}, "init_image is str; give a PNG, JPEG or DICOM file"),
        ({"init_image": noisy()}, "init_image is ndarray"),
        ({"strength": 1.1}, "strength is 1.1; use a number from 0.0 to 1.0"),
        ({"strength": -0.1}, "strength is -0.1"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"strength": True}, "strength is True"),
        ({"strength": "0.5"}, "strength is '0.5'"),
        ({"strength": 0.0}, "strength is 0, which leaves none of 4 steps; use 0.25 or more, or more steps"),
        ({"strength": 0.24}, "strength is 0.24, which leaves none of 4 steps"),
        ({"strength": 0.333, "num_inference_steps": 3}, r"leaves none of 3 steps; use 0.334 or more"),
    ],
    ids=str,
)
def test_requests_that_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        dataclasses.replace(REQUEST, **changes)


@pytest.mark.parametrize("steps", range(1, 101))
def test_the_least_strength_that_is_named_is_enough(steps: int) -> None:
    with pytest.raises(RequestError) as refusal:
        dataclasses.replace(REQUEST, num_inference_steps=steps, strength=0)
    least = float(str(refusal.value).split("use ")[1].split(" or")[0])
    assert dataclasses.replace(REQUEST, num_inference_steps=steps, strength=least).num_steps_taken == 1


@pytest.mark.parametrize(
    "values",
    [
        (0, 4, b"", "0" * 64),
        (2, 2, b"abc", "0" * 64),
        (1, 1, b"a", "0"),
        (MAX_SIDE + 1, 1, b"a" * (MAX_SIDE + 1), "0" * 64),
    ],
    ids=["empty", "too short", "no hash", "too wide"],
)
def test_what_is_no_picture_cannot_be_begun_from(values: tuple[Any, ...]) -> None:
    with pytest.raises(RequestError, match="init_image is not a picture"):
        InitImage(*values)


# What is made


@pytest.mark.parametrize("strength", [0.25, 0.5, 0.6, 1.0])
def test_images_are_those_of_the_diffusers_pipeline(strength: float, tiny_base_model: LoadedModel) -> None:
    model = tiny_base_model
    latents = encode_picture(START, model)
    pipeline = StableDiffusionImg2ImgPipeline(**model.pipeline.components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    options: Any = {"num_inference_steps": 4, "strength": strength, "guidance_scale": REQUEST.guidance_scale}
    generator = torch.Generator().manual_seed(7)
    made = pipeline(PROMPT, image=latents, generator=generator, output_type="np", negative_prompt="", **options).images
    ours = image_of(dataclasses.replace(REQUEST, strength=strength), model).pixels
    assert np.array_equal(ours, (made[0, :, :, 0] * 255).round().astype(np.uint8))


def test_latents_are_those_of_the_picture_alone(tiny_base_model: LoadedModel) -> None:
    vae = tiny_base_model.pipeline.vae
    latents = encode_picture(START, tiny_base_model)
    with torch.inference_mode():
        square = torch.from_numpy(noisy()).float()[None, None] / 127.5 - 1
        expected = vae.encode(square).latent_dist.mean * vae.config.scaling_factor
    assert torch.equal(latents, expected)
    twice = torch.cat([latents, encode_picture(picture_of(noisy(seed=1)), tiny_base_model)])
    assert torch.equal(twice[:1], latents)
    assert not torch.equal(twice[1:], latents)


@pytest.mark.parametrize("mask_cells", ["", LEFT_HALF])
def test_an_image_depends_on_its_seed_picture_and_region_alone(mask_cells: str, tiny_model_dir: Path) -> None:
    model = load_model(str(tiny_model_dir), "none", micro_batch_size=4)
    request = dataclasses.replace(REQUEST, mask_cells=mask_cells)
    alone = image_of(request, model).pixels
    assert np.array_equal(image_of(request, model).pixels, alone)
    other = dataclasses.replace(request, seed=8, init_image=picture_of(noisy(seed=1)), mask_cells=mask_cells and "3:4")
    events = generate_each([other, request, dataclasses.replace(other, prompt="effusion")], model)
    images = [event for event in events if isinstance(event, GeneratedImage)]
    assert np.array_equal(images[1].pixels, alone)
    assert not np.array_equal(images[0].pixels, alone)
    for change in ({"seed": 8}, {"strength": 1.0}, {"init_image": other.init_image}, {"prompt": "effusion"}):
        assert not np.array_equal(image_of(dataclasses.replace(request, **change), model).pixels, alone), change


def test_only_the_last_steps_are_taken(tiny_base_model: LoadedModel) -> None:
    for steps, strength, taken in ((4, 0.5, 2), (8, 0.6, 4), (8, 0.75, 6), (61, 0.5, 31), (5, 1.0, 5)):
        request = dataclasses.replace(REQUEST, num_inference_steps=steps, strength=strength)
        events = [event for event in generate(request, tiny_base_model) if not isinstance(event, GeneratedImage)]
        # diffusers' rounding adds a step to 61 trailing ones.
        assert len(events) == taken, (steps, strength)
        assert events[-1].fraction == 1  # type: ignore[union-attr]


# Flow matching has no networks here that it could run with.
@pytest.mark.filterwarnings("ignore:__array_wrap__")  # diffusers with NumPy 2
@pytest.mark.parametrize("scheduler", [name for name in SCHEDULERS if not name.startswith("FlowMatch")])
@pytest.mark.parametrize("mask_cells", ["", LEFT_HALF])
def test_every_scheduler_can_begin_from_a_picture(scheduler: str, mask_cells: str, tmp_path: Path) -> None:
    pipeline = build_tiny_pipeline(tmp_path / "tiny")
    settings = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    kind = getattr(diffusers, scheduler)
    known = inspect.signature(kind).parameters
    settings |= {name: value for name, value in {"steps_offset": 1, "clip_sample": False}.items() if name in known}
    pipeline.scheduler = kind(**settings)
    pipeline.save_pretrained(tmp_path / "tiny")
    model = load_model(str(tmp_path / "tiny"), "none")
    request = dataclasses.replace(REQUEST, mask_cells=mask_cells, guidance_scale=1)
    strong, weak = (image_of(dataclasses.replace(request, strength=share), model).pixels for share in (1.0, 0.25))
    again = image_of(dataclasses.replace(request, strength=0.25), model).pixels
    assert np.array_equal(weak, again)
    assert not np.array_equal(strong, weak)
    if mask_cells:
        assert np.array_equal(strong[:, 16:], START.pixels[:, 16:])


@pytest.mark.parametrize("family", sorted(BUILDERS))
def test_every_architecture_can_begin_from_a_picture(family: str, tmp_path: Path) -> None:
    model = load_model(str(save_tiny(family, tmp_path)))
    latents = encode_picture(START, model)
    network = model.network.config
    assert latents.shape == (1, network.in_channels, network.sample_size, network.sample_size)
    # The way back of what the decoder is given.
    vae = model.pipeline.vae.config
    assert torch.allclose(model.family.scale(model.family.unscale(latents, vae), vae), latents, atol=1e-5)
    assert image_of(dataclasses.replace(REQUEST, mask_cells=LEFT_HALF), model).recipe.is_derived


def test_the_picture_is_encoded_in_float32_whatever_the_models_format(tiny_model_dir: Path) -> None:
    model = load_model(str(tiny_model_dir), "none", weight_dtype="bfloat16")
    exact = load_model(str(tiny_model_dir), "none", weight_dtype="float32")
    # Its weights were rounded when they were loaded; in bfloat16 itself the latents would be ten times as far off.
    assert torch.allclose(encode_picture(START, model), encode_picture(START, exact), atol=3e-3)
    assert next(model.pipeline.vae.parameters()).dtype == torch.bfloat16


# The region


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_outside_the_region_the_pixels_are_the_pictures_own(bit_depth: int, tiny_base_model: LoadedModel) -> None:
    request = dataclasses.replace(REQUEST, strength=1.0, mask_cells=LEFT_HALF, bit_depth=bit_depth)
    pixels = image_of(request, tiny_base_model).pixels
    assert pixels.dtype == (np.uint8 if bit_depth == 8 else np.uint16)
    own = START.pixels.astype(np.int64) * (1 if bit_depth == 8 else 257)
    assert np.array_equal(pixels[:, 16:], own[:, 16:])
    assert (pixels[:, :14] != own[:, :14]).mean() > 0.5


def test_all_cells_are_the_whole_picture(tiny_base_model: LoadedModel) -> None:
    everything = write_cells([(row, column) for row in range(CELLS) for column in range(CELLS)])
    whole = image_of(REQUEST, tiny_base_model).pixels
    assert np.array_equal(image_of(dataclasses.replace(REQUEST, mask_cells=everything), tiny_base_model).pixels, whole)


@pytest.mark.parametrize(("side", "touched"), [(16, 1), (4, 1), (32, 4), (64, 16), (8, 1)])
def test_a_cell_covers_every_latent_that_it_touches(side: int, touched: int) -> None:
    region = region_of("4:10", side)
    assert region is not None
    assert region.shape == (1, 1, side, side)
    assert int(region.sum()) == touched
    assert region[0, 0, 4 * side // CELLS, 10 * side // CELLS] == 1
    assert region_of("", side) is None


def test_a_new_part_fades_into_the_picture() -> None:
    inside = np.zeros((40, 40), np.float32)
    inside[10:30, :30] = 1
    inside[10:20, 20:30] = 0  # a corner that points inwards
    share = fade(inside, 4)
    assert share[inside == 0].max() == 0
    assert share[25, 0] == 1  # it goes on behind the border of the picture
    line = share[25, 20:31]
    assert list(line) == [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
    assert np.abs(np.diff(share, axis=0)).max() <= 0.2 + 1e-9
    assert np.abs(np.diff(share, axis=1)).max() <= 0.2 + 1e-9


def test_what_is_put_back_is_weighted() -> None:
    own, made = np.zeros((256, 256), np.uint8), np.full((256, 256), 200, np.uint8)
    request = dataclasses.replace(REQUEST, init_image=picture_of(own), mask_cells="8:0-15")
    column = put_back(made, request, 16)[:, 128]
    assert not column[:128].any()
    assert not column[144:].any()
    assert column[136] == 200 * 8 // 9 or column[135] == 200 * 8 // 9 + 1
    assert list(column[128:136]) == sorted(column[128:136])


# The recipe


def test_a_recipe_tells_the_hash_and_makes_the_image_again(tiny_base_model: LoadedModel, tmp_path: Path) -> None:
    made = image_of(dataclasses.replace(REQUEST, mask_cells=[[3, 4]]), tiny_base_model)  # type: ignore[arg-type]
    path = tmp_path / "image.png"
    path.write_bytes(encode_png(made))
    recipe = read_recipe(path)
    assert recipe == made.recipe
    assert (recipe.init_image_sha256, recipe.strength, recipe.mask_cells) == (hash_of(noisy()), 0.5, "3:4")
    assert recipe.digital_source_type == COMPOSITE_SOURCE_TYPE
    assert np.array_equal(image_of(recipe.request_from(START), tiny_base_model).pixels, made.pixels)
    with pytest.raises(
        RequestError, match=f"init_image is missing; the image began from a picture with hash {START.sha256}"
    ):
        _ = recipe.request_from()
    with pytest.raises(RequestError, match="is another picture"):
        recipe.request_from(picture_of(noisy(seed=1)))


def test_recipes_without_a_picture_are_as_they_were() -> None:
    text = sample_images.RECIPE.to_json()
    assert not any(name in text for name in OF_DERIVED)
    assert Recipe.from_json(text) == sample_images.RECIPE
    assert sample_images.RECIPE.request_from(START) == sample_images.RECIPE.request_from()


def derived(**changes: Any) -> Recipe:
    begun: dict[str, Any] = {
        "init_image_sha256": START.sha256,
        "digital_source_type": COMPOSITE_SOURCE_TYPE,
        "strength": 0.5,
    }
    return dataclasses.replace(sample_images.RECIPE, **(begun | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_image_sha256": "xyz"}, "it is not a SHA-256"),
        ({"init_image_sha256": START.sha256.upper()}, "it is not a SHA-256"),
        ({"init_image_sha256": 7}, "init_image_sha256"),
        ({"init_image_sha256": ""}, "which newer versions may know"),
        ({"digital_source_type": sample_images.RECIPE.digital_source_type}, "digital_source_type is not"),
        ({"strength": 2}, "strength is 2"),
        ({"mask_cells": "99:1"}, "mask_cells has the cell 99:1"),
        ({"mask_cells": None}, "mask_cells has None"),
    ],
    ids=str,
)
def test_recipes_that_are_not_allowed(changes: dict[str, Any], message: str) -> None:
    text = json.dumps(derived().values | changes)
    with pytest.raises(RequestError, match=message):
        Recipe.from_json(text)


def test_files_say_that_they_are_derived() -> None:
    recipe = derived(mask_cells="3:4")
    image = dataclasses.replace(sample_images.make_image(0), recipe=recipe)
    with Image.open(io.BytesIO(encode_png(image))) as opened:
        assert opened.info["Warning"].startswith(DERIVED_NOTICE)
        assert f">{COMPOSITE_SOURCE_TYPE}<" in opened.info[XMP_KEY]
    dataset = pydicom.dcmread(io.BytesIO(encode_dicom(image.pixels, recipe, SyntheticPatient("SYN1", UNKNOWN), 8)))
    assert DERIVED_NOTICE in dataset.PatientComments
    assert DERIVED_NOTICE in dataset.DerivationDescription
    assert "BurnedInAnnotation" not in dataset  # nobody has looked at the picture
    assert dataset.ContributingEquipmentSequence[0].ContributionDescription.endswith("and a picture")
    plain = encode_dicom(image.pixels, sample_images.RECIPE, SyntheticPatient("SYN1", UNKNOWN), 8)
    assert pydicom.dcmread(io.BytesIO(plain)).BurnedInAnnotation == "NO"


# Reading pictures


def as_dicom(pixels: NDArray[np.uint8]) -> bytes:
    return encode_dicom(pixels, sample_images.RECIPE, SyntheticPatient("SYN1", UNKNOWN), 8)


def written(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    if path.suffix == ".dcm":
        path.write_bytes(as_dicom(pixels))
    else:
        Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.dcm", "a.tif", "a.bmp"])
@pytest.mark.usefixtures("without_child")
def test_pictures_are_read_whole_and_called_by_their_hash(name: str, tmp_path: Path) -> None:
    pixels = noisy(40, 60)
    picture = read_init_picture(written(tmp_path / name, pixels))
    assert np.array_equal(picture.pixels, pixels)
    assert picture.sha256 == hash_of(pixels)


@pytest.mark.usefixtures("without_child")
def test_jpeg_and_16_bits_are_read_as_everywhere(tmp_path: Path) -> None:
    smooth = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))
    picture = read_init_picture(written(tmp_path / "a.jpg", smooth, quality=95))
    assert np.abs(picture.pixels.astype(int) - smooth).max() < 8
    deep = read_init_picture(written(tmp_path / "b.png", smooth.astype(np.uint16) * 257))
    assert np.array_equal(deep.pixels, smooth)


@pytest.mark.usefixtures("without_child")
def test_of_a_large_picture_a_smaller_copy_is_kept(tmp_path: Path) -> None:
    pixels = noisy(700, 1_400)
    picture = read_init_picture(written(tmp_path / "a.png", pixels))
    assert picture.sha256 == hash_of(pixels)
    assert np.array_equal(picture.pixels, fit_square(pixels, MAX_SIDE))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as an image: of a kind that is not supported"),
        (b"MZ" * 100, "of a kind that is not supported"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "cannot be read as an image"),
        (b"\0" * 128 + b"DICM" + b"\0" * 9, "the picture holds no picture"),
    ],
    ids=["empty", "program", "cut", "dicom"],
)
def test_what_is_no_picture_is_one_sentence_without_its_name(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / ("Miller^Anna" if b"DICM" in content else "Miller^Anna.png")
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as refusal:
        read_init_picture(path)
    assert str(refusal.value).startswith("the picture ")
    assert "Miller" not in str(refusal.value)


def test_what_would_never_end_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", tmp_path / "none.png", tmp_path):
        with pytest.raises(DataError, match="the picture cannot be read"):
            read_init_picture(path)


@pytest.mark.parametrize(
    ("shape", "painted", "text"),
    [
        ((16, 16), [(4, 10)], "4:10"),
        ((256, 256), [(64, 160)], "4:10"),
        ((256, 256), [(63, 159), (64, 160)], "3:9 4:10"),
        ((512, 256), [(0, 0)], "0:4"),  # it lies in its square as the picture does
        ((256, 512), [(255, 511)], "11:15"),
        ((1_500, 1_500), [(1_499, 0)], "15:0"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("without_child")
def test_a_mask_snaps_to_all_cells_that_its_paint_touches(
    shape: tuple[int, int], painted: list[tuple[int, int]], text: str, tmp_path: Path
) -> None:
    mask = np.zeros(shape, np.uint8)
    for place in painted:
        mask[place] = 255
    picture = picture_of(noisy(shape[0] // 4, shape[1] // 4))
    assert read_mask(written(tmp_path / "mask.png", mask), picture) == text


@pytest.mark.usefixtures("without_child")
def test_masks_that_do_not_suit_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "mask.png", np.full((64, 64), 127, np.uint8))
    with pytest.raises(DataError, match="the mask holds nothing that is painted"):
        read_mask(path, START)
    with pytest.raises(DataError, match="the mask is 64 × 64 pixels, the picture has other proportions"):
        read_mask(path, picture_of(noisy(32, 40)))
    path.write_bytes(b"GIF89a")
    with pytest.raises(DataError, match="the mask cannot be read"):
        read_mask(path, START)


# The command line


@pytest.fixture(scope="module")
def begun(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of two images that began from a picture, and that picture."""
    folder = tmp_path_factory.mktemp("begun")
    start = written(folder / "Miller^Anna.png", noisy(48, 48))
    mask = written(folder / "mask.png", np.pad(np.full((24, 24), 255, np.uint8), ((0, 24), (0, 24))))
    given = ["--init-image", str(start), "--strength", "0.5", "--mask", str(mask), "--steps", "4", "--count", "2"]
    model = ["--model", str(tiny_model_dir), "--adapter", "none"]
    assert main(["generate", PROMPT, *given, *model, "--output", str(folder / "out")]) == 0
    return folder / "out", start


def test_neither_name_nor_pixels_of_the_picture_are_written(begun: tuple[Path, Path]) -> None:
    folder, _ = begun
    for path in folder.iterdir():
        assert "Miller" not in path.name
        assert b"Miller" not in path.read_bytes()
    row = json.loads((folder / "metadata.jsonl").read_text().splitlines()[1])
    assert row["mask_cells"] == " ".join(f"{n}:0-7" for n in range(8))
    assert row["init_image_sha256"] == hash_of(noisy(48, 48))


@pytest.mark.usefixtures("without_child")
def test_verify_says_what_it_needs(begun: tuple[Path, Path], tiny_model_dir: Path, capsys: Any, tmp_path: Path) -> None:
    folder, start = begun
    verify = ["verify", str(folder), "--model", str(tiny_model_dir), "--adapter", "none"]
    assert main(verify) == 2
    hash_ = hash_of(noisy(48, 48))
    wanted = f"the image began from a picture with hash {hash_}"
    assert capsys.readouterr().err == f"error: {wanted}; name it with --init-image\n"
    other = written(tmp_path / "other.png", noisy(seed=1))
    assert main([*verify, "--init-image", str(other)]) == 2
    assert f"{wanted}, not {hash_of(noisy(seed=1))}; name it" in capsys.readouterr().err
    assert main([*verify, "--init-image", str(other), "--init-image", str(start)]) == 0
    assert capsys.readouterr().out.count(": identical") == 2


@pytest.mark.usefixtures("without_child")
def test_restore_prints_a_command_that_makes_it_again(
    begun: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, start = begun
    path = str(sorted(folder.glob("*.png"))[1])
    assert main(["restore", path]) == 0
    said = capsys.readouterr()
    assert f"--init-image {PICTURE} " in said.out
    assert f"--strength 0.5 --mask-cells '{' '.join(f'{n}:0-7' for n in range(8))}'" in said.out
    assert f"began from a picture with hash {hash_of(noisy(48, 48))}; name it with --init-image" in said.err
    assert main(["restore", path, "--init-image", str(start)]) == 0
    said = capsys.readouterr()
    assert f"--init-image '{start}'" in said.out
    assert PICTURE not in said.out + said.err
    assert main(["restore", path, "--init-image", str(written(tmp_path / "other.png", noisy(seed=1)))]) == 2
    assert "is another picture" in capsys.readouterr().err


def test_a_folder_goes_on_with_the_same_picture_only(
    begun: tuple[Path, Path], tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, start = begun
    command = ["generate", PROMPT, "--steps", "4", "--count", "2", "--output", str(folder)]
    command += ["--model", str(tiny_model_dir), "--adapter", "none"]
    given = ["--init-image", str(start), "--strength", "0.5", "--mask-cells", " ".join(f"{n}:0-7" for n in range(8))]
    assert main([*command, *given]) == 0
    assert "0 new" in capsys.readouterr().out
    assert main(command) == 2  # without a picture it is something else
    assert "was made with another" in capsys.readouterr().err
    assert main([*command, *given[2:]]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strength", "0.5"], "--strength only works with --init-image"),
        (["--mask", "mask.png"], "--mask only works with --init-image"),
        (["--mask-cells", "4:4"], "--mask-cells only applies where images begin from a picture"),
        (["--init-image", "nowhere.png"], "nowhere.png cannot be read as an image"),
        (["--init-image", "{start}", "--mask-cells", "4:99"], "--mask-cells has the cell 4:99"),
        (["--init-image", "{start}", "--mask-cells", "4:9", "--mask", "x.png"], "names the region a second time"),
        (["--init-image", "{start}", "--strength", "0.1"], "--strength is 0.1, which leaves none of 8 steps"),
        (["--init-image", "{start}", "--mask", "nowhere.png"], "nowhere.png cannot be read"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_one_sentence(
    options: list[str], message: str, begun: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [option.format(start=begun[1]) for option in options]
    assert main(["generate", "x", "--output", str(tmp_path / "out"), *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_child")
def test_a_dicom_export_is_made_again(begun: tuple[Path, Path], tiny_model_dir: Path, tmp_path: Path) -> None:
    folder, start = begun
    assert main(["export", str(folder), "--format", "dicom", "--output", str(tmp_path / "dicom")]) == 0
    reproducer = Reproducer(str(tiny_model_dir), "none", [read_init_picture(start)])
    (path, _) = sorted((tmp_path / "dicom").rglob("*.dcm"))
    assert reproducer.check(*read_foreign(path)).verdict == IDENTICAL


# Data sets


@pytest.mark.parametrize("place", ["settings", "grid"])
@pytest.mark.parametrize("name", ["init_image", "strength", "mask_cells"])
def test_plans_begin_from_noise_alone(place: str, name: str) -> None:
    content = (
        {"settings": {name: 0.5}, "prompts": ["x"]} if place == "settings" else {"grid": {"prompt": ["x"], name: [1]}}
    )
    with pytest.raises(RequestError, match="images of a data set begin from noise alone"):
        build_plan(content, "plan")


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_exports_of_data_sets_refuse_derived_images(
    format: str, begun: tuple[Path, Path], tmp_path: Path, capsys: Any
) -> None:
    assert main(["export", str(begun[0]), "--format", format, "--output", str(tmp_path / "out")]) == 2
    assert "began from a picture, which are no part of a data set" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_zip_says_that_images_are_derived(begun: tuple[Path, Path], tmp_path: Path) -> None:
    assert main(["export", str(begun[0]), "--format", "zip", "--output", str(tmp_path / "a.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["digital_source_type"] == COMPOSITE_SOURCE_TYPE
    assert manifest["notice"].startswith(DERIVED_NOTICE)


def test_a_derived_image_in_a_data_set_is_a_fault(tmp_path: Path) -> None:
    directory = tmp_path / "set"
    make_dataset(directory)
    (table, *_) = sorted(directory.glob("*/metadata.jsonl"))
    first, *rest = table.read_text().splitlines()
    row = json.loads(first) | {name: derived().values[name] for name in (*OF_DERIVED, "digital_source_type")}
    table.write_text("\n".join([json.dumps(row), *rest]) + "\n")
    faults: list[str] = []
    read_dataset(directory, faults.append)
    assert any("began from a picture, which images of a data set do not" in fault for fault in faults)
