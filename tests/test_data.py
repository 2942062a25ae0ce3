"""Folders of radiographs: reading, splitting, refusing."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.folders.radiographs import load_pixels, read_folders
from cxr.images.reading import read_grey
from cxr.labels.radiograph import Radiograph
from cxr.labels.split import leave_out, split_by_patient
from cxr.request.errors import DataError, RequestError

HEADER = ["file_name", "findings", "age", "sex", "view", "patient_id"]


def make_folder(folder: Path, rows: Sequence[Sequence[str]], side: int = 16, header: Sequence[str] = HEADER) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for number, row in enumerate(rows):
            writer.writerow([f"{number}.png", *row])
            pixels = np.random.default_rng(number).integers(0, 256, (side, side), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_reads_labels_and_keeps_unknown_apart_from_none(tmp_path: Path) -> None:
    rows = [("No Finding", "54", "M", "PA", "1"), ("Mass|Edema", "", "F", "AP", "2"), ("", "60", "", "", "3")]
    normal, two, unknown = read_folders([make_folder(tmp_path / "d", rows)])
    assert normal.findings == ()
    assert two.findings == ("Edema", "Mass")
    assert two.age is None
    assert (unknown.findings, unknown.sex, unknown.view) == (None, None, None)


def test_sides_are_read_from_a_column_of_their_own(tmp_path: Path) -> None:
    rows = [("Mass|Effusion", "", "F", "AP", "2", "Mass:right|Effusion:bilateral"), ("Mass", "", "", "", "3", "")]
    one, two = read_folders([make_folder(tmp_path / "d", rows, header=[*HEADER, "sides"])])
    assert one.sides == (("Effusion", "bilateral"), ("Mass", "right"))
    assert two.sides == ()


@pytest.mark.parametrize("cell", ["Effusion:left", "Mass:up", "Mass", "Cardiomegaly:left"])
def test_sides_that_cannot_be_are_refused(tmp_path: Path, cell: str) -> None:
    rows = [("Mass|Cardiomegaly", "", "F", "AP", "2", cell)]
    with pytest.raises(DataError, match=r"line 2: side .* is not one of the row's findings"):
        read_folders([make_folder(tmp_path / "d", rows, header=[*HEADER, "sides"])])


@pytest.fixture
def many(tmp_path: Path) -> list[Radiograph]:
    """Forty patients with three images each."""
    return read_folders([make_folder(tmp_path / "d", [("", "", "", "", str(row // 3)) for row in range(120)])])


def test_no_patient_is_on_two_sides_and_the_side_does_not_depend_on_order(many: list[Radiograph]) -> None:
    split = split_by_patient(many, 0.3, 0.3)
    assert all(0.1 < len(side) / len(many) < 0.6 for side in split)
    patients = [{record.patient_id for record in side} for side in split]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 40
    for side, again in zip(split, split_by_patient(many[::-1], 0.3, 0.3), strict=True):
        assert {record.path for record in side} == {record.path for record in again}


def test_who_is_held_out_stays_so(many: list[Radiograph]) -> None:
    few, more = (split_by_patient(many, *shares).held_out for shares in ((0.2, 0.5), (0.4, 0.0)))
    assert {record.patient_id for record in few} < {record.patient_id for record in more}
    assert not split_by_patient(many, 0.0).held_out
    assert not split_by_patient(many).judging


@pytest.mark.parametrize("num_folds", [2, 3, 5])
def test_over_all_folds_each_patient_is_left_out_once(many: list[Radiograph], num_folds: int) -> None:
    folds = [leave_out(many, fold, num_folds) for fold in range(num_folds)]
    assert sum(len(fold.held_out) for fold in folds) == len(many)
    for fold in folds:
        assert fold.held_out
        assert len(fold.training) + len(fold.held_out) == len(many)
        assert not {one.patient_id for one in fold.training} & {one.patient_id for one in fold.held_out}


@pytest.mark.parametrize("shares", [(-0.1, 0.0), (0.5, 0.5), (float("nan"), 0.0)])
def test_shares_that_leave_nothing_are_refused(many: list[Radiograph], shares: tuple[float, float]) -> None:
    with pytest.raises(RequestError, match="use 0 or more each, below 1 together"):
        split_by_patient(many, *shares)


def test_pixels_are_grouped_by_size(tmp_path: Path) -> None:
    small = make_folder(tmp_path / "small", [("", "", "", "", "1")] * 2)
    large = make_folder(tmp_path / "large", [("", "", "", "", "2")], side=32)
    groups = load_pixels(read_folders([large, small]))
    assert list(groups) == [16, 32]
    assert groups[32][0].tolist() == [0]
    assert groups[16][1].shape == (2, 16, 16)
    assert groups[16][1].dtype == np.uint8


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("Pnemonia", "50", "M", "PA", "1"), "line 2: finding 'Pnemonia' is not one of Atelectasis"),
        (("No Finding", "5O", "M", "PA", "1"), "line 2: age '5O' is not a whole number"),
        (("No Finding", "50", "X", "PA", "1"), "line 2: sex 'X' is not one of F, M"),
        (("No Finding", "50", "M", "LL", "1"), "line 2: view 'LL' is not one of AP, PA"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, row: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_folders([make_folder(tmp_path / "d", [row])])


def test_a_number_that_a_spreadsheet_keeps_by_a_formula_is_the_number(tmp_path: Path) -> None:
    (record,) = read_folders([make_folder(tmp_path / "d", [("", "", "", "", '="007"')])])
    assert record.patient_id == "007"


def test_missing_table_column_and_image_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metadata\.csv is missing"):
        read_folders([tmp_path])
    (tmp_path / "metadata.csv").write_text("file_name,age\n")
    with pytest.raises(DataError, match="no column findings, sex, view, patient_id"):
        read_folders([tmp_path])
    folder = make_folder(tmp_path / "d", [("", "", "", "", "1")])
    (folder / "0.png").unlink()
    with pytest.raises(DataError, match=r"lists 0\.png, which is not in the folder"):
        read_folders([folder])


def test_an_unreadable_image_is_an_error_and_never_a_black_square(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG broken")
    with pytest.raises(DataError, match=r"broken\.png cannot be read"):
        read_grey(path)
