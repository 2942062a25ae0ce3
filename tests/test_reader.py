"""Tables and layouts that people have are read right, or refused in one sentence: no label is lost in silence."""

from __future__ import annotations

import gzip
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_dataset import make_dataset

from cxr.dataset.convert import convert
from cxr.folders.dataset_reader import read_dataset
from cxr.folders.image_record import ImageRecord
from cxr.folders.radiographs import read_folders
from cxr.folders.reader import read_images
from cxr.labels.targets import LABELS, targets_of
from cxr.labels.vocabulary import FINDINGS, PromptLabels
from cxr.request.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
OURS = "file_name,findings,age,sex,view,patient_id\n"


def make_images(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS).save(path)


def read(folder: Path, names: Sequence[str], table: str, content: str | bytes) -> list[ImageRecord]:
    make_images(folder, names)
    data = content.encode() if isinstance(content, str) else content
    (folder / table).write_bytes(gzip.compress(data) if table.endswith(".gz") else data)
    return read_images(folder)


def facts(record: ImageRecord) -> tuple[object, ...]:
    labels = record.labels
    return labels.findings, labels.age, labels.sex, labels.view, record.patient_id


NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    "00000001_000.png,Cardiomegaly|Emphysema,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
    "00000002_000.png,No Finding,0,2,412,F,AP,2500,2048,0.168,0.168,\n"
    "00000099_000.png,Hernia,0,99,40,F,AP,2500,2048,0.168,0.168,\n"
)


def test_nih_with_its_own_table_and_lists_beside_it(tmp_path: Path) -> None:
    (tmp_path / "BBox_List_2017.csv").write_text("Image Index,Finding Label,Bbox [x,y,w,h]\n00000001_000.png,Mass,1\n")
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n")
    names = ["images_001/images/00000001_000.png", "images_002/images/00000002_000.png"]
    one, two = read(tmp_path, names, "Data_Entry_2017.csv", NIH)
    assert facts(one) == (("Cardiomegaly", "Emphysema"), 58, "M", "PA", "1")
    assert facts(two) == ((), None, "F", "AP", "2"), "nobody is 412 years old"
    assert one.is_real
    assert [record.patient_id for record in read_folders([tmp_path])] == ["1", "2"]


OBSERVED = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
CHEXPERT = (
    f"Path,Sex,Age,Frontal/Lateral,AP/PA,{OBSERVED}\n"
    "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0\n"
    "CheXpert-v1.0-small/train/patient00002/study1/view1_frontal.jpg,Male,87,Frontal,PA,,,-1.0,1.0,,0.0,,,,,1.0,,1.0,\n"
    "CheXpert-v1.0-small/train/patient00002/study1/view2_lateral.jpg,Unknown,0,Lateral,,,,,1.0,,,,,,,,,,\n"
)


@pytest.mark.parametrize("prefix", ["train", "CheXpert-v1.0-small/train"])
def test_chexpert_in_its_own_layout(prefix: str, tmp_path: Path) -> None:
    names = [
        f"{prefix}/patient0000{end}.jpg"
        for end in ("1/study1/view1_frontal", "2/study1/view1_frontal", "2/study1/view2_lateral")
    ]
    normal, ill, lateral = read(tmp_path, names, "train.csv", CHEXPERT)
    assert facts(normal) == ((), 68, "F", "AP", "patient00001")
    assert facts(ill) == (("Effusion",), 87, "M", "PA", "patient00002")
    assert facts(lateral) == (None, 0, None, None, "patient00002")
    known = dict(zip(LABELS, targets_of([ill.labels])[0], strict=False))
    assert (known["Effusion"], known["Edema"], known["abnormal"]) == (1, 0, 1)
    assert np.isnan([known["Cardiomegaly"], known["Hernia"], known["Pneumonia"]]).all(), "unsure or not looked for"


def test_chexpert_with_two_tables(tmp_path: Path) -> None:
    make_images(tmp_path, ["valid/patient1/study1/view1_frontal.jpg", "train/patient2/study1/view1_frontal.jpg"])
    for split, patient in (("valid", 1), ("train", 2)):
        row = f"CheXpert-v1.0/{split}/patient{patient}/study1/view1_frontal.jpg,Male,50,Frontal,AP,1.0" + "," * 13
        (tmp_path / f"{split}.csv").write_text(f"Path,Sex,Age,Frontal/Lateral,AP/PA,{OBSERVED}\n{row}\n")
    assert [record.patient_id for record in read_images(tmp_path)] == ["patient2", "patient1"]


@pytest.mark.parametrize("end", ["", ".gz"])
def test_mimic_joins_its_images_and_its_studies(end: str, tmp_path: Path) -> None:
    studies = f"subject_id,study_id,{OBSERVED}\n10,500,,,,,,1.0,,,,,,,,\n10,501,1.0,,,,,,,,,,,,,\n".encode()
    (tmp_path / f"mimic-cxr-2.0.0-chexpert.csv{end}").write_bytes(gzip.compress(studies) if end else studies)
    (tmp_path / "mimic-cxr-2.0.0-split.csv").write_text("dicom_id,study_id,subject_id,split\naa,500,10,train\n")
    metadata = (
        "dicom_id,subject_id,study_id,ViewPosition,Rows\naa-1,10,500,AP,8\nbb-2,10,501,LATERAL,8\ncc,11,502,PA,8\n"
    )
    names = ["files/p10/p10/s500/aa-1.jpg", "files/p10/p10/s501/bb-2.jpg"]
    one, two = read(tmp_path, names, f"mimic-cxr-2.0.0-metadata.csv{end}", metadata)
    assert facts(one) == (("Edema",), None, None, "AP", "10")
    assert facts(two) == ((), None, None, None, "10")


