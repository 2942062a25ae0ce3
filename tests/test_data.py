import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.data import load_pixels, read_folders, read_grey, split_by_patient
from cxr.errors import DataError

HEADER = ["file_name", "findings", "age", "sex", "view", "patient_id"]


def make_folder(folder: Path, rows: Sequence[Sequence[str]], side: int = 16) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
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


def test_no_patient_is_on_both_sides_and_the_side_does_not_depend_on_order(tmp_path: Path) -> None:
    rows = [("No Finding", "50", "M", "PA", str(number // 3)) for number in range(120)]
    records = read_folders([make_folder(tmp_path / "d", rows)])
    training, validation = split_by_patient(records, 0.3)
    assert {r.patient_id for r in training}.isdisjoint(r.patient_id for r in validation)
    assert 0.1 < len(validation) / len(records) < 0.5
    again = split_by_patient(records[::-1], 0.3)[1]
    assert {r.path for r in again} == {r.path for r in validation}


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
