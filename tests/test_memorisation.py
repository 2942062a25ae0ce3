"""Planted copies are found, strangers are not, and the figures are what theory says."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cxr.evaluate import alignment
from cxr.evaluate import copies as copy_search
from cxr.evaluate.alignment import align, aligned_nearest, warped
from cxr.evaluate.copies import calibration_half, check_copies, nearest_features
from cxr.evaluate.copy_set import CopySet, plant_copies
from cxr.request.errors import DataError

SIDE = 64
Pixels = NDArray[np.uint8]


def chests(count: int, seed: int) -> Pixels:
    """Dark ellipses on a bright ground, of all sizes and places, under smooth texture: alike, but not the same."""
    chance = np.random.default_rng(seed)
    down, right = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    images = np.full((count, SIDE, SIDE), 150.0)
    for centre in (-0.4, 0.4):
        x, y, width, height = (chance.normal(mean, 0.05, (count, 1, 1)) for mean in (centre, -0.1, 0.3, 0.6))
        images -= 80 * (((right - x) / width) ** 2 + ((down - y) / height) ** 2 < 1)
    coarse = torch.from_numpy(chance.normal(0, 12, (count, 1, 12, 12)))
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
def report(training: CopySet, generated: CopySet) -> dict[str, Any]:
    held_out = copy_set(chests(60, 2), "held")
    control = copy_set(np.repeat(training.pixels[:2], 3, axis=0), "over")
    return check_copies(generated, training, held_out, patients_of(60), control, embed={"means": means})


def test_the_closest_pairs_are_the_planted_copies(report: dict[str, Any]) -> None:
    assert {made for _, made, _ in report["pairs"]} == {f"made{number}" for number in range(20)}
    assert all(known == made.replace("made", "train") for _, made, known in report["pairs"])
    assert report["pairs"] == sorted(report["pairs"])


def test_copies_are_flagged_and_strangers_are_not(report: dict[str, Any]) -> None:
    pixels = report["spaces"][-1]
    assert pixels["name"] == "pixels"
    assert pixels["threshold"] > 2 * report["pairs"][-1][0]  # all 20 copies, and by far
    # Of so few calibration images the threshold lets about one of 28 strangers in; three of ten happen in 0.4 %.
    assert 20 / 30 <= pixels["flagged"].value <= 22 / 30
    assert pixels["flagged"].low < 20 / 30 < pixels["flagged"].high
    assert pixels["flagged_real"].value < 0.2


def test_near_exact_counts_pixels_and_files(report: dict[str, Any]) -> None:
    assert report["near_exact"] == 20 + 1


def test_the_report_counts_its_images(report: dict[str, Any]) -> None:
    assert report["num_training"] == 32
    assert report["num_calibration"] == calibration_half(patients_of(60)).sum()
    assert report["num_calibration"] + report["num_held_out"] == 60
    assert [space["name"] for space in report["spaces"]] == ["means", "pixels"]
    words = f"with {report['num_calibration']} calibration images the 0.1 % quantile"
    assert words in report["spaces"][0]["flagged"].note


def test_both_positive_controls_are_measured(report: dict[str, Any]) -> None:
    for space in report["spaces"]:
        measured = space["flagged_control"].settings["measured"]
        assert measured["images of an over-trained model"] == space["flagged_control"].value == 1
    assert report["spaces"][-1]["flagged_control"].num_generated == 6
    assert measured["re-made training images"] >= 0.95


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
    def nothing(queries: Pixels, *_: object) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        return np.ones(len(queries)), np.zeros(len(queries), np.intp)

    monkeypatch.setattr(copy_search, "aligned_nearest", nothing)


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


@pytest.mark.usefixtures("_without_pixels")
def test_a_space_that_sees_no_copies_says_so() -> None:
    generated, training, held_out = sides_of((5, 50, 100), 3)
    blind = check_copies(generated, training, held_out, patients_of(100))["spaces"][0]["flagged_control"]
    assert math.isnan(blind.value)
    assert "it needs the extractor" in blind.note
    strangers = points(40, 3, 7, "over")
    wrong = check_copies(generated, training, held_out, patients_of(100), strangers)["spaces"][0]["flagged_control"]
    assert wrong.value < 0.5
    assert "under 95% of planted copies" in wrong.note


def test_nearest_features_are_those_of_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(3)
    queries, references = chance.normal(size=(23, 5)), chance.normal(size=(31, 5)) * [1, 10, 100, 0.1, 0]
    scaled = [side[:, :4] / references[:, :4].std(axis=0) for side in (queries, references)]
    table = np.linalg.norm(scaled[0][:, None] - scaled[1][None], axis=2)
    for rows in (1, 4, 1000):
        monkeypatch.setattr(copy_search, "TABLE_BYTES", 8 * 31 * rows)
        distances, indices = nearest_features(queries, references)
        assert indices.tolist() == table.argmin(axis=1).tolist()
        assert distances == pytest.approx(table.min(axis=1))
        own = table.argmin(axis=1)
        assert nearest_features(queries, references, own)[0] == pytest.approx(np.sort(table, axis=1)[:, 1])


def test_a_training_image_is_not_its_own_neighbour(training: CopySet, monkeypatch: pytest.MonkeyPatch) -> None:
    twins = np.concatenate([training.pixels[:3], training.pixels[:2]])
    for rows in (1, 1000):
        monkeypatch.setattr(alignment, "TABLE_BYTES", 4 * len(twins) * rows)
        distances, indices = aligned_nearest(twins, twins, np.arange(5))
        assert indices[[0, 1, 3, 4]].tolist() == [3, 4, 0, 1]
        assert distances[[0, 1, 3, 4]] == pytest.approx([0] * 4, abs=2e-3)
        assert distances[2] > 0.3
    assert aligned_nearest(twins[:2], twins[:2], np.arange(2))[1].tolist() == [1, 0]


@pytest.mark.parametrize(
    "transform", [(0.0, 0.0, 0.0, 0.0), (0.03, -0.03, 3.0, 0.0), (-0.07, 0.07, -5.0, 0.04), (0.0, 0.05, 2.0, -0.045)]
)
def test_alignment_recovers_a_transform(transform: tuple[float, float, float, float], training: CopySet) -> None:
    originals = training.pixels[:6]
    found = align(moved(originals, transform), originals)
    # Half a pixel, a third of a degree, one per cent.
    assert (np.abs(found.transform - transform) < [0.5 / 64, 0.5 / 64, 0.33, 0.01]).all()
    assert found.correlation.min() > 0.99


def test_alignment_is_never_worse_than_none() -> None:
    left, right = chests(12, 4), chests(12, 5)
    found = align(left, right)
    plain = [
        np.corrcoef(x.ravel().astype(float), y.ravel().astype(float))[0, 1] for x, y in zip(left, right, strict=True)
    ]
    assert (found.correlation >= np.array(plain) - 1e-5).all()
    assert (np.abs(found.transform) <= [0.08 + 1e-6, 0.08 + 1e-6, 6, 0.05 + 1e-6]).all()


def test_a_transform_goes_right_down_and_clockwise() -> None:
    image = torch.zeros(1, 9, 9)
    image[0, 4, 6] = 1  # two pixels right of the middle
    for transform, place in (((1 / 9, 2 / 9, 0, 0), (6, 7)), ((0, 0, 90, 0), (6, 4)), ((0, 0, 0, 1), (4, 8))):
        result, _ = warped(image, torch.tensor([transform], dtype=torch.float32))
        assert divmod(int(result.argmax()), 9) == place
    assert warped(image, torch.tensor([[1 / 9, 0, 0, 0]]))[1][0].sum(dim=0).tolist() == [0.0] + [9.0] * 8


def test_alignment_ignores_brightness_but_not_sign(training: CopySet) -> None:
    image = training.pixels[:1]
    references = np.concatenate([255 - image, dimmed(image)])
    distances, indices = aligned_nearest(image, references)
    assert indices.tolist() == [1]
    assert distances[0] == pytest.approx(0, abs=0.03)
    assert align(image, references[:1]).correlation[0] < 0.5


def test_a_flat_image_is_like_nothing(training: CopySet) -> None:
    flat = np.stack([np.full((SIDE, SIDE), grey, np.uint8) for grey in (0, 77, 255)])
    for other in (training.pixels[:3], flat[::-1].copy()):
        for pair in ((flat, other), (other, flat)):
            assert align(*pair).correlation == pytest.approx([0, 0, 0], abs=1e-3)
    assert aligned_nearest(flat, training.pixels)[0] == pytest.approx([math.sqrt(2)] * 3, abs=1e-3)


def test_remade_images_follow_the_seed_and_keep_their_names(training: CopySet) -> None:
    first, again, other = (plant_copies(training, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)
    assert first.names == training.names
    assert first.features == {}
    changed = np.abs(first.pixels.astype(int) - training.pixels).mean(axis=(1, 2))
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
    with pytest.raises(DataError, match="tell the training images apart"):
        nearest_features(np.ones((2, 3)), np.ones((4, 3)))