def test_chexgenbench_tells_prompts(tmp_path: Path) -> None:
    names = ["images/a.png", "images/b.png"]
    content = 'prompt,img_savename,chexpert_labels\nNo acute findings.,a.png,{}\n"Small effusion, left",b.png,{}\n'
    one, two = read(tmp_path, names, "prompt_INFO.csv", content)
    assert (one.prompt, two.prompt) == ("No acute findings.", "Small effusion, left")
    assert two.labels.findings == ("Effusion",)
    assert not two.is_real


@pytest.mark.parametrize("column", ["prompt", "Prompt", "caption", "text", "Caption ", "TEXT", "annotated_prompt"])
def test_columns_of_prompts(column: str, tmp_path: Path) -> None:
    (record,) = read(tmp_path, ["1.png"], "metadata.csv", f"file_name,{column}\n1.png,left effusion\n")
    assert record.prompt == "left effusion"


@pytest.mark.parametrize("column", ["file_name", "filename", "Image Index", "path", "image", "Image_Path", "image id"])
def test_columns_of_file_names(column: str, tmp_path: Path) -> None:
    (record,) = read(tmp_path, ["1.png"], "list.csv", f"{column},prompt\n1.png,left effusion\n")
    assert record.prompt == "left effusion"


def test_an_imagefolder_with_splits_and_one_table(tmp_path: Path) -> None:
    make_images(tmp_path, ["train/a.png", "test/b.png"])
    rows = [{"file_name": "train/a.png", "text": "edema"}, {"file_name": "test/b.png", "text": "mass"}]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert {record.path.name: record.prompt for record in read_images(tmp_path)} == {"a.png": "edema", "b.png": "mass"}


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_an_imagefolder_with_a_table_in_each_split(name: str, tmp_path: Path) -> None:
    make_images(tmp_path, ["train/a.png", "holdout/a.png", "plots/p.png"])
    for split, prompt in (("train", "edema"), ("holdout", "mass")):
        row = json.dumps({"file_name": "a.png", "text": prompt})
        (tmp_path / split / name).write_text(row if name.endswith("l") else f"file_name,text\na.png,{prompt}\n")
    assert [(record.split, record.prompt) for record in read_images(tmp_path)] == [
        ("holdout", "mass"),
        ("train", "edema"),
    ]


@pytest.mark.parametrize(
    ("cell", "age"),
    [
        *(("55", 55), ("55.0", 55), ("055Y", 55), ("55Y", 55), (" 55 ", 55), ("55 years", 55), ("55 y", 55)),
        *(("006M", 0), ("012W", 0), ("003D", 0), ("", None), ("nan", None), ("0", 0), ("120", 120)),
        *(("18M", 1), ("024M", 2), ("400D", 1), ("18 months", 1), (">89", 90), ("> 89", 90), ("90+", 90), ("≥90", 90)),
        *(("85 or more", 85), ("55yo", 55), ("NA", None), ('"55,0"', 55), ("55.", 55)),
    ],
)
def test_ages(cell: str, age: int | None, tmp_path: Path) -> None:
    (record,) = read(tmp_path, ["1.png"], "metadata.csv", f"{OURS}1.png,Mass,{cell},F,PA,7\n")
    assert record.labels.age == age


@pytest.mark.parametrize("cell", ["5O", "-3", "55.5", "121", "old", "5 5"])
def test_ages_that_are_none(cell: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metadata\.csv line 2: age '.*' is not a whole number from 0 to 120"):
        read(tmp_path, ["1.png"], "metadata.csv", f"{OURS}1.png,Mass,{cell},F,PA,7\n")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "sub/ä 1.png",
            "sub\\ä 1.png",
            "./sub/ä 1.png",
            ".\\sub\\ä 1.png",
            "C:\\data\\sub\\ä 1.png",
            "/data/sub/ä 1.png",
        ),
        *("ä 1.png", "ä 1", "sub/ä 1", "ä 1.jpg", "SUB/Ä 1.PNG", unicodedata.normalize("NFD", "sub/ä 1.png")),
    ],
)
def test_names_of_files(name: str, tmp_path: Path) -> None:
    (record,) = read(tmp_path, ["sub/ä 1.png"], "metadata.jsonl", json.dumps({"file_name": name, "text": "edema"}))
    assert record.prompt == "edema"
    path = tmp_path / "b" / unicodedata.normalize("NFD", "sub/ä 1.png")
    (record,) = read(tmp_path / "b", [str(path)], "metadata.jsonl", json.dumps({"file_name": name, "text": "edema"}))
    assert record.prompt == "edema"


@pytest.mark.parametrize(("cell", "age"), [("55.5", 55), ('"55,5"', 55), ("0.4", 0), ("11.9M", 0), ("61.999", 61)])
def test_of_parts_of_years_the_whole_ones_count(cell: str, age: int, tmp_path: Path) -> None:
    content = f"file_name,findings,age\n1.png,Mass,{cell}\n"
    assert read(tmp_path, ["1.png"], "metadata.csv", content)[0].labels.age == age


def test_a_name_that_two_files_have_is_not_guessed(tmp_path: Path) -> None:
    names = ["a/1.png", "b/1.png"]
    with pytest.raises(DataError, match=r"line 2: 1\.png may be a/1\.png or b/1\.png; name their folders, too"):
        read(tmp_path, names, "metadata.csv", "file_name,text\n1.png,x\n1.png,y\n")


