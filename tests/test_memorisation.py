"""Planted copies are found, strangers are not, and the figures are what theory says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cxr.evaluate import copies as copy_check
from cxr.evaluate import copy_nearest
from cxr.evaluate import copy_set as planted
from cxr.evaluate.copies import Copies, calibration_half, check_copies
from cxr.evaluate.copy_grid import ALIGNED, HALVES, NATIVE, QUARTERS, SPACES
from cxr.evaluate.copy_nearest import nearest_features
from cxr.evaluate.copy_search import Nearest, search_copies
from cxr.evaluate.copy_set import KINDS, REMADE, CopySet, plant_copies
from cxr.evaluate.copy_spaces import measure_control
from cxr.evaluate.copy_transforms import local_scale, warped
from cxr.request.errors import DataError

SIDE = 64
Pixels = NDArray[np.uint8]


def chests(count: int, seed: int) -> Pixels:
    """Dark ellipses on a bright ground, of all sizes and places, under smooth texture: alike, but not the same."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    images = np.full((count, SIDE, SIDE), 150.0)
    for centre in (-0.4, 0.4):
        x, y, width, height = (rng.normal(mean, 0.05, (count, 1, 1)) for mean in (centre, -0.1, 0.3, 0.6))
        images -= 80 * (((right - x) / width) ** 2 + ((down - y) / height) ** 2 < 1)
    coarse = torch.from_numpy(rng.normal(0, 12, (count, 1, 12, 12)))
    texture = functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic", align_corners=False)[:, 0].numpy()
    pixels: Pixels = (images + texture).clip(0, 255).astype(np.uint8)
    return pixels


def moved(pixels: Pixels, transform: tuple[float, float, float, float]) -> Pixels:
    changed, _ = warped(torch.from_numpy(pixels).float(), torch.tensor([transform]).repeat(len(pixels), 1))
    result: Pixels = changed.round().clamp(0, 255).byte().numpy()
    return result


def noisy(pixels: Pixels) -> Pixels:
    noise = np.random.default_rng(9).normal(0, 4, pixels.shape)
    result: Pixels = (pixels + noise).round().clip(0, 255).astype(np.uint8)
    return result


def dimmed(pixels: Pixels) -> Pixels:
    result: Pixels = (20 + pixels * 0.6).astype(np.uint8)
    return result


def means(pixels: Pixels) -> NDArray[np.float32]:
    return np.asarray(functional.avg_pool2d(torch.from_numpy(pixels).float()[:, None], 8).flatten(1))


def copy_set(pixels: Pixels, prefix: str) -> CopySet:
    names = tuple(f"{prefix}{number}" for number in range(len(pixels)))
    return CopySet(pixels, {"means": means(pixels)}, names, tuple(f"hash of {name}" for name in names))


