"""Folders of images with and without tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_dataset import make_dataset
from sample_images import fill
from test_data import make_folder

from cxr.evaluate.image_set import read_set, shared_hashes
from cxr.evaluate.sets import Sets, check_sets, doubts_on_tables
from cxr.request.errors import DataError


def images(folder: Path, count: int = 3) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_images_without_a_table_are_a_set_of_unknown_things(tmp_path: Path) -> None:
    some = read_set(images(tmp_path))
    assert len(some) == 3
    assert not some.has_prompts
    assert np.isnan(some.targets).all()
    assert len(set(some.patients)) == 3
    assert some.describe()["folder"] == tmp_path.name


def test_generated_images_tell_prompts_and_what_they_were_made_with(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    some = read_set(tmp_path)
    assert set(some.prompts) == {"A 55-year-old man with pneumonia"}
    assert some.labels[0].findings == ("Pneumonia",)
    assert some.recipe["guidance_scale"] == 3.0
    assert some.describe()["adapter_sha256"] == "11"
    assert "seed" not in some.describe()


def test_real_images_tell_labels_and_patients(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "real", [("Mass|Effusion", "40", "F", "AP", "7"), ("No Finding", "", "", "", "7")])
    some = read_set(folder)
    assert some.describe()["num_patients"] == 1
    assert {labels.findings for labels in some.labels} == {("Effusion", "Mass"), ()}
    assert not some.has_prompts


def test_a_data_set_of_this_program_is_its_splits_with_prompts_and_labels(tmp_path: Path) -> None:
    make_dataset(tmp_path)  # with a plot, which is no radiograph
    some = read_set(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in some.paths] == [
        *("train/000000_123.png", "train/000002_125.png", "train/000003_126.png", "validation/000001_124.png"),
    ]
    assert some.prompts == tuple(f"Übung {index}: “PA view”" for index in (0, 2, 3, 1))
    assert [labels.findings for labels in some.labels] == [("Effusion",), (), None, ("Edema", "Mass")]
    assert some.patients[0] == "SYN0000000"
    assert some.recipe["adapter"] == "clinical"
    assert "num_patients" not in some.describe(), "synthetic ones are nobody"


@pytest.mark.parametrize("column", ["prompt", "text"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_other_programs_tables_are_understood(tmp_path: Path, column: str, kind: str) -> None:
    images(tmp_path)
    prompts = ["", "Chest x-ray with effusion", ""]
    if kind == "csv":
        text = f"file_name,{column}\n" + "".join(f"{k}.png,{prompt}\n" for k, prompt in enumerate(prompts))
        (tmp_path / "metadata.csv").write_text(text)
    else:
        rows = [json.dumps({"file_name": f"{k}.png", column: prompt}) for k, prompt in enumerate(prompts)]
        (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    some = read_set(tmp_path)
    assert some.prompts == ("", "Chest x-ray with effusion", "")
    assert [labels.findings for labels in some.labels] == [None, ("Effusion",), None]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metadata.jsonl", "{", "cannot be read"),
        ("metadata.jsonl", "[1]", "rows without file_name"),
        ("metadata.jsonl", "[" * 100_000, "cannot be read"),
        ("metadata.csv", "prompt\nx\n", "rows without file_name"),
    ],
)
def test_a_damaged_table_is_an_error_with_its_path(tmp_path: Path, name: str, text: str, message: str) -> None:
    images(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_set(tmp_path)
    assert name in str(caught.value)


def test_a_set_is_the_same_whatever_its_files_are_called(tmp_path: Path) -> None:
    first, second = images(tmp_path / "a"), images(tmp_path / "b")
    (second / "0.png").rename(second / "z.png")
    assert read_set(first).manifest_sha256 == read_set(second).manifest_sha256
    assert shared_hashes(read_set(first), read_set(second)) == 3
    assert shared_hashes(read_set(first), read_set(images(tmp_path / "c", 1))) == 1


def test_settings_that_differ_are_all_told(tmp_path: Path) -> None:
    images(tmp_path)
    rows = [{"file_name": f"{k}.png", "prompt": "x", "guidance_scale": k // 2} for k in range(3)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_set(tmp_path).recipe == {"guidance_scale": [0, 1]}


@pytest.mark.parametrize("ids", [("61", "00000061"), ("61", "61.0"), ("A7", "a7")])
def test_a_patient_is_the_same_however_the_id_is_written(ids: tuple[str, str], tmp_path: Path) -> None:
    sides = [
        make_folder(tmp_path / name, [("Mass", "40", "F", "AP", ids[k] if n == 0 else f"{name}{n}") for n in range(40)])
        for k, name in enumerate(("training", "reference"))
    ]
    for number, folder in enumerate(sides):
        images(folder, 40)
        for path in folder.glob("*.png"):  # other files than any other folder's
            pixels = np.random.default_rng([number, int(path.stem)]).integers(0, 256, (16, 16), np.uint8)
            Image.fromarray(pixels).save(path)
    fill(tmp_path / "generated", 20)
    training, reference, generated = map(read_set, (*sides, tmp_path / "generated"))
    with pytest.raises(DataError, match="1 patients are both in training and in the reference"):
        check_sets(Sets(generated, reference, training=training))


def test_ids_of_one_patient_in_one_table_are_one(tmp_path: Path) -> None:
    rows = [("Mass", "40", "F", "AP", patient) for patient in ("0061", "61.0", "7", "007", "", "")]
    some = read_set(make_folder(tmp_path, rows))
    assert some.patients[:4] == ("0061", "0061", "7", "7")
    assert some.num_unknown_patients == 2


def test_a_generated_image_that_comes_twice_is_no_patient(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / f"{number}.png")
    some = read_set(tmp_path)
    assert len(set(some.patients)) == 1
    assert len(set(some.owners)) == 3
    (tmp_path / "metadata.csv").write_text("file_name,patient_id,sex\n" + "".join(f"{k}.png,7,F\n" for k in range(3)))
    assert set(read_set(tmp_path).owners) == {"7"}


def test_images_that_no_table_lists_are_told(tmp_path: Path) -> None:
    some = images(tmp_path / "some", 20)
    assert not list(doubts_on_tables([read_set(some)]))
    (some / "metadata.csv").write_text("file_name,text\n" + "".join(f"{k}.png,edema\n" for k in range(19)))
    (note,) = doubts_on_tables([read_set(some)])
    assert note.startswith("1 of 20 images of some are in no table, as 19.png")


def test_names_tell_files_apart_in_any_layout(tmp_path: Path) -> None:
    for patient in ("patient1", "patient2"):
        (tmp_path / "set" / patient).mkdir(parents=True)
        images(tmp_path / "set" / patient / "study1", 1)
    assert read_set(tmp_path / "set").names == ("patient1/study1/0.png", "patient2/study1/0.png")
    assert read_set(images(tmp_path / "flat", 2)).names == ("flat/0.png", "flat/1.png")


def test_a_table_of_other_sides_is_another_question(tmp_path: Path) -> None:
    identities = set()
    for side in ("left", "right"):
        images(tmp_path, 1)
        (tmp_path / "metadata.csv").write_text(f"file_name,findings,sides\n0.png,Effusion,Effusion:{side}\n")
        identities.add(read_set(tmp_path).identity)
    assert len(identities) == 2


def test_a_folder_of_another_name_is_another_question(tmp_path: Path) -> None:
    """Reports name files by their folders: figures that are kept would name those of the old one."""
    first = read_set(images(tmp_path / "a", 2))
    assert first.identity != read_set((tmp_path / "a").rename(tmp_path / "b")).identity
    assert first.manifest_sha256 == read_set(tmp_path / "b").manifest_sha256