def test_a_table_leads_nowhere_else(tmp_path: Path) -> None:
    make_images(tmp_path, ["secret/2.png", "set/1.png"])
    table = "file_name,text\n1.png,x\n../secret/2.png,y\n"
    assert [record.path.name for record in read(tmp_path / "set", [], "metadata.csv", table)] == ["1.png"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_separators_and_encodings(separator: str, encoding: str, tmp_path: Path) -> None:
    text = separator.join(["file_name", "prompt"]) + "\r\n" + separator.join(["größe.png", '"Erguß, left"']) + "\r\n"
    (record,) = read(tmp_path, ["größe.png"], "metadata.csv", text.encode(encoding))
    assert record.prompt == "Erguß, left"


def test_lines_that_end_as_on_old_macs(tmp_path: Path) -> None:
    content = "file_name;prompt\r1.png;edema, man, 50, PA\r"
    assert read(tmp_path, ["1.png"], "metadata.csv", content)[0].prompt == "edema, man, 50, PA"


@pytest.mark.parametrize("hint", ["sep=;", "SEP=;", '"sep=;"', "\ufeffsep=;", "sep=; "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_first_line_for_spreadsheets(hint: str, end: str, tmp_path: Path) -> None:
    lines = [hint, "file_name;findings;age;sex;view;patient_id", "1.png;Mass;55,0;F;PA;7", ""]
    (record,) = read(tmp_path, ["1.png"], "metadata.csv", end.join(lines))
    assert facts(record) == (("Mass",), 55, "F", "PA", "7")


ROW = "1.png,Mass,50,F,PA,7\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (OURS + ROW + ROW, r"line 3 lists 1\.png a second time; keep one row"),
        (OURS + ROW.replace("\n", ",left\n"), r"line 2 has 7 cells, the header 6"),
        (OURS.replace("age", "findings") + ROW, r"has 2 columns findings; keep one"),
        (OURS.replace("age", "Findings") + ROW, r"has 2 columns “findings”, capitals and spaces aside; keep one"),
        ("file_name,Patient Age,patient_age\n1.png,5,6\n", r"has 2 columns “patient_age”, capitals"),
        ("File_Name,file-name,age\n1.png,2.png,6\n", r"has 2 columns “file_name”, capitals"),
        ("file_name,Pleural Effusion,pleural_effusion\n1.png,,1\n", r"has 2 columns “pleural_effusion”, capitals"),
        ("file_name,SEX,sex,Sex\n1.png,F,M,F\n", r"has 3 columns “sex”, capitals"),
        ("file_name,age,age.1\n1.png,5,6\n", r"has 2 columns “age”, capitals"),
        ("findings,age\nMass,4\n", r"has rows without file_name"),
        ("file_name,score\n1.png,4\n", r"says nothing about the images; name a column file_name, prompt"),
        ("", r"metadata\.csv lists 0 of 1 images"),
        (OURS, r"metadata\.csv lists 0 of 1 images"),
        ("file_name,text\nx.png,edema\n", r"metadata\.csv lists 0 of 1 images; give each a row"),
        (OURS + ROW.replace("Mass", "Pnemonia"), r"line 2: finding 'Pnemonia' is not one of Atelectasis"),
        (OURS + ROW.replace("F", "X"), r"line 2: sex 'X' is not one of F, M"),
        (OURS + ROW.replace("PA", "LL"), r"line 2: view 'LL' is not one of AP, PA"),
        ('file_name,text\n1.png,"never closed\n', r"metadata\.csv cannot be read"),
        (b"\x81\x8d\xff", r"metadata\.csv cannot be read"),
        ("file_name,Effusion\n1.png,yes\n", r"line 2: a finding is 'yes'; use 1, 0, -1 or nothing"),
    ],
)
def test_tables_that_are_refused_in_one_sentence(content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, ["1.png"], "metadata.csv", content)
    assert "\n" not in str(caught.value)


def test_a_table_that_misses_more_than_one_image_in_ten(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(20)]
    content = OURS + "".join(f"{name},Mass,50,F,PA,7\n" for name in names[:18])
    assert len(read(tmp_path, names, "metadata.csv", content)) == 20
    make_images(tmp_path, ["20.png"])
    with pytest.raises(DataError, match=r"metadata\.csv lists 18 of 21 images"):
        read_images(tmp_path)


def test_two_tables_that_may_say_different_things(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "1.png", "text": "x"}))
    with pytest.raises(DataError, match=r"holds metadata\.csv and metadata\.jsonl; keep the one that is right"):
        read(tmp_path, ["1.png"], "metadata.csv", "file_name,text\n1.png,y\n")


def test_labels_without_patients_are_kept(tmp_path: Path) -> None:
    content = "file_name,findings,age,sex,view\n1.png,Pleural effusion; mass,50,female,pa\n"
    (record,) = read(tmp_path, ["1.png"], "metadata.csv", content)
    assert facts(record) == (("Effusion", "Mass"), 50, "F", "PA", "")
    assert record.is_real
    with pytest.raises(DataError, match="has no column patient_id"):
        read_folders([tmp_path])


def test_a_patient_without_an_id_is_named_where_one_is_held_out_by_it(tmp_path: Path) -> None:
    read(tmp_path, ["1.png", "2.png"], "metadata.csv", f"{OURS}1.png,,,,,5\n2.png,,,,,\n")
    with pytest.raises(DataError, match=r"metadata\.csv line 3 has no patient_id"):
        read_folders([tmp_path])


@pytest.mark.parametrize("bits", [None, 8])
def test_dicom_of_this_program_tells_what_its_data_set_does(bits: int | None, tmp_path: Path) -> None:
    make_dataset(tmp_path / "data")
    convert(tmp_path / "data", tmp_path / "dicom", "dicom", bits)
    records = {record.patient_id: record for record in read_images(tmp_path / "dicom")}
    assert len(records) == 4
    for image in read_dataset(tmp_path / "data"):
        record = records[image.patient_id]
        assert (record.labels, record.prompt) == (image.labels, image.recipe.prompt)
        assert not record.is_real