def patients_of(count: int) -> list[str]:
    return [str(number // 2) for number in range(count)]


@pytest.fixture(scope="module")
def training() -> CopySet:
    return copy_set(chests(32, 0), "train")


@pytest.fixture(scope="module")
def generated(training: CopySet) -> CopySet:
    first = training.pixels
    planted = [first[:5], noisy(first[5:10]), moved(first[10:15], (0.03, -0.03, 3.0, 0.0)), dimmed(first[15:20])]
    side = copy_set(np.concatenate([*planted, chests(10, 1)]), "made")
    # The last one is a stranger to look at, but its file is a training file.
    return dataclasses.replace(side, hashes=(*side.hashes[:-1], training.hashes[30]))


@pytest.fixture(scope="module")
def report(training: CopySet, generated: CopySet) -> Copies:
    held_out = copy_set(chests(60, 2), "held")
    control = copy_set(np.repeat(training.pixels[:2], 3, axis=0), "over")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "NUM_PLANTED", 4)
        return check_copies(generated, training, held_out, patients_of(60), control, embed={"means": means})


def test_the_closest_pairs_are_the_planted_copies(report: Copies) -> None:
    assert {made for _, made, _ in report["pairs"]} == {f"made{number}" for number in range(20)}
    assert all(known == made.replace("made", "train") for _, made, known in report["pairs"])
    assert report["pairs"] == sorted(report["pairs"])


def test_copies_are_flagged_and_strangers_are_not(report: Copies) -> None:
    pixels = report["spaces"][1]
    assert pixels["name"] == "aligned pixels"
    assert pixels["threshold"] > 1.5 * report["pairs"][-1][0]  # all 20 copies, and by far
    # Of so few calibration images the threshold lets about one of 28 strangers in; three of ten happen in 0.4 %.
    assert 20 / 30 <= pixels["flagged"].value <= 22 / 30
    assert pixels["flagged"].low < 20 / 30 < pixels["flagged"].high
    assert pixels["flagged_real"].value < 0.2


def test_near_exact_counts_pixels_and_files(report: Copies) -> None:
    assert report["near_exact"] == 20 + 1


def test_the_report_counts_its_images(report: Copies) -> None:
    assert report["num_training"] == 32
    assert report["num_calibration"] == calibration_half(patients_of(60)).sum()
    assert report["num_calibration"] + report["num_held_out"] == 60
    assert [space["name"] for space in report["spaces"]] == ["means", *SPACES]
    words = f"with {report['num_calibration']} calibration images the 0.1 % quantile"
    assert words in report["spaces"][0]["flagged"].note


def test_every_kind_of_planted_copy_is_reported(report: Copies) -> None:
    rows = {row["kind"]: row for row in report["control"]}
    assert [*rows] == [*KINDS, "images of an over-trained model"]
    assert all(set(row["spaces"]) == {"means", *SPACES} for row in rows.values())
    assert rows["images of an over-trained model"]["found"].num_generated == 6
    missed = {kind: row["found"].value for kind, row in rows.items() if row["found"].value < 0.9}
    assert not missed
    assert rows["mirrored"]["spaces"]["means"] < 0.5  # features alone do not see it
    assert "under 95% are found" in measure_control("x", strangers(), dict.fromkeys(SPACES, 0.1))["found"].note


def strangers() -> dict[str, Nearest]:
    return {space: Nearest(np.ones(4), np.zeros(4, np.intp)) for space in SPACES}


# In feature spaces theory knows the answers; the pixels play no part there.


def points(count: int, dimensions: int, seed: int, prefix: str) -> CopySet:
    values = np.random.default_rng(seed).uniform(size=(count, dimensions))
    names = tuple(f"{prefix}{number}" for number in range(count))
    return CopySet(np.zeros((count, 2, 2), np.uint8), {"points": values}, names, names)


def sides_of(counts: tuple[int, int, int], dimensions: int) -> tuple[CopySet, CopySet, CopySet]:
    """Generated, training and held-out draws from one distribution."""
    generated, training, held_out = (points(count, dimensions, seed, f"{seed} ") for seed, count in enumerate(counts))
    return generated, training, held_out


@pytest.fixture
def _without_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(queries: Pixels, *_: object, **__: object) -> dict[str, Nearest]:
        none, first = np.full(len(queries), np.nan), np.zeros(len(queries), np.intp)
        return {space: Nearest(np.ones(len(queries)), first) for space in SPACES} | {NATIVE: Nearest(none, first)}

    monkeypatch.setattr(copy_nearest, "search_copies", nothing)
    monkeypatch.setattr(copy_check, "plant_copies", lambda *_, **__: ())


@pytest.mark.usefixtures("_without_pixels")
@pytest.mark.parametrize(
    ("dimensions", "low", "high"),
    # A draw is not authentic if it and its neighbour are each other's nearest: 2/3 of all points on a line, 0.6215 in
    # the plane, towards 1/2 from there (Clark and Evans, Science 1955; Cox, Biometrics 1981). In many dimensions the
    # edge of the cube makes mutual neighbours rarer.
    [(1, 1 / 3 - 0.04, 1 / 3 + 0.04), (2, 0.3785 - 0.04, 0.3785 + 0.04), (16, 0.45, 0.75)],
)
def test_authenticity_of_fresh_draws(dimensions: int, low: float, high: float) -> None:
    generated, training, held_out = sides_of((1500, 1500, 100), dimensions)
    share = check_copies(generated, training, held_out, patients_of(100))["spaces"][0]["authentic"]
    assert low < share.value < high
    assert share.low < share.value < share.high


@pytest.mark.usefixtures("_without_pixels")
def test_authenticity_of_copies_is_nothing() -> None:
    _, training, held_out = sides_of((1, 300, 100), 4)
    copies = CopySet(training.pixels, {"points": training.features["points"] + 1e-4}, training.names, training.hashes)
    space = check_copies(copies, training, held_out, patients_of(100))["spaces"][0]
    assert space["authentic"].value < 0.02
    assert space["authentic"].settings["held_out"] > 0.3
    assert space["flagged"].value > 0.98


@pytest.mark.usefixtures("_without_pixels")
def test_real_images_of_other_patients_are_rarely_flagged() -> None:
    generated, training, held_out = sides_of((50, 1000, 8000), 3)
    space = check_copies(generated, training, held_out, patients_of(8000))["spaces"][0]
    promised = space["flagged_real"].settings["expected"]
    assert promised == pytest.approx(0.001, rel=0.3)
    assert space["flagged_real"].low < promised < space["flagged_real"].high
    assert space["flagged"].note == ""
    assert (space["flagged_real"].num_generated, space["flagged_real"].num_reference > 3500) == (0, True)


def test_nearest_features_are_those_of_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    queries, references = rng.normal(size=(23, 5)), rng.normal(size=(31, 5)) * [1, 10, 100, 0.1, 0]
    scaled = [side[:, :4] / references[:, :4].std(axis=0) for side in (queries, references)]
    table = np.linalg.norm(scaled[0][:, None] - scaled[1][None], axis=2)
    for rows in (1, 4, 1000):
        monkeypatch.setattr(copy_nearest, "TABLE_BYTES", 8 * 31 * rows)
        distances, indices = nearest_features(queries, references)
        assert indices.tolist() == table.argmin(axis=1).tolist()
        assert distances == pytest.approx(table.min(axis=1))
        own = table.argmin(axis=1)
        assert nearest_features(queries, references, own)[0] == pytest.approx(np.sort(table, axis=1)[:, 1])


def test_a_training_image_is_not_its_own_neighbour(training: CopySet) -> None:
    twins = np.concatenate([training.pixels[:3], training.pixels[:2]])
    distances, indices = search_copies(twins, twins, np.arange(5))[ALIGNED]
    assert indices[[0, 1, 3, 4]].tolist() == [3, 4, 0, 1]
    assert distances[[0, 1, 3, 4]] == pytest.approx([0] * 4, abs=0.02)
    assert distances[2] > 0.5
    assert search_copies(twins[:2], twins[:2], np.arange(2))[ALIGNED].indices.tolist() == [1, 0]


def mirrored(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[:, :, ::-1])


TRANSFORMS = (
    *((0.0, 0.0, 0.0, 0.0), (0.03, -0.03, 3.0, 0.0), (-0.07, 0.07, 0.0, 0.0), (0.0, 0.0, 15.0, 0.0)),
    *((0.0, 0.0, -14.0, 0.1), (0.0, 0.0, 0.0, 0.2), (0.0, 0.0, 0.0, -0.16), (0.05, 0.05, 0.0, 0.1)),
    *((0.02, 0.0, -9.0, -0.1), (0.1, 0.0, 0.0, 0.0), (-0.1, 0.1, 0.0, 0.0)),
    # 15 and 20 % cut off each edge; 20 % off two edges that meet; 15 %, and turned.
    *((0.0, 0.0, 0.0, 0.43), (0.0, 0.0, 0.0, 0.67), (0.125, -0.125, 0.0, 0.25), (0.0, 0.0, 5.0, 0.43)),
)
CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    **{f"moved by {transform}": partial(moved, transform=transform) for transform in TRANSFORMS},
    "mirrored": mirrored,
    **{f"turned by {90 * k} degrees": partial(np.rot90, k=k, axes=(1, 2)) for k in (1, 2, 3)},
    "upside down": lambda pixels: pixels[:, ::-1],
    "upside down and turned": lambda pixels: moved(pixels[:, ::-1].copy(), (0.0, 0.0, 3.0, 0.0)),
    "inverted": lambda pixels: 255 - pixels,
    "inverted and mirrored": lambda pixels: 255 - mirrored(pixels),
    "dimmed": dimmed,
    "noisy": noisy,
    "of more contrast": lambda pixels: (255 * (pixels / 255.0) ** 2).astype(np.uint8),
    "mirrored and turned": lambda pixels: moved(mirrored(pixels), (0.0, 0.0, 8.0, 0.05)),
}


