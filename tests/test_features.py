"""Files -> pixels -> features, and the cache between them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from cxr.evaluate.extractors.extractor import Extractor, FeatureCache, extract
from cxr.folders.metadata import hash_files
from cxr.images.squares import find_images, fit_square, read_squares
from cxr.metrics.features import Features
from cxr.request.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    chance = np.random.default_rng(0)
    (tmp_path / "deeper").mkdir()
    for name in ("b.png", "a.webp", "deeper/c.PNG"):
        Image.fromarray(chance.integers(0, 256, (20, 20), np.uint8)).save(tmp_path / name, lossless=True)
    (tmp_path / "metadata.csv").write_text("no image")
    return tmp_path


class Counting:
    """An extractor of two numbers, which counts the images that it sees."""

    def __init__(self, weights: str = "0" * 64, value: float = 1.0) -> None:
        self.seen = 0
        self.value = value
        self.extractor = Extractor("means", 1, weights, 8, self.embed)

    def embed(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        self.seen += len(pixels)
        images = torch.from_numpy(pixels).double().flatten(1)
        return torch.stack([images.mean(dim=1), images.std(dim=1)], dim=1) * self.value


def extracted(folder: Path, extractor: Extractor, cache: Path | None) -> Features:
    paths = find_images(folder)
    return extract(paths, hash_files(paths), extractor, FeatureCache(cache, extractor.id))


def test_images_are_found_by_name_in_all_folders(folder: Path) -> None:
    assert [path.name for path in find_images(folder)] == ["a.webp", "b.png", "c.PNG"]


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        find_images(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        find_images(tmp_path / "gone")


def test_a_folder_that_cannot_be_looked_into_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    scandir = os.scandir

    def guarded(path: str | Path) -> Any:  # chmod does not stop the administrator
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(DataError, match="closed cannot be read: permission denied"):
        find_images(tmp_path)


def test_an_unreadable_file_is_an_error_with_its_path(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"broken\.png cannot be read"):
        read_squares(find_images(folder), 8)


def test_shrinking_looks_at_every_pixel() -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * 200
    assert np.abs(fit_square(board.astype(np.uint8), 16).astype(int) - 100).max() <= 1


def test_proportions_are_kept_and_the_rest_is_black() -> None:
    square = fit_square(np.full((40, 20), 180, np.uint8), 20)
    assert (square[:, 5:15] == 180).all()
    assert not square[:, :5].any()
    assert not square[:, 15:].any()


def test_an_image_of_the_right_size_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    assert np.array_equal(fit_square(image, 32), image)


def test_what_was_computed_is_not_computed_again(folder: Path, tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    before = extracted(folder, first.extractor, tmp_path / "cache")
    after = extracted(folder, second.extractor, tmp_path / "cache")
    assert (first.seen, second.seen) == (3, 0)
    assert np.array_equal(before, after)
    assert before.shape == (3, 2)


def test_only_what_is_new_is_computed(folder: Path, tmp_path: Path) -> None:
    extracted(folder, Counting().extractor, tmp_path / "cache")
    Image.new("L", (20, 20), 7).save(folder / "d.png")
    (folder / "copy_of_b.png").write_bytes((folder / "b.png").read_bytes())
    again = Counting()
    features = extracted(folder, again.extractor, tmp_path / "cache")
    assert again.seen == 1
    by_name = dict(zip((path.name for path in find_images(folder)), features, strict=True))
    assert np.array_equal(by_name["copy_of_b.png"], by_name["b.png"])
    assert by_name["d.png"] == pytest.approx([7, 0])


def test_other_weights_are_another_extractor(folder: Path, tmp_path: Path) -> None:
    extracted(folder, Counting().extractor, tmp_path / "cache")
    other = Counting(weights="1" * 64)
    extracted(folder, other.extractor, tmp_path / "cache")
    assert other.seen == 3


def test_a_damaged_cache_is_passed_over(folder: Path, tmp_path: Path) -> None:
    extracted(folder, Counting().extractor, tmp_path / "cache")
    for path in (tmp_path / "cache").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:40])
    again = Counting()
    extracted(folder, again.extractor, tmp_path / "cache")
    assert again.seen == 3


def test_without_a_place_for_it_nothing_is_kept(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    for cache in (None, tmp_path / "a file"):
        counting = Counting()
        extracted(folder, counting.extractor, cache)
        assert counting.seen == 3


def test_features_that_are_not_finite_are_an_error_and_not_kept(folder: Path, tmp_path: Path) -> None:
    broken = Counting(value=float("nan"))
    with pytest.raises(DataError, match="extractor means returned a value that is not finite"):
        extracted(folder, broken.extractor, tmp_path / "cache")
    assert not FeatureCache(tmp_path / "cache", broken.extractor.id).rows