def test_linked_folders_count_once_and_hidden_files_do_not(tmp_path: Path) -> None:
    make_images(tmp_path, ["elsewhere/1.png", "set/2.png", "set/._2.png", "set/.thumbs/2.png"])
    (tmp_path / "set" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    assert [record.path.name for record in read_images(tmp_path / "set")] == ["2.png", "1.png"]


def test_masks_are_no_radiographs(tmp_path: Path) -> None:
    make_images(tmp_path, ["NORMAL/images/a.png", "NORMAL/masks/a.png"])
    with pytest.raises(DataError, match="masks holds masks and no radiographs; name a folder without it"):
        read_images(tmp_path)
    assert len(read_images(tmp_path / "NORMAL" / "images")) == 1


def test_a_link_to_nothing_is_no_missing_image(tmp_path: Path) -> None:
    make_images(tmp_path, ["a.png"])
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"b\.png is a link to a file that is not there; mend it or take it away"):
        read_images(tmp_path)


def test_columns_of_our_own_findings(tmp_path: Path) -> None:
    content = "file_name,No Finding," + ",".join(FINDINGS) + "\n1.png,0,1" + ",0" * 13 + "\n2.png,1" + ",0" * 14 + "\n"
    one, two = read(tmp_path, ["1.png", "2.png"], "metadata.csv", content)
    assert (one.labels, two.labels) == (
        PromptLabels(("Atelectasis",), None, None, None),
        PromptLabels((), None, None, None),
    )


@pytest.mark.parametrize(
    ("table", "content", "message"),
    [
        ("PADCHEST.csv", "ImageID,PatientSex_DICOM,Labels\na.png,M,normal\nb.png,F,normal\n", "column ImageID; call"),
        ("list.tsv", "Radiograph\tlabel\na\t1\nb\t0\n", "column Radiograph; call that column file_name"),
        ("cases.jsonl", '{"picture": "x/a.png", "label": 1}\n', "column picture; call"),
        ("labels.xlsx", b"PK\x03\x04", "labels.xlsx is not read; save it as metadata.csv"),
        ("train.parquet", b"PAR1", "train.parquet is not read"),
        ("metadata.json", '[{"file_name": "a.png", "prompt": "normal"}]', "metadata.json is not read"),
    ],
)
def test_a_table_of_the_images_that_is_not_read_is_named(
    table: str, content: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, ["a.png", "b.png"], table, content)


