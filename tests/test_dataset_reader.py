"""A finished data set is read whole, or refused with a line that says where it is not right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_dataset import FIRST_SEED, IMAGES, make_dataset, tree, write_manifest
from sample_images import fill, make_image

from cxr.folders.dataset_reader import read_dataset
from cxr.folders.image_folder import ImageFolder
from cxr.labels.cells import label_cells
from cxr.labels.vocabulary import PromptLabels
from cxr.request.errors import DataError

TABLE = "train/metadata.jsonl"


def test_images_come_by_index_with_what_is_known_of_them(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    images = read_dataset(tmp_path)
    assert [image.index for image in images] == [0, 1, 2, 3]
    for image, (split, findings, age, sex, view) in zip(images, IMAGES, strict=True):
        assert image.split == split
        assert image.path == tmp_path / split / f"{image.index:06d}_{FIRST_SEED + image.index}.png"
        assert image.labels == PromptLabels(None if findings is None else tuple(findings), age, sex, view)
        assert image.patient_id == f"SYN{image.index:07d}"
        assert image.recipe.seed == FIRST_SEED + image.index
        assert image.sha256 == hashlib.sha256(image.path.read_bytes()).hexdigest()
        lines = (tmp_path / split / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
        assert dict(image.row) | label_cells(image.labels) in [json.loads(line) for line in lines]


def test_bit_depth_is_read_and_8_where_an_older_line_says_nothing(tmp_path: Path) -> None:
    make_dataset(tmp_path, bit_depth=16)
    assert {image.recipe.bit_depth for image in read_dataset(tmp_path)} == {16}
    edit_row(tmp_path, lambda row: row.pop("bit_depth"))
    write_manifest(tmp_path)
    assert [image.recipe.bit_depth for image in read_dataset(tmp_path)] == [8, 16, 16, 16]
    assert read_dataset(tmp_path)[0].row["bit_depth"] == 8


def test_folder_of_generate_has_labels_from_its_prompts(tmp_path: Path) -> None:
    with ImageFolder(tmp_path) as folder:
        folder.write(make_image(0, prompt="A 55-year-old man with pneumonia, PA view"))
        folder.write(make_image(1, prompt="normal chest x-ray"))
        folder.write(make_image(2, prompt="xyz"))
    images = read_dataset(str(tmp_path))
    assert [image.labels for image in images] == [
        PromptLabels(("Pneumonia",), 55, "M", "PA"),
        PromptLabels((), None, None, None),
        PromptLabels(),
    ]
    assert [(image.split, image.patient_id) for image in images] == [
        ("train", "SYN0000000"),
        ("train", "SYN0000001"),
        ("train", "SYN0000002"),
    ]
    assert images[0].row["findings"] == ["Pneumonia"]
    assert images[2].row["findings"] is None


def test_reading_changes_nothing(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    before = tree(tmp_path)
    read_dataset(tmp_path)
    assert tree(tmp_path) == before


def edit_row(directory: Path, change: Callable[[dict[str, Any]], object], line: int = 1, table: str = TABLE) -> None:
    path = directory / table
    lines = path.read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[line - 1])
    change(row)
    lines[line - 1] = json.dumps(row)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


CHANGES: dict[str, dict[str, Any]] = {
    "up": {"file_name": "../train/000002_125.png"},
    "root": {"file_name": "/000002_125.png"},
    "no_png": {"file_name": "000002_125.exe"},
    "number": {"file_name": 7},
    "other_seed": {"seed": 9},
    "text_for_a_number": {"seed": "123"},
    "text_for_a_weight": {"adapter_weight": "much"},
    "no_prompt": {"prompt": None},
    "bits": {"bit_depth": 12},
    "finding": {"findings": "Cold"},
    "findings_in_a_list": {"findings": ["Mass"]},
    "age": {"age": "55.5"},
    "age_as_a_number": {"age": 55},
    "old": {"age": "1000"},
    "sex": {"sex": "X"},
    "view": {"view": "LATERAL"},
    "patient": {"patient_id": "A^B"},
    "hash": {"sha256": "00"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_line_that_is_not_ours_is_named(change: dict[str, Any], tmp_path: Path) -> None:
    make_dataset(tmp_path)
    edit_row(tmp_path, lambda row: row.update(change), line=2 if "seed" not in change else 1)
    write_manifest(tmp_path)
    with pytest.raises(DataError, match=r"train.metadata\.jsonl line [12] is damaged or of another program"):
        read_dataset(tmp_path)


def test_what_a_recipe_may_not_say_is_told_as_restore_tells_it(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    edit_row(tmp_path, lambda row: row.update(bit_depth=12), line=2)
    write_manifest(tmp_path)
    with pytest.raises(DataError, match=r"line 2 is damaged or of another program \(.*bit_depth.*8.*16.*\); make"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("key", ["file_name", "prompt", "patient_id", "findings", "sha256"])
def test_a_line_without_a_part_is_named(key: str, tmp_path: Path) -> None:
    make_dataset(tmp_path)
    edit_row(tmp_path, lambda row: row.pop(key), line=3)
    write_manifest(tmp_path)
    with pytest.raises(DataError, match=r"metadata\.jsonl line 3 is damaged"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\n", b"[]\n", b"7\n", b"{\n", b"\n", b"[" * 100_000 + b"\n"])
def test_bytes_that_are_no_row_are_named(content: bytes, tmp_path: Path) -> None:
    fill(tmp_path, 2)
    with (tmp_path / "metadata.jsonl").open("ab") as file:
        file.write(content)
    with pytest.raises(DataError, match=r"metadata\.jsonl line 3 is damaged"):
        read_dataset(tmp_path)


def _gone(directory: Path) -> None:
    directory.rename(directory.with_name("elsewhere"))


def _not_finished(directory: Path) -> None:
    (directory / "manifest.json").unlink()


def _not_json(directory: Path) -> None:
    (directory / "manifest.json").write_bytes(b"{")


def _newer(directory: Path) -> None:
    write_manifest(directory, format=2)


def _lists_twice(directory: Path) -> None:
    files = json.loads((directory / "manifest.json").read_bytes())["files"]
    write_manifest(directory, files=files + files[:1])


def _lists_nothing(directory: Path) -> None:
    write_manifest(directory, files=[])


def _table_gone(directory: Path) -> None:
    (directory / TABLE).unlink()


def _image_gone(directory: Path) -> None:
    (directory / "train" / "000002_125.png").unlink()


def _line_gone(directory: Path) -> None:
    path = directory / TABLE
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def _index_twice(directory: Path) -> None:
    (directory / "train" / "000000_125.png").write_bytes(b"any")
    edit_row(directory, lambda row: row.update(file_name="000000_125.png"), line=2)
    write_manifest(directory)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_gone, r"data is not a folder; name one that python -m cxr dataset wrote"),
        (_not_finished, r"data is not a finished data set; name a folder .* or repeat that command"),
        (_not_json, r"manifest\.json is damaged or of another program"),
        (_newer, r"manifest\.json has format 2; this version of the program reads 1"),
        (_lists_twice, r"manifest\.json lists a file twice"),
        (_lists_nothing, r"data holds no images"),
        (_table_gone, r"cannot read .*metadata\.jsonl: no such file"),
        (_image_gone, r"000002_125\.png is missing; repeat the command"),
        (_line_gone, r"metadata\.jsonl has changed since it was written"),
        (_index_twice, r"data holds image 0 twice"),
    ],
)
def test_a_folder_that_is_not_right_is_refused(spoil: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    make_dataset(tmp_path / "data")
    spoil(tmp_path / "data")
    with pytest.raises(DataError, match=message) as caught:
        read_dataset(tmp_path / "data")
    assert "\n" not in str(caught.value)


OUTSIDE = [
    "train/../../other/a",
    "..",
    "../a",
    "./a",
    "/etc/hostname",
    "a//b",
    "a/",
    "",
    "a\\b",
    "C:a",
    "a\n",
    "manifest.json",
    7,
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_leads_nowhere_else(name: Any, tmp_path: Path) -> None:
    make_dataset(tmp_path)
    files = json.loads((tmp_path / "manifest.json").read_bytes())["files"]
    write_manifest(tmp_path, files=[*files, {"file_name": name, "sha256": "0" * 64, "size_bytes": 1}])
    with pytest.raises(DataError, match=r"manifest\.json is damaged or of another program"):
        read_dataset(tmp_path)


def test_splits_and_files_may_have_any_name_that_stays_inside(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    (tmp_path / "train").rename(tmp_path / "übung_1")
    for name in ("my notes.txt", ".hidden", "..a", "a..b"):
        (tmp_path / name).write_bytes(b"mine")
    write_manifest(tmp_path)
    assert [image.split for image in read_dataset(tmp_path)] == ["übung_1", "validation", "übung_1", "übung_1"]
