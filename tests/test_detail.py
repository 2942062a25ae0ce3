"""What networks of 128 pixels overlook is seen at the native size, and not in films that only are other patients'."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxr.evaluate.detail import choose_side, measure_detail, shape_note, size_note
from cxr.evaluate.distances import POSING
from cxr.evaluate.image_set import ImageSet
from cxr.metrics.degrade import add_noise, blur, compress
from cxr.metrics.detail import PROPERTIES, compare_properties, measure_properties

Pixels = np.ndarray


def films(count: int, seed: int, side: int = 128) -> Pixels:
    """Two lungs, a heart to the right of the middle, ribs, and texture of all sizes; patients differ."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)) + 1 / side
    images = []
    for _ in range(count):
        image = 150 + rng.normal(0, 8) + np.zeros((side, side))
        for centre in (-0.45, 0.45):
            size = rng.normal((0.3, 0.65), 0.03)
            image -= 70 * (((x - centre) / size[0]) ** 2 + (y / size[1]) ** 2 < 1)
        image += 60 * (((x - 0.2) / 0.3) ** 2 + ((y - 0.3) / 0.35) ** 2 < 1)
        image += 8 * np.sin(20 * y + rng.uniform(0, 6))
        spectrum = np.fft.fft2(rng.normal(size=(side, side))) / frequencies**1.2
        texture = np.fft.ifft2(spectrum).real
        images.append(image + 6 * rng.normal(1, 0.1) * texture / texture.std())
    films: NDArray[np.uint8] = np.clip(images, 0, 255).astype(np.uint8)
    return films


DAMAGE: dict[str, Callable[[Pixels], Pixels]] = {
    "blur": lambda pixels: blur(pixels, 0.8),
    "JPEG": lambda pixels: compress(pixels, 10),
    "noise": lambda pixels: add_noise(pixels, 8),
    "contrast": lambda pixels: (127.5 + 0.6 * (pixels - 127.5)).astype(np.uint8),
    "mirrored": lambda pixels: pixels[:, :, ::-1],
    "little blur": lambda pixels: blur(pixels, 0.4),
    "upside down": lambda pixels: pixels[:, ::-1],
    "brighter": lambda pixels: np.clip(pixels.astype(int) + 30, 0, 255).astype(np.uint8),
    "halved and enlarged": lambda pixels: pixels[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2),
}


def differing(real: Pixels, made: Pixels) -> set[str]:
    known, sides = measure_properties(real)
    each = np.arange(len(real)), np.arange(len(made))
    found = compare_properties(known, measure_properties(made, sides)[0], *each)
    return {one.name for one in found if one.settings["differs"]}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_leaves_the_interval_of_real_films(kind: str) -> None:
    assert differing(films(60, 0), DAMAGE[kind](films(60, 1)))


def test_other_patients_do_not() -> None:
    found = [differing(films(40, 10 + seed), films(40, 30 + seed)) for seed in range(6)]
    assert sum(map(bool, found)) <= 1  # 5 % are to be expected


def test_each_damage_shows_where_it_belongs() -> None:
    real, made = films(60, 0), films(60, 1)
    assert differing(real, DAMAGE["mirrored"](made)) == {"left-right"}
    assert "power at 75-100 %" in differing(real, DAMAGE["blur"](made))
    assert "contrast" in differing(real, DAMAGE["contrast"](made))
    assert PROPERTIES[-1] == "left-right"


def test_images_of_one_patient_are_one_witness() -> None:
    """Ten images of each of six patients give a wider interval than sixty patients do."""
    values, _ = measure_properties(films(60, 0))
    widths = []
    for groups in (np.arange(60), np.arange(60) // 10):
        repeated = values[groups * (10 if groups.max() < 10 else 1)]
        (first, *_) = compare_properties(values, repeated, np.arange(60), groups)
        widths.append(first.high - first.low)
    assert widths[1] > 1.5 * widths[0]


@pytest.mark.parametrize("patients", [1, 2])
def test_one_or_two_patients_give_no_interval(patients: int) -> None:
    known, sides = measure_properties(films(40, 0))
    made = measure_properties(films(40, 1), sides)[0] + 9
    found = compare_properties(known, made, np.arange(40) % patients, np.arange(40))
    assert all(np.isnan([one.low, one.high]).all() and not one.settings["differs"] for one in found)


def folder_of(folder, sides: list[int], name: str) -> ImageSet:  # type: ignore[no-untyped-def]
    folder.mkdir()
    paths = []
    for number, side in enumerate(sides):
        paths.append(folder / f"{number:03d}.png")
        Image.fromarray(films(1, number, side)[0]).save(paths[-1])
    names = tuple(f"{name}{number}" for number in range(len(sides)))
    return ImageSet(folder, tuple(paths), names, (), ("",) * len(sides), names, {})


def test_small_real_films_are_not_enlarged(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = folder_of(tmp_path / "made", [192] * 20, "m")
    real = folder_of(tmp_path / "real", [128] * 30 + [256] * 80, "r")
    side, large = choose_side(made, real)
    assert (side, len(large)) == (192, 80)
    part = measure_detail(made, real)
    assert (part["side"], part["num_smaller"]) == (192, 30)
    assert [row["name"] for row in part["rows"]] == ["generated", POSING]
    few = folder_of(tmp_path / "few", [128] * 100 + [256] * 20, "f")
    assert choose_side(made, few)[0] == 128
    assert "have 192 pixels, and their detail is measured at 128, the most that enough" in size_note(made, 128)
    assert not size_note(made, 192)


def test_images_of_another_shape_are_told(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made, real = (folder_of(tmp_path / name, [64] * 10, name) for name in ("made", "real"))
    assert not shape_note(made, real)
    for path in real.paths[:4]:
        Image.new("L", (64, 80)).save(path)
    assert shape_note(made, real).startswith("0 % of the generated images and 40 % of the real films are not square")