def test_a_table_of_something_else_is_no_table_of_the_images(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    assert len(read(tmp_path, ["a.png", "b.png"], "losses.csv", "step,loss\n1,0.5\n2,0.4\n")) == 2


def test_a_folder_of_numbers_and_a_table_of_losses(tmp_path: Path) -> None:
    assert len(read(tmp_path, ["1.png", "2.png"], "losses.csv", "step,loss\n1,0.5\n2,0.4\n")) == 2


@pytest.mark.parametrize(
    ("cell", "view"),
    [
        *(("p.a.", "PA"), ("A.P.", "AP"), ("Posterior-Anterior", "PA"), ("anterior posterior", "AP")),
        *(("AP ERECT", "AP"), ("PORTABLE AP", "AP"), ("AP_horizontal", "AP"), ("Anteroposterior", "AP")),
        *(
            ("POSTEROANTERIOR", "PA"),
            ("postero-anterior", "PA"),
            ("PA view", "PA"),
            ("Frontal", None),
            ("AP LLD", None),
        ),
        *(("Lateral view", None), ("LLAT", None), ("LPO", None), ("RLO", None), ("unknown", None), ("nan", None)),
    ],
)
def test_views_of_others(cell: str, view: str | None, tmp_path: Path) -> None:
    content = f"Image Index,Finding Labels,View Position\n1.png,Mass,{cell}\n"
    assert read(tmp_path, ["1.png"], "x.csv", content)[0].labels.view == view


@pytest.mark.parametrize("cell", ["AP/PA", "standing", "?"])
def test_views_that_are_none(cell: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not one of AP, PA"):
        read(tmp_path, ["1.png"], "x.csv", f"Image Index,Finding Labels,View Position\n1.png,Mass,{cell}\n")


@pytest.mark.parametrize(
    ("cell", "findings"),
    [
        *(
            ("['Mass', 'Nodule']", ("Mass", "Nodule")),
            ("[]", ()),
            ("Hiatal hernia", ("Hernia",)),
            ("Oedema", ("Edema",)),
        ),
        *(
            ("pleural_thickening", ("Pleural_Thickening",)),
            ("healthy", ()),
            ("No_Finding", ()),
            ("nan", None),
            ("|", None),
        ),
    ],
)
@pytest.mark.parametrize("column", ["findings", "Finding Labels", "FindingLabels", "Labels", "diagnosis"])
def test_findings_of_others(column: str, cell: str, findings: tuple[str, ...] | None, tmp_path: Path) -> None:
    content = f'file_name,{column},patient_id\n1.png,"{cell}",7\n'
    assert read(tmp_path, ["1.png"], "metadata.csv", content)[0].labels.findings == findings


@pytest.mark.parametrize(
    ("columns", "cells", "findings"),
    [
        ("no finding,atelectasis,pleural effusion", "0,1,1", ("Atelectasis", "Effusion")),
        ("No_Finding,Pulmonary fibrosis,Pleural thickening", "0,1,0", ("Fibrosis",)),
        ("No finding,Nodule/Mass,Cardiomegaly", "1,0,0", ()),
        ("Atelectasis,Mass", "True,False", ("Atelectasis",)),
        ("Atelectasis,Mass,Edema", '"1,0","0,0","-1,0"', ("Atelectasis",)),
        ("Effusion,Pleural Effusion", "1,", ("Effusion",)),
        ("No Finding,Fracture," + ",".join(FINDINGS), "0,1" + ",0" * 14, None),
        ("findings,Mass,Edema", "Mass,1,0", ("Mass",)),
    ],
)
def test_columns_of_findings_of_others(
    columns: str, cells: str, findings: tuple[str, ...] | None, tmp_path: Path
) -> None:
    (record,) = read(tmp_path, ["1.png"], "metadata.csv", f"file_name,{columns}\n1.png,{cells}\n")
    assert record.labels.findings == findings


@pytest.mark.parametrize(
    ("columns", "cells", "message"),
    [
        ("Effusion,Pleural Effusion", "1,0", "two columns say different things of Effusion"),
        ("No Finding,Mass", "1,1", "No Finding and Mass are both 1"),
        ("findings,Mass,Edema", "Edema,1,0", "the column of findings and those of single findings disagree"),
        ("patient_id,label", "7,1", "finding '1' is not one of"),
        ("age,patient_age", "5,50", "line 2: its columns age, patient_age say different things"),
        ("sex,gender,age", "M,F,5", "line 2: its columns sex, gender say different things"),
        ("view,ViewPosition,age", "PA,AP,5", "line 2: its columns view, ViewPosition say different things"),
    ],
)
def test_columns_that_disagree(columns: str, cells: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, ["1.png"], "metadata.csv", f"file_name,{columns}\n1.png,{cells}\n")


@pytest.mark.parametrize("cell", ["nan", "None", "NULL", "N/A", "<NA>", ""])
def test_nobody_is_called_nan(cell: str, tmp_path: Path) -> None:
    (record,) = read(tmp_path, ["1.png"], "metadata.csv", f"{OURS}1.png,Mass,5,F,PA,{cell}\n")
    assert record.patient_id == ""
    (record,) = read(tmp_path, ["1.png"], "metadata.csv", f"file_name,prompt,sex\n1.png,{cell},F\n")
    assert record.prompt == ""


@pytest.mark.parametrize(
    ("column", "cell", "is_lateral"),
    [
        *(("View Position", "LL", True), ("View Position", "Lateral view", True), ("View Position", "PA", False)),
        *(
            ("Frontal/Lateral", "Lateral", True),
            ("Frontal/Lateral", "Frontal", False),
            ("View Position", "AP LLD", False),
        ),
        *(("Projection", "L", True), ("Projection", "AP_horizontal", False), ("Projection", "", False)),
    ],
)
def test_lateral_films_are_known(column: str, cell: str, is_lateral: bool, tmp_path: Path) -> None:
    content = f"Image Index,Finding Labels,{column}\n1.png,Mass,{cell}\n"
    assert read(tmp_path, ["1.png"], "x.csv", content)[0].is_lateral is is_lateral


def chexpert_rows(*images: tuple[int, str]) -> str:
    rows = (f"CheXpert/train/patient{number}/study1/{name}.jpg,Male,{number},Frontal,AP" for number, name in images)
    return "Path,Sex,Age,Frontal/Lateral,AP/PA\n" + "\n".join(rows)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("names", [("view1_frontal", "view1_frontal"), ("view1_frontal", "view2_lateral")])
def test_some_images_of_chexpert_and_its_whole_table(names: tuple[str, str], suffix: str, tmp_path: Path) -> None:
    content = chexpert_rows(*((number, name) for number in (3, 1, 2, 4) for name in ("view1_frontal", "view2_lateral")))
    paths = [f"train/patient{number}/study1/{name}.{suffix}" for number, name in enumerate(names, 1)]
    assert [record.labels.age for record in read(tmp_path, paths, "train.csv", content)] == [1, 2]


@pytest.mark.parametrize("study", ["500", "s500", "500.0"])
def test_studies_of_mimic_however_they_are_written(study: str, tmp_path: Path) -> None:
    (tmp_path / "chexpert.csv").write_text(f"subject_id,study_id,{OBSERVED}\n10,{study},,,,,,1.0,,,,,,,,\n")
    content = "dicom_id,subject_id,study_id,ViewPosition\naa,10,500,AP\n"
    assert read(tmp_path, ["aa.jpg"], "metadata.csv", content)[0].labels.findings == ("Edema",)
    (tmp_path / "chexpert.csv").write_text(f"subject_id,study_id,{OBSERVED}\n10,7,,,,,,1.0,,,,,,,,\n")
    with pytest.raises(DataError, match="has the studies of 0 of 1 images"):
        read_images(tmp_path)


def test_brax(tmp_path: Path) -> None:
    content = (
        f"DicomPath,PngPath,PatientID,PatientSex,PatientAge,{OBSERVED},ViewPosition\n"
        "x/i1.dcm,y/i1.png,id_1,F,85 or more,,,1,,,,,,,,,,,,PA\nx/i2.dcm,y/i2.png,id_2,M,30,1,,,,,,,,,,,,,,RL\n"
    )
    one, two = read(tmp_path, ["y/i1.png", "y/i2.png"], "master_spreadsheet_update.csv", content)
    assert facts(one) == (("Cardiomegaly",), 85, "F", "PA", "id_1")
    assert facts(two) == ((), 30, "M", None, "id_2")


@pytest.mark.parametrize("table", ["metadata.csv.gz", "metadata.jsonl.gz", "Metadata.CSV", "list.tsv.gz", "labels.csv"])
@pytest.mark.parametrize("blank", ["", "\n\n"])
def test_tables_by_other_names(table: str, blank: str, tmp_path: Path) -> None:
    separator = "\t" if "tsv" in table else ","
    row = (
        '{"file_name": "1.png", "text": "edema"}'
        if "jsonl" in table
        else f"file_name{separator}text\n1.png{separator}edema"
    )
    assert read(tmp_path, ["1.png"], table, blank + row)[0].prompt == "edema"


TEXTS = "file_name,text\na.png,edema\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"annotations/image_labels.csv": TEXTS}, "image_labels.csv names images of .* and is not read there; move it"),
        ({"x/y/metadata.csv": TEXTS}, "move it there, or name .*y$"),
        ({"../Data_Entry_2017.csv": NIH.replace("00000001_000", "a")}, "Data_Entry_2017.csv names images of"),
        ({"test/metadata.parquet": "PAR1"}, "metadata.parquet is not read"),
        ({"metadata.csv.zip": "PK"}, "metadata.csv.zip is not read"),
        ({"captions.json": '{"a.png": "edema"}'}, "captions.json is not read"),
        ({"prompts.txt": "edema"}, "prompts.txt is not read"),
        ({"train_list.txt": "7 a.png edema source\n"}, "train_list.txt says something of the images and is not read"),
        ({"lists/test.lst": "images/a.png,0,1\n"}, "test.lst says something of the images"),
        ({"labels.yaml": "a.png: edema\n"}, "labels.yaml says something of the images"),
        ({"a.txt": "edema"}, "texts beside the images, as .*a.txt, are not read; write metadata.csv"),
        ({"a.json": '{"prompt": "edema"}'}, "texts beside the images"),
        ({"a.png.txt": "edema"}, "texts beside the images, as .*a.png.txt, are not read"),
        ({"captions/a.txt": "edema"}, "texts beside the images, as .*a.txt, are not read"),
        ({"a.xml": "<report/>"}, "texts beside the images"),
        ({"labels.csv": "a.png,Mass\n"}, r"names the images in its column a\.png; call that column file_name"),
        ({"chexpert.csv": f"subject_id,study_id,{OBSERVED}\n10,500" + "," * 14}, "names no images; add a column"),
        ({"prompts.csv": "index,prompt\n0,edema\n"}, "prompts.csv names no images; add a column file_name"),
        ({"metadata.ndjson": '{"file_name": "a.png", "text": "edema"}'}, "metadata.ndjson is not read"),
        ({"labels.xlsm": "PK"}, "labels.xlsm is not read"),
        ({"train-rle.csv": "ImageId, EncodedPixels\n0,-1\na, -1\n"}, "names the images in its column ImageId; call"),
        ({"metadata.csv": TEXTS, "b/metadata.csv": TEXTS}, "both describe the images; keep one"),
        ({"one.csv": "file_name,age\na.png,5\n", "two.csv": TEXTS}, "both describe the images; keep one"),
    ],
)
def test_no_table_is_overlooked(files: dict[str, str], message: str, tmp_path: Path) -> None:
    make_images(tmp_path / "set", ["a.png"])
    for name, content in files.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_images(tmp_path / "set")
    assert "\n" not in str(caught.value)


