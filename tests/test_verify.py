"""Images made again from their own recipes, and data sets checked against what they say of themselves."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from cxr.commands.main import main
from cxr.dataset import make, reproduce
from cxr.dataset.convert import convert
from cxr.dataset.make import Options, run_dataset
from cxr.dataset.plan import build_plan
from cxr.dataset.reproduce import DIFFERENT, IDENTICAL, WITHIN, Reproducer, compare
from cxr.dataset.verify import verify_file, verify_folder
from cxr.generate.model import load_model
from cxr.images.png import encode_png, read_recipe
from cxr.request.errors import CxrError, DataError
from cxr.request.events import GeneratedImage

GIVEN: dict[str, Any] = {
    "settings": {"num_inference_steps": 2, "bit_depth": 16},
    "cohort": [{"findings": ["Effusion", "No Finding"], "age": "40-60", "count": 2}],
    "split": {"train": 0.5, "test": 0.5},
}


@pytest.fixture(scope="module", autouse=True)
def _one_model(tiny_model_dir: Path) -> Any:
    """Loaded once: most of the time would go into that."""
    loaded = load_model(str(tiny_model_dir), "none", weight_dtype="float32")
    with pytest.MonkeyPatch.context() as patch:
        for module in (make, reproduce):
            patch.setattr(module, "load_model", lambda *given, **options: loaded)
        yield


@pytest.fixture(scope="module")
def made(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "set"
    assert run_dataset(build_plan(GIVEN, "test"), folder, Options(str(tiny_model_dir), "none")) == 0
    return folder


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A copy, to be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "set"))


def checked(path: Path, sample: int = 0) -> tuple[int, str]:
    said: list[str] = []
    check = verify_folder(path, Reproducer(), sample, said.append) if path.is_dir() else None
    return (verify_file(path, Reproducer(), said.append) if check is None else check), "\n".join(said)


def a_png(folder: Path) -> Path:
    return min(folder.glob("train/*.png"))


def test_a_data_set_as_it_was_written_is_right(made: Path) -> None:
    code, said = checked(made, sample=2)
    assert code == 0
    assert "4 images: files, recipes and labels are right" in said
    assert said.count(": identical") == 2


def test_the_command_makes_as_many_again_as_it_is_asked_for(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(made), "--sample", "1"]) == 0
    assert capsys.readouterr().out.count("identical") == 1


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_dicom_object_is_made_again(made: Path, bits: int, tmp_path: Path) -> None:
    path = next(file for file in convert(made, tmp_path / "dicom", "dicom", bits) if file.suffix == ".dcm")
    code, said = checked(path)
    assert (code, said) == (0, f"{path}: identical")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PatientSex": "O"}, "something else of sex than its prompt"),
        ({"PatientAge": "012Y"}, "something else of age than its prompt"),
        ({"ViewPosition": "LL"}, "something else of view than its prompt"),
        ({"ImageComments": "Asked for: Hernia"}, "something else of findings than its prompt"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "viewers show another picture"),
        ({"WindowCenter": 10, "WindowWidth": 20}, "viewers show another picture"),
        ({"RescaleSlope": -1, "RescaleIntercept": 65535}, "viewers show another picture"),
        ({"SyntheticData": "NO"}, "does not say that it is synthetic"),
    ],
    ids=str,
)
def test_a_dicom_header_that_says_something_else_is_named(
    changes: dict[str, Any], message: str, made: Path, tmp_path: Path
) -> None:
    path = convert(made, tmp_path / "dicom", "dicom")[0]
    dataset = pydicom.dcmread(path)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    code, said = checked(path)
    assert code == 1
    assert message in said
    assert "identical" in said


def replace_in(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def add_row(folder: Path) -> None:
    path = folder / "labels.csv"
    path.write_text(path.read_text() + "train/x.png\n")


def drop_last_row(folder: Path) -> None:
    path = folder / "labels.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: a_png(folder).write_bytes(a_png(folder).read_bytes() + b"\0"), ".png has changed"),
        (replace_in("README.md", "synthetic", "real"), "README.md has changed"),
        (replace_in("labels.csv", "SYN0000001", "SYN0000009"), "labels.csv says something else about"),
        (drop_last_row, "labels.csv has no row for"),
        (replace_in("labels.csv", "file_name,", "train/x.png\nfile_name,"), "labels.csv has no row for"),
        (add_row, "which is not in the metadata"),
    ],
)
def test_what_was_changed_is_named(spoil: Callable[[Path], None], message: str, data: Path) -> None:
    spoil(data)
    code, said = checked(data)
    assert code == 1
    assert message in said


def test_another_picture_under_the_same_recipe_is_different(data: Path) -> None:
    path = a_png(data)
    recipe = read_recipe(path)
    pixels = np.full((recipe.height, recipe.width), 30_000, np.uint16)
    path.write_bytes(encode_png(GeneratedImage(0, pixels, recipe)))
    code, said = checked(path)
    assert (code, DIFFERENT in said) == (1, True)


def test_another_model_is_named(data: Path) -> None:
    path = a_png(data)
    recipe = read_recipe(path)
    with pytest.raises(DataError, match=r"was made with tiny sha256:0, here is sha256:.*--model"):
        Reproducer().check(np.zeros((32, 32), np.uint16), dataclasses.replace(recipe, model_revision="sha256:0"), 16)
    with pytest.raises(DataError, match=r"was made with the LoRA .* sha256:5, here is .*--adapter local:PATH"):
        Reproducer().check(np.zeros((32, 32), np.uint16), dataclasses.replace(recipe, adapter_sha256="5"), 16)


def test_a_file_without_a_recipe_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(CxrError, match="recipe"):
        checked(made / "plots" / "samples.png")
    (tmp_path / "x.dcm").write_bytes(b"no")
    with pytest.raises(DataError, match=r"x\.dcm cannot be read as a DICOM image"):
        checked(tmp_path / "x.dcm")


def test_what_is_no_data_set_is_told_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, message in ((tmp_path / "none", "does not exist"), (tmp_path, "is not a finished data set")):
        assert main(["verify", str(path)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("step", "verdict"), [(0, IDENTICAL), (257, WITHIN), (2 * 257, DIFFERENT), (3 * 257, DIFFERENT)]
)
def test_tolerance_is_in_grey_levels_and_decibels(step: int, verdict: str) -> None:
    pixels = np.full((8, 8), 20_000, np.uint16)
    assert compare(pixels, pixels + np.uint16(step), 16).verdict == verdict
    one = pixels.copy()
    one[0, 0] += np.uint16(min(step, 2 * 257))
    assert compare(pixels, one, 16).verdict == (WITHIN if step else IDENTICAL)  # two levels in one place only
    assert compare(pixels, pixels[:4], 16).verdict == DIFFERENT
    assert compare(pixels, pixels.astype(np.uint8), 16).verdict == DIFFERENT


def test_a_grid_ends_in_one_labelled_sheet(tiny_model_dir: Path, tmp_path: Path) -> None:
    given = {"grid": {"prompt": ["normal chest x-ray", "x"], "num_inference_steps": [1], "seed": [1, 2, 3]}}
    assert run_dataset(build_plan(given, "grid"), tmp_path / "set", Options(str(tiny_model_dir), "none")) == 0
    from PIL import Image

    with Image.open(tmp_path / "set" / "plots" / "grid.png") as sheet:
        assert sheet.width > 3 * 32
        assert sheet.height > 2 * 32
    assert "grid.png" in (tmp_path / "set" / "README.md").read_text()
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert manifest["num_images"] == 6