@pytest.fixture(scope="module")
def changed(training: CopySet) -> dict[str, Nearest]:
    """What is nearest to three training images after each change, by one search: many take far longer."""
    queries = np.concatenate([change(training.pixels[:3]) for change in CHANGES.values()])
    found = search_copies(queries, training.pixels)[ALIGNED]
    rows = [slice(3 * k, 3 * k + 3) for k in range(len(CHANGES))]
    return {name: Nearest(found.distances[some], found.indices[some]) for name, some in zip(CHANGES, rows, strict=True)}


@pytest.mark.parametrize("change", CHANGES)
def test_the_search_sees_through_a_change(change: str, changed: dict[str, Nearest]) -> None:
    assert changed[change].indices.tolist() == list(range(3))
    assert changed[change].distances.max() < 0.6  # a correlation of 0.82; strangers are at about 1


QUARTERS_AT = ((0, 0), (0, 32), (32, 0), (32, 32), (16, 16), (7, 22))  # top, left


@pytest.mark.parametrize("rows", [slice(0, SIDE // 2), slice(SIDE // 2, SIDE)])
@pytest.mark.parametrize("across", [False, True])
def test_half_a_picture_is_found(rows: slice, across: bool, training: CopySet) -> None:
    mixed = chests(6, 7)
    where = (slice(None), slice(None), rows) if across else (slice(None), rows)
    mixed[where] = training.pixels[:6][where]
    found = search_copies(mixed, training.pixels)
    assert found[HALVES].indices.tolist() == list(range(6))
    assert found[HALVES].distances.max() < 0.3 < found[ALIGNED].distances.min()


@pytest.fixture(scope="module")
def quarters(training: CopySet) -> Nearest:
    """What is nearest to strangers with a quarter of six training images in them, and to these mirrored."""
    queries = []
    for top, left in QUARTERS_AT:
        mixed = chests(6, 7)
        where = (slice(None), slice(top, top + 32), slice(left, left + 32))
        mixed[where] = training.pixels[:6][where]
        queries += [mixed, mirrored(mixed)]
    return search_copies(np.concatenate(queries), training.pixels)[QUARTERS]


@pytest.mark.parametrize("place", range(len(QUARTERS_AT)))
def test_a_quarter_of_a_picture_is_found(place: int, quarters: Nearest) -> None:
    rows = slice(12 * place, 12 * place + 12)
    assert quarters.indices[rows].tolist() == [*range(6), *range(6)]
    assert quarters.distances[rows].max() < 0.7


def test_on_the_local_scale_brightness_and_contrast_do_not_count(training: CopySet) -> None:
    some = torch.from_numpy(training.pixels[:4]).float()
    assert torch.corrcoef(torch.stack([local_scale(some).ravel(), local_scale(20 + 0.6 * some).ravel()]))[0, 1] > 0.98


def test_a_transform_goes_right_down_and_clockwise() -> None:
    image = torch.zeros(1, 9, 9)
    image[0, 4, 6] = 1  # two pixels right of the middle
    for transform, place in (((1 / 9, 2 / 9, 0, 0), (6, 7)), ((0, 0, 90, 0), (6, 4)), ((0, 0, 0, 1), (4, 8))):
        result, _ = warped(image, torch.tensor([transform], dtype=torch.float32))
        assert divmod(int(result.argmax()), 9) == place
    assert warped(image, torch.tensor([[1 / 9, 0, 0, 0]]))[1][0].sum(dim=0).tolist() == [0.0] + [9.0] * 8


def test_a_flat_image_is_like_nothing(training: CopySet) -> None:
    flat = np.stack([np.full((SIDE, SIDE), grey, np.uint8) for grey in (0, 77, 255)])
    for pair in ((flat, training.pixels), (training.pixels[:3], flat)):
        assert search_copies(*pair)[ALIGNED].distances == pytest.approx([math.sqrt(2)] * 3, abs=0.05)


def test_planted_copies_follow_the_seed_and_keep_their_names(training: CopySet) -> None:
    first, again, other = (dict(plant_copies(training, copy_set(chests(5, 8), "x"), seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(first[kind].pixels, again[kind].pixels) for kind in KINDS)
    assert not np.array_equal(first[REMADE].pixels, other[REMADE].pixels)
    for some in first.values():
        assert some.names == training.names
        assert some.features == {}
        assert some.pixels.dtype == np.uint8
    changed = np.abs(first[REMADE].pixels.astype(int) - training.pixels).mean(axis=(1, 2))
    assert changed.min() > 2
    assert changed.max() < 30


def test_a_patient_is_in_one_half() -> None:
    half = calibration_half(["a", "b", "c", "a", "b", "d", "e"])
    assert half[0] == half[3]
    assert half[1] == half[4]
    assert 0 < half.sum() < 7


@pytest.mark.parametrize(
    ("counts", "patients", "message"),
    [
        ((3, 1, 6), "aabbcd", "1 training and 3 generated"),
        ((0, 5, 6), "aabbcd", "5 training and 0 generated"),
        ((3, 5, 6), "aabbc", "6 held out with 5 patients"),
        ((3, 5, 6), "aaaaaa", "are of 1 patients, too few"),
    ],
)
def test_too_few_images_are_refused(counts: tuple[int, int, int], patients: str, message: str) -> None:
    generated, training, held_out = sides_of(counts, 2)
    with pytest.raises(DataError, match=message):
        check_copies(generated, training, held_out, list(patients))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": {}}, "not all images have features of points"),
        ({"features": {"points": np.ones((6, 3))}}, r", 3\] cannot be compared with \[5, 2\]"),
        ({"features": {"points": np.full((6, 2), np.nan)}}, "cannot be compared"),
        ({"pixels": np.zeros((6, 4, 4), np.uint8)}, "differ in size"),
        ({"hashes": ("1 0", *"abcde")}, "1 held-out files are in the training set"),
    ],
)
def test_sets_that_do_not_fit_together_are_refused(change: dict[str, object], message: str) -> None:
    generated, training, held_out = sides_of((3, 5, 6), 2)
    with pytest.raises(DataError, match=message):
        check_copies(generated, training, dataclasses.replace(held_out, **change), list("aabbcd"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ("a",) * 5}, "the same name"),
        ({"hashes": ("a",)}, "use one each"),
        ({"features": {"points": np.ones((4, 2))}}, "use one each"),
        ({"pixels": np.zeros((5, 4, 3), np.uint8)}, "use squares"),
        ({"pixels": np.zeros((5, 4, 4))}, "float64; use squares"),
    ],
)
def test_a_set_whose_parts_do_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataclasses.replace(points(5, 2, 0, "a"), **change)  # type: ignore[arg-type]


def test_features_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(DataError, match="tells the training images apart"):
        nearest_features(np.ones((2, 3)), np.ones((4, 3)))