def test_what_lies_beside_a_folder_and_is_no_table_of_it_is_none(tmp_path: Path) -> None:
    make_images(tmp_path / "set", ["1.png", "a.png"])
    (tmp_path / "broken.csv").write_text('"never closed')
    (tmp_path / "other.csv").write_text("step,file\n1,b.png\n")
    (tmp_path / "set" / "report.json").write_text('{"name": "b.png"}')
    (tmp_path / "set" / "log.ndjson").write_text('{"name": "b.png"}')
    (tmp_path / "set" / "train_list.txt").write_text("1.png\na.png\n")
    (tmp_path / "set" / "README.txt").write_text("Films\n\nOne of them is a.png, and\nthere are others\n")
    assert len(read_images(tmp_path / "set")) == 2


def test_a_split_without_a_table_is_not_dropped(tmp_path: Path) -> None:
    make_images(tmp_path, ["train/a.png", "test/b.png"])
    (tmp_path / "train" / "metadata.csv").write_text(TEXTS)
    with pytest.raises(DataError, match=r"test holds images and no metadata\.csv, as .*train does; give it one, too"):
        read_images(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_text_of_an_encoding_that_is_not_said(encoding: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metadata\.csv cannot be read: it is not text of a known encoding"):
        read(tmp_path, ["a.png"], "metadata.csv", TEXTS.encode(encoding))


@pytest.mark.parametrize(
    ("columns", "cells", "message"),
    [
        ("Class", ["Effusion", "No Finding"], "has findings in its column Class, which is not read; call that column"),
        ("Diagnose", ["Mass|Nodule", ""], "findings in its column Diagnose"),
        ("Patient's sex", ["M", "F"], "sex in its column Patient's sex"),
        ("Geschlecht", ["w", "m"], "sex in its column Geschlecht"),
        ("Orientation", ["AP", "Lateral"], "view in its column Orientation"),
        ("AgeAtStudy", ["055Y", "061Y"], "age in its column AgeAtStudy"),
        ("", ["F", "M"], "sex in its column without a name"),
        ("age (years)", ["55", "61.5"], "age in its column age"),
        ("age in months", ["60", "7"], "age in its column age in months, which is not read; call .* age, in years"),
    ],
)
@pytest.mark.parametrize("known", ["patient_id", "prompt"])
def test_a_column_by_another_name_is_not_lost(
    columns: str, cells: list[str], message: str, known: str, tmp_path: Path
) -> None:
    rows = [f"{number}.png,A,{cell}" for number, cell in enumerate(cells)]
    content = "\n".join([f"file_name,{known},{columns}", *rows])
    if "findings" in message and known == "prompt":  # beside a prompt they may be anything
        assert len(read(tmp_path, ["0.png", "1.png"], "metadata.csv", content)) == 2
        return
    with pytest.raises(DataError, match=message):
        read(tmp_path, ["0.png", "1.png"], "metadata.csv", content)


@pytest.mark.parametrize(
    ("column", "cells"),
    [("Status", ["normal", "normal"]), ("Image size", ["55", "61"]), ("Side", ["L", "R"]), ("Ward", ["M", "B"])],
)
def test_a_column_of_something_else_is_no_label(column: str, cells: list[str], tmp_path: Path) -> None:
    content = f"file_name,patient_id,{column}\n0.png,7,{cells[0]}\n1.png,8,{cells[1]}\n"
    assert facts(read(tmp_path, ["0.png", "1.png"], "metadata.csv", content)[0]) == (None, None, None, None, "7")


def test_what_a_table_has_no_column_for_its_prompt_says(tmp_path: Path) -> None:
    content = 'file_name,prompt,age\n1.png,"A woman with left effusion, no mass, PA view",41\n2.png,A man with edema,\n'
    one, two = read(tmp_path, ["1.png", "2.png"], "metadata.csv", content)
    assert facts(one) == (("Effusion",), 41, "F", "PA", "")
    assert facts(two) == (("Edema",), None, "M", None, "")


def test_folders_that_are_named_by_findings(tmp_path: Path) -> None:
    names = ["test/Pleural_Thickening/a.png", "train/NORMAL/b.png", "train/PNEUMONIA/c.png", "train/edema/x/d.png"]
    make_images(tmp_path, names)
    found = [record.labels.findings for record in read_images(tmp_path)]
    assert found == [("Pleural_Thickening",), (), ("Pneumonia",), ("Edema",)]
    make_images(tmp_path, ["train/COVID/e.png"])
    with pytest.raises(DataError, match=r"COVID.e\.png lies in no folder that is named by a finding, as .* does"):
        read_images(tmp_path)


def test_chexpert_plus(tmp_path: Path) -> None:
    names = [f"train/patient0000{number}/study1/view1_frontal.png" for number in (1, 2)]
    content = (
        "path_to_image,frontal_lateral,ap_pa,deid_patient_id,report,age,sex,race,split\n"
        "train/patient00001/study1/view1_frontal.jpg,Frontal,AP,patient00001,Edema.,67.0,Male,White,train\n"
        "train/patient00002/study1/view1_frontal.jpg,Lateral,,patient00002,Normal.,55.5,Female,White,train\n"
    )
    one, two = read(tmp_path, names, "df_chexpert_plus_240401.csv", content)
    assert facts(one) == (("Edema",), 67, "M", "AP", "patient00001")
    assert (two.is_lateral, two.labels.age, two.is_real) == (True, 55, True)


def test_padchest_has_labels_beside_its_reports(tmp_path: Path) -> None:
    head = "file_name,PatientID,PatientSex_DICOM,ViewPosition_DICOM,Report,Labels\n"
    row = """a.png,p1,F,POSTEROANTERIOR,derram pleural,"['pleural effusion', 'cardiomegaly']"\n"""
    record = read(tmp_path, ["a.png"], "metadata.csv", head + row)[0]
    assert facts(record) == (("Cardiomegaly", "Effusion"), None, "F", "PA", "p1")
    with pytest.raises(DataError, match="findings in its column Signs, which is not read"):
        read(tmp_path, ["a.png"], "metadata.csv", head.replace("Labels", "Signs") + row)


def test_mimic_without_most_of_its_studies(tmp_path: Path) -> None:
    (tmp_path / "chexpert.csv").write_text(f"subject_id,study_id,{OBSERVED}\n10,500,,,,,,1.0,,,,,,,,\n")
    content = "dicom_id,subject_id,study_id,ViewPosition\naa,10,500,AP\nbb,10,501,AP\n"
    with pytest.raises(DataError, match=r"beside .* has the studies of 1 of 2 images; add those that it lacks"):
        read(tmp_path, ["aa.jpg", "bb.jpg"], "metadata.csv", content)


@pytest.mark.parametrize("column", ["sent_prompt", "report"])
def test_a_text_that_speaks_of_a_view_is_no_column_of_views(column: str, tmp_path: Path) -> None:
    text = "PA view" if column == "sent_prompt" else "PA view of the chest shows effusion"
    for number in range(2):
        Image.new("L", (16, 16), 100 + number).save(tmp_path / f"{number}.png")
    rows = [{"file_name": f"{n}.png", "prompt": "chest x-ray", column: text} for n in range(2)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(read_images(tmp_path)) == 2


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


PATIENTS = "file_name,patient_id\na.png,1\nb.png,2\n"


@pytest.mark.parametrize("table", ["metadata.csv", "images.csv"])
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"patients.csv": "patient_id,sex\n1,F\n2,M\n"}, "patients.csv has sex of the images and is not read; put all"),
        ({"labels.csv": "patient_id,findings\n1,Mass\n2,Edema\n"}, "labels.csv has findings of the images"),
        ({"reports.csv": "Study_ID,report\n1,Mass\n2,Edema\n"}, "reports.csv has prompt of the images"),
        ({"labels.xlsx": "PK"}, "labels.xlsx is not read"),
        ({"a.txt": "edema", "b.txt": "mass"}, "texts beside the images"),
    ],
)
def test_no_table_beside_one_that_is_read_is_overlooked(
    table: str, files: dict[str, str], message: str, tmp_path: Path
) -> None:
    write(tmp_path, files)
    with pytest.raises(DataError, match=message):
        read(tmp_path, ["a.png", "b.png"], table, PATIENTS)


