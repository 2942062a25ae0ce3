"""What the search for copies has found is compared once more at the images' own size, where both are large enough."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from cxr.evaluate import copies as copy_check
from cxr.evaluate import copy_grid, copy_search, copy_set
from cxr.evaluate.copies import Copies, check_copies
from cxr.evaluate.copy_grid import ALIGNED, NATIVE, SPACES
from cxr.evaluate.copy_native import native_arrays, native_files
from cxr.evaluate.copy_search import Nearest, search_copies
from cxr.evaluate.copy_set import KINDS, CopySet, plant_copies
from cxr.evaluate.copy_spaces import measure_control
from cxr.images.squares import fit_square, read_squares

Pixels = NDArray[np.uint8]
FEW = ("mirrored", "upper half copied")


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Fewer transforms, and kinds of planted copies, than are searched for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy_search, "FAMILIES", [copy_grid.FAMILIES[k] for k in (5, 8, -1)])  # nothing is moved
        patch.setattr(copy_set, "KINDS", {kind: KINDS[kind] for kind in FEW})
        patch.setattr(copy_set, "NUM_PLANTED", 4)
        yield


def films(count: int, seed: int, side: int = 256) -> Pixels:
    """Smooth texture of two scales: what can be seen at 128 pixels, and what only 256 pixels show."""
    rng = np.random.default_rng(seed)
    layers = []
    for cells, strength in ((12, 25), (64, 8), (256, 12)):
        noise = torch.from_numpy(rng.normal(0, strength, (count, 1, cells, cells)))
        layers.append(functional.interpolate(noise, size=(side, side), mode="bicubic", align_corners=False)[:, 0])
    pixels: Pixels = (128 + torch.stack(layers).sum(dim=0).numpy()).clip(0, 255).astype(np.uint8)
    return pixels


def as_set(images: list[Pixels] | Pixels, prefix: str) -> CopySet:
    names = tuple(f"{prefix}{number}" for number in range(len(images)))
    pixels = np.stack([fit_square(image, 128) for image in images])
    return CopySet(pixels, {}, names, names, native_arrays(images))


def search(queries: CopySet, references: CopySet) -> dict[str, Nearest]:
    return search_copies(queries.pixels, references.pixels, native=(queries.at_own_size, references.at_own_size))


@pytest.fixture(scope="module")
def training() -> CopySet:
    """24 films, every fourth of 128 pixels."""
    return as_set([image[::2, ::2] if k % 4 == 3 else image for k, image in enumerate(films(24, 0))], "train")


def test_copies_are_nearer_than_strangers_at_their_own_size(training: CopySet) -> None:
    originals = training.at_own_size.read(np.arange(3), 256)
    copies = np.concatenate([originals[:, :, ::-1], 255 - originals, films(3, 1)])
    found = search(as_set(copies, "made"), training)[NATIVE]
    assert found.indices[:6].tolist() == [0, 1, 2] * 2
    assert found.distances[:6].max() < 0.2
    assert np.nanmin(found.distances[6:]) > 1.2


def test_what_agrees_at_128_pixels_alone_is_far_at_256(training: CopySet) -> None:
    originals = training.at_own_size.read(np.arange(3), 256)
    coarse = np.stack([fit_square(fit_square(image, 128), 256) for image in originals]).astype(int)
    fine = np.stack([image - fit_square(fit_square(image, 128), 256).astype(int) for image in films(3, 2)])
    painted = (coarse + fine).clip(0, 255).astype(np.uint8)
    found = search(as_set(painted, "made"), training)
    assert found[ALIGNED].distances.max() < 0.3
    assert found[NATIVE].distances.min() > found[ALIGNED].distances.max() + 0.3


def test_pairs_of_which_one_has_128_pixels_are_left_to_the_search(training: CopySet) -> None:
    large = training.at_own_size.read(np.arange(8), 256)
    queries = as_set([image[::2, ::2] if k in (0, 3) else image for k, image in enumerate(large)], "made")
    found = search(queries, training)
    # The fourth and the eighth film have 128 pixels, the first and the fourth query.
    assert np.isnan(found[NATIVE].distances).tolist() == [k in (0, 3, 7) for k in range(8)]
    without = search_copies(queries.pixels, training.pixels)
    assert set(without) == set(SPACES)
    assert all(
        np.array_equal(part, more) for name in SPACES for part, more in zip(without[name], found[name], strict=True)
    )


def test_the_smaller_of_two_sizes_counts(training: CopySet) -> None:
    queries = as_set([fit_square(image, 200) for image in training.at_own_size.read(np.arange(3), 256)], "made")
    assert queries.at_own_size.sides.tolist() == [200] * 3
    assert search(queries, training)[NATIVE].distances.max() < 0.3


def test_sizes_of_files_and_of_arrays(tmp_path: Path) -> None:
    shapes = {"small": (64, 64), "high": (300, 200), "large": (512, 512)}
    paths, images = [], []
    for name, shape in shapes.items():
        images.append(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(images[-1]).save(paths[-1])
    for native in (native_files(paths), native_arrays(images)):
        assert native.sides.tolist() == [128, 256, 256]
        assert np.array_equal(native.read(np.array([2, 1]), 256), read_squares([paths[2], paths[1]], 256))
        last = native.take(np.array([2]))
        assert last.sides.tolist() == [256]
        assert np.array_equal(last.read(np.array([0]), 128), read_squares(paths[2:], 128))


def test_copies_are_planted_at_the_size_of_their_originals(training: CopySet) -> None:
    planted = dict(plant_copies(training, as_set(films(5, 3), "x")))["mirrored"]
    rows = np.array([training.names.index(name) for name in planted.names])
    native, originals = planted.at_own_size, training.at_own_size
    assert native.sides.tolist() == originals.sides[rows].tolist()
    assert set(native.sides.tolist()) == {128, 256}
    for place, row in enumerate(rows):
        side = int(native.sides[place])
        (made,), (original,) = native.read(np.array([place]), side), originals.read(np.array([row]), side)
        assert np.array_equal(made, original[:, ::-1])
        assert np.array_equal(planted.pixels[place], fit_square(made, 128))


def test_without_other_sizes_copies_are_planted_as_they_were(training: CopySet) -> None:
    plain, others = (dataclasses.replace(some, native=None) for some in (training, as_set(films(5, 3), "x")))
    rng = np.random.default_rng(0)
    rows, beside = np.sort(rng.choice(24, 4, replace=False)), rng.integers(5, size=4)
    for kind, planted in plant_copies(plain, others):
        assert np.array_equal(planted.pixels, KINDS[kind](plain.pixels[rows], others.pixels[beside], rng))


def report_on(generated: CopySet, training: CopySet, held_out: CopySet) -> Copies:
    return check_copies(generated, training, held_out, [str(number) for number in range(len(held_out))])


@pytest.fixture(scope="module")
def report(training: CopySet) -> Copies:
    originals = training.at_own_size.read(np.arange(4), 256)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy_check, "MIN_NATIVE", 3)
        made, held_out = np.concatenate([originals, films(2, 1)]), films(16, 2)
        return report_on(as_set(made, "made"), training, as_set(held_out, "held"))


def test_the_report_has_a_space_of_the_images_compared_at_their_own_size(report: Copies, training: CopySet) -> None:
    assert [space["name"] for space in report["spaces"]] == [*SPACES, NATIVE]
    native, aligned = report["spaces"][-1], report["spaces"][0]
    # The fourth copy is of a film of 128 pixels, and no copy of any that is larger.
    assert 0.5 <= native["flagged"].value < 1
    assert native["flagged"].num_generated == 6
    assert native["threshold"] > aligned["threshold"] > 1
    assert native["flagged"].num_reference == report["num_calibration"]
    assert report["native"].startswith("At their own size, up to 256 pixels, 6 of 6 images and ")
    assert "of 16 real films were compared with the nearest of the 18 training images" in report["native"]
    assert "left out" not in report["native"]
    mirrored, half = report["control"]
    assert mirrored["spaces"][NATIVE] == 1
    assert half["found"].value == 1
    near = {made: distance for (_, made, _), distance in zip(report["pairs"], report["pairs_native"], strict=True)}
    assert max(near[f"made{number}"] for number in range(3)) < 0.05
    assert math.isnan(near["made3"])


def test_what_is_missing_is_said(training: CopySet) -> None:
    small = as_set(films(4, 4, 128), "held")
    part = report_on(as_set(films(2, 1), "made"), training, small)
    assert NATIVE not in [space["name"] for space in part["spaces"]]
    assert all(NATIVE not in row["spaces"] for row in part["control"])
    assert "0 + 0 of 4 real films" in part["native"]
    assert "is left out: it needs one image and 50 + 50 real films" in part["native"]


def test_planted_copies_that_were_not_compared_count_as_neither_found_nor_missed() -> None:
    far, nowhere = np.ones(4), np.zeros(4, np.intp)
    nearest = {space: Nearest(far, nowhere) for space in SPACES}
    thresholds = dict.fromkeys((*SPACES, NATIVE), 0.5)
    some = measure_control("x", nearest | {NATIVE: Nearest(np.array([0.1, np.nan, np.nan, 0.9]), nowhere)}, thresholds)
    assert some["spaces"][NATIVE] == 0.5
    assert some["found"].value == 0.25
    none = measure_control("x", nearest | {NATIVE: Nearest(np.full(4, np.nan), nowhere)}, thresholds)
    assert math.isnan(none["spaces"][NATIVE])