def test_a_table_that_says_no_more_than_another_is_no_loss(tmp_path: Path) -> None:
    write(tmp_path, {"splits.csv": "file_name,split\na.png,train\n", "prompts.csv": "prompt,sex\nx,F\n"})
    content = "file_name,findings,patient_id\na.png,Mass,1\nb.png,,2\n"
    assert len(read(tmp_path, ["a.png", "b.png"], "metadata.csv", content)) == 2


def test_images_that_only_a_lesser_table_lists(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(20)]
    write(tmp_path, {"test.csv": "file_name,findings\n19.png,Edema\n"})
    with pytest.raises(DataError, match=r"test\.csv lists images that no other table does and is not read"):
        read(tmp_path, names, "train.csv", "file_name,findings,age\n" + "".join(f"{k},Mass,5\n" for k in range(19)))


@pytest.mark.parametrize("files", [4, 10])
def test_texts_of_some_of_the_images(files: int, tmp_path: Path) -> None:
    make_images(tmp_path, [f"{number}.png" for number in range(10)])
    write(tmp_path, {f"{number}.txt": "edema" for number in range(files)})
    with pytest.raises(DataError, match="texts beside the images"):
        read_images(tmp_path)


def test_reports_of_mimic_beside_the_folders_of_studies(tmp_path: Path) -> None:
    make_images(tmp_path, ["files/p10/s500/aa.png"])
    write(tmp_path, {"files/p10/s500.txt": "FINDINGS: edema"})
    with pytest.raises(DataError, match=r"texts beside the images, as .*s500\.txt"):
        read_images(tmp_path)


def test_lists_of_names_called_like_folders_are_no_texts_of_images(tmp_path: Path) -> None:
    make_images(tmp_path, ["train/a.png", "valid/b.png"])
    write(tmp_path, {"train.txt": "a.png\n", "valid.txt": "b.png\n"})
    assert len(read_images(tmp_path)) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("internal/b.png", r"internal holds images and no metadata\.csv"),
        ("b.png", r"b\.png lies beside train, which has"),
    ],
)
def test_images_beside_splits_are_not_dropped(name: str, message: str, tmp_path: Path) -> None:
    make_images(tmp_path, ["train/a.png", name])
    write(tmp_path, {"train/metadata.csv": TEXTS})
    with pytest.raises(DataError, match=message):
        read_images(tmp_path)


@pytest.mark.parametrize("report", ["", "report/"])
def test_pictures_of_a_report_are_no_radiographs(report: str, tmp_path: Path) -> None:
    make_images(tmp_path, ["a.png", f"{report}pictures/examples.png", f"{report}plots/kd.png"])
    assert len(read_images(tmp_path)) == 3
    write(tmp_path, {f"{report}report.json": "{}"})
    assert [record.path.name for record in read_images(tmp_path)] == ["a.png"]


def test_studies_of_mimic_in_any_capitals(tmp_path: Path) -> None:
    write(tmp_path, {"chexpert.csv": f"subject_id,study_id,{OBSERVED}\n10,500,,,,,,1.0,,,,,,,,\n"})
    content = "DICOM_ID,Subject_ID,Study_ID,ViewPosition\naa,10,500,AP\n"
    assert read(tmp_path, ["aa.jpg"], "metadata.csv", content)[0].labels.findings == ("Edema",)


def test_a_study_that_is_listed_twice(tmp_path: Path) -> None:
    write(tmp_path, {"chexpert.csv": "subject_id,study_id,Edema\n10,500,1\n10,500,1\n10,500,0\n"})
    with pytest.raises(DataError, match=r"chexpert\.csv line 4 says other things of study 500 than a line above"):
        read(tmp_path, ["aa.jpg"], "images.csv", "dicom_id,subject_id,study_id\naa,10,500\n")


def test_a_column_that_begins_late(tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "patient_id": "1"}, {"file_name": "b.png", "patient_id": "2", "Class": "Mass"}]
    with pytest.raises(DataError, match="findings in its column Class"):
        read(tmp_path, ["a.png", "b.png"], "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def test_of_columns_that_mean_the_same_the_filled_one_counts(tmp_path: Path) -> None:
    content = "file_name,age,Patient Age,patient_id,subject_id,findings,Finding Labels\n1.png,,50,,7,,Mass\n"
    assert facts(read(tmp_path, ["1.png"], "metadata.csv", content)[0]) == (("Mass",), 50, None, None, "7")
    content = "file_name,prompt,caption\n1.png,,edema\n"
    assert read(tmp_path, ["1.png"], "metadata.csv", content)[0].prompt == "edema"


def test_folders_named_by_findings_beside_a_table_of_patients(tmp_path: Path) -> None:
    ill, normal = read(tmp_path, ["Mass/a.png", "NORMAL/b.png"], "metadata.csv", PATIENTS)
    assert (facts(ill), facts(normal)) == ((("Mass",), None, None, None, "1"), ((), None, None, None, "2"))


def test_files_whose_names_differ_by_capitals(tmp_path: Path) -> None:
    names, content = ["A.png", "a.png"], "file_name,text\nA.png,edema\na.png,mass\n"
    assert [record.prompt for record in read(tmp_path, names, "metadata.csv", content)] == ["edema", "mass"]
    with pytest.raises(DataError, match=r"line 2: a\.PNG may be one of two files whose names differ by capitals only"):
        read(tmp_path, names, "metadata.csv", content.replace("A.png", "a.PNG"))


def test_prompts_whose_images_are_not_here(tmp_path: Path) -> None:
    content = "img_savename,prompt\n" + "".join(f"{number}.png,edema\n" for number in range(10))
    assert len(read(tmp_path, [f"{number}.png" for number in range(9)], "prompt_INFO.csv", content)) == 9
    (tmp_path / "8.png").unlink()
    with pytest.raises(DataError, match=r"prompt_INFO\.csv has prompts of 2 images that are not in the folder"):
        read_images(tmp_path)


def test_a_patient_of_two_folders_has_one_id(tmp_path: Path) -> None:
    for folder, patient in (("one", "00000061"), ("two", "61.0")):
        make_images(tmp_path / folder, ["1.png"])
        write(tmp_path / folder, {"metadata.csv": f"{OURS}1.png,Mass,50,F,PA,{patient}\n"})
    assert {one.patient_id for one in read_folders([tmp_path / "one", tmp_path / "two"])} == {"00000061"}
