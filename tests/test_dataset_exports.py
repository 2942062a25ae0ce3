"""Every format is read back with the library that its users use, and is the same a second time."""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pyarrow import parquet
from sample_dataset import IMAGES, make_dataset, pixels_of, tree, write_manifest
from sample_images import fill, make_image

from cxr.commands.export import add_export_parser
from cxr.dataset.convert import FORMATS, convert
from cxr.folders.archive import write_zip
from cxr.folders.dataset_reader import read_dataset
from cxr.folders.dicom import SyntheticPatient, encode_dicom
from cxr.folders.dicom_reader import read_dicom_recipe
from cxr.folders.image_folder import ImageFolder
from cxr.folders.parquet import PARQUET_NAMES, write_parquet
from cxr.folders.shards import cut, name_shards
from cxr.folders.webdataset import TAR_NAMES
from cxr.images.pixels import to_bits
from cxr.labels.cells import label_cells
from cxr.labels.vocabulary import PromptLabels
from cxr.request.errors import CxrError, DataError, OutputError, RequestError
from cxr.request.events import ExportedFile

NAMES = [f"{index:06d}_{123 + index}" for index in range(4)]
OUTPUTS = {
    "dicom": {f"{labels[0]}/{name}.dcm" for labels, name in zip(IMAGES, NAMES, strict=True)},
    "webdataset": {"train-000000.tar", "validation-000000.tar"},
    "parquet": {"data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"},
}
ODD_TEXTS = (
    *(
        "a" * 200,
        "a\\b",
        "\\" * 70,
        "a" * 63 + "\\b",
        "tab\there",
        "line\nbreak",
        "x\r\ny",
        " ends ",
        "  ",
        "^=\\",
        "a=b^c",
    ),
    *(
        "ü" * 80,
        "e\u0301" * 40,
        "肺炎の胸部X線" * 30,
        "العربية " * 40,
        "\U0001f600" * 300,
        "\u202eabc",
        "\u2028 line",
        "x" * 2_000,
    ),
)
needs_dciodvfy = pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs Debian's dicom3tools")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_dataset(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def data_16(tmp_path: Path) -> Path:
    make_dataset(tmp_path / "data_16", bit_depth=16)
    return tmp_path / "data_16"


def export(data: Path, kind: str, place: str = "out", **options: Any) -> Path:
    output = data.parent / place
    convert(data, output, kind, **options)
    return output


def check_rows(
    rows: list[dict[str, Any]], data: Path, split: str, bit_depth: int = 8, *, as_text: bool = False
) -> None:
    """Compare what a library has read with the data set's own lines, whose labels are texts."""
    wanted = [image for image in read_dataset(data) if image.split == split]
    assert len(rows) == len(wanted)
    for row, image in zip(rows, wanted, strict=True):
        assert np.array_equal(np.asarray(row["image"]), pixels_of(image.index, bit_depth))
        known = dict(image.row) | (label_cells(image.labels) if as_text else {})
        for name in ("prompt", "seed", "guidance_scale", "patient_id", "findings", "age", "sex", "view", "sha256"):
            assert row[name] == known[name], name


# Any format


@pytest.mark.parametrize("kind", OUTPUTS)
def test_folder_holds_these_files_and_is_the_same_a_second_time(kind: str, data: Path) -> None:
    output = export(data, kind)
    first = tree(output)
    assert set(first) == OUTPUTS[kind]
    assert tree(export(data, kind)) == first  # over the first
    assert tree(export(data, kind, "elsewhere")) == first


@pytest.mark.parametrize("kind", FORMATS)
def test_export_reads_only(kind: str, data: Path) -> None:
    before = tree(data)
    export(data, kind)
    assert tree(data) == before


@pytest.mark.parametrize("kind", FORMATS)
def test_changed_image_is_refused_and_leaves_nothing_of_its_file(kind: str, data: Path) -> None:
    spoilt = data / "validation" / "000001_124.png"
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"x")
    with pytest.raises(OutputError, match=r"000001_124\.png has changed since it was written"):
        export(data, kind)
    output = data.parent / "out"
    left = {path.name for path in output.rglob("*") if path.is_file()} if output.is_dir() else set()
    assert left <= {"000000_123.dcm", *(name.rpartition("/")[2] for name in OUTPUTS.get(kind, ()) if "train" in name)}
    assert not output.is_file()


def test_killed_export_ends_with_the_same_bytes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tree(export(data, "dicom", "whole"))

    def kill(line: str) -> None:
        if line.startswith("2 of 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(data, "dicom", say=kill)
    output = data.parent / "out"
    assert 0 < len(tree(output)) < len(whole)
    # A kill that no program can catch leaves a part of the next file behind, under a name of its own.
    (output / "train" / ".000002_125.dcm.partial").write_bytes(b"half")
    assert tree(export(data, "dicom")) == whole


def test_progress_is_told_in_few_lines(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    export(data, "dicom", say=lines.append)
    assert len(lines) == 4
    lines.clear()
    monkeypatch.setattr("cxr.dataset.convert.PROGRESS_LINES", 3)
    export(data, "dicom", say=lines.append)
    assert lines == [
        "2 of 4 files, the last is validation/000001_124.dcm",
        "4 of 4 files, the last is train/000003_126.dcm",
    ]


@pytest.mark.parametrize(
    ("kind", "place", "foreign", "message"),
    [
        ("dicom", "out", "out/train-000000.tar", r"out holds train-000000\.tar, which is not part of this export"),
        ("webdataset", "out", "out/train-000001.tar", r"out holds train-000001\.tar, which is not part of this export"),
        ("parquet", "out", "out/data/train-00000-of-00002.parquet", r"out holds data.train-00000-of-00002\.parquet"),
        ("webdataset", "out", "out", r"out is a file; name a new or empty folder"),
        ("zip", "out", "out/any", r"out is a folder; name the ZIP to write, such as .*dataset\.zip"),
        ("zip", "out", "out", r"out is not a ZIP of this program; choose another name"),
        ("dicom", "data/dicom", "other", r"dicom lies in the data set itself"),
        ("zip", "other/place", "other", r"cannot write .*other.*choose a folder that you may write to"),
    ],
)
def test_what_lies_in_the_way_is_kept(kind: str, place: str, foreign: str, message: str, data: Path) -> None:
    path = data.parent / foreign
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"mine")
    before = tree(data.parent)
    with pytest.raises(CxrError, match=message):
        export(data, kind, place)
    assert tree(data.parent) == before


def test_hidden_files_are_not_in_the_way(data: Path) -> None:
    (data.parent / "out" / ".git").mkdir(parents=True)
    (data.parent / "out" / ".git" / "config").write_bytes(b"")
    assert len(tree(export(data, "webdataset"))) == 3


@pytest.mark.parametrize(
    ("kind", "bits", "message"),
    [
        ("tiff", None, "format is 'tiff'; use dicom, webdataset, parquet, zip"),
        ("parquet", 16, "bits are for DICOM; parquet holds the images as they are"),
        ("dicom", 10, "bits is 10; use 8, 12, 16"),
        ("dicom", 12, "12 bits needs images of 16, and these have 8; make the data set with bit_depth: 16"),
        ("dicom", 16, "16 bits needs images of 16, and these have 8; make the data set with bit_depth: 16"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    kind: str, bits: int | None, message: str, data: Path
) -> None:
    with pytest.raises(RequestError, match=message):
        export(data, kind, bits=bits)
    assert not (data.parent / "out").exists()


# DICOM


@pytest.mark.parametrize(("depth", "bits"), [(8, None), (8, 8), (16, None), (16, 16), (16, 12), (16, 8)])
def test_dicom_pixels_are_those_of_the_data_set(depth: int, bits: int | None, tmp_path: Path) -> None:
    make_dataset(tmp_path / "data", bit_depth=depth)
    output = export(tmp_path / "data", "dicom", bits=bits)
    for index, (split, _, age, sex, view) in enumerate(IMAGES):
        dataset = pydicom.dcmread(output / split / f"{NAMES[index]}.dcm")
        pixels = pixels_of(index, depth).astype(int)
        if depth == 16 and bits == 12:
            pixels = pixels // 16
        if depth == 16 and bits == 8:
            pixels = (pixels + 128) // 257
        assert np.array_equal(dataset.pixel_array, pixels)
        assert dataset.BitsStored == (bits or depth)
        assert dataset.SyntheticData == "YES"
        assert dataset.PatientID == f"SYN{index:07d}"
        assert dataset.PatientSex == (sex or "")
        assert dataset.get("PatientAge") == (None if age is None else f"{age:03d}Y")
        assert dataset.get("ViewPosition") == view
        assert read_dicom_recipe(dataset) == read_dataset(tmp_path / "data")[index].recipe


def test_dicom_uids_are_one_of_each_image_and_stay(data: Path) -> None:
    def uids(place: str) -> list[str]:
        paths = sorted(export(data, "dicom", place).rglob("*.dcm"))
        return [str(pydicom.dcmread(path).SOPInstanceUID) for path in paths]

    assert uids("out") == uids("elsewhere")
    assert len(set(uids("out"))) == 4


def test_images_of_two_folders_of_generate_are_not_one_study(tmp_path: Path) -> None:
    studies = set()
    for seed in (7, 8):
        with ImageFolder(tmp_path / str(seed)) as folder:
            folder.write(make_image(0, seed=seed))
        (path,) = convert(tmp_path / str(seed), tmp_path / f"dicom {seed}", "dicom")
        studies |= {str(pydicom.dcmread(path).StudyInstanceUID), str(pydicom.dcmread(path).SeriesInstanceUID)}
    assert len(studies) == 4


def test_gdcm_reads_the_same_pixels(data_16: Path) -> None:
    gdcm = pytest.importorskip("gdcm")
    output = export(data_16, "dicom", bits=12)
    for index, name in enumerate(NAMES):
        reader = gdcm.ImageReader()
        reader.SetFileName(str(output / IMAGES[index][0] / f"{name}.dcm"))
        assert reader.Read()
        image = reader.GetImage()
        assert (image.GetDimension(0), image.GetDimension(1)) == (5, 6)
        assert image.GetPixelFormat().GetBitsStored() == 12
        buffer = image.GetBuffer().encode("utf-8", errors="surrogateescape")
        assert np.array_equal(np.frombuffer(buffer, "<u2").reshape(6, 5), pixels_of(index, 16) // 16)


def errors_of(path: Path) -> list[str]:
    """What dciodvfy says against a file."""
    run = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", check=False)
    said = (run.stdout + run.stderr).splitlines()
    assert "SCImage" in said, "it has looked at the right kind of object"
    # Debian 12's version of 2022 does not know Synthetic Data yet.
    return [line for line in said if line.startswith("Error") and "(0x0008,0x001c)" not in line]


@needs_dciodvfy
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_dciodvfy_finds_no_error(data_16: Path, bits: int) -> None:
    for path in export(data_16, "dicom", bits=bits).rglob("*.dcm"):
        assert errors_of(path) == []


@needs_dciodvfy
@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("text", ODD_TEXTS)
def test_dciodvfy_finds_no_error_in_what_users_write(text: str, bits: int, tmp_path: Path) -> None:
    """In names of models and LoRAs and in prompts, of patients of whom everything or nothing is known."""
    names: dict[str, Any] = {"model": text, "adapter": text, "prompt": text if text.strip() else "x"}
    image = make_image(0, bit_depth=8 if bits == 8 else 16, **names)
    pixels = image.pixels[:31, :29] if bits == 8 else to_bits(image.pixels.astype(np.uint16) * 257, bits)
    for labels in (
        PromptLabels(("Mass",), 5, "F", "PA"),
        PromptLabels((), 120, None, None),
        PromptLabels(),
    ):
        for patient_id in ("SYN0000001", "a" * 64):
            path = tmp_path / "x.dcm"
            path.write_bytes(encode_dicom(pixels, image.recipe, SyntheticPatient(patient_id, labels, text), bits))
            assert errors_of(path) == []


def test_row_that_promises_other_bits_than_the_png_has_is_refused(data: Path) -> None:
    table = data / "train" / "metadata.jsonl"
    table.write_text(table.read_text(encoding="utf-8").replace('"bit_depth": 8', '"bit_depth": 16'), encoding="utf-8")
    write_manifest(data)
    with pytest.raises(DataError, match=r"000000_123\.png is not a grey PNG of 16 bits"):
        export(data, "dicom")


# WebDataset


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves that to the garbage collector
@pytest.mark.parametrize(("depth", "decoders"), [(8, ["pill"]), (16, [])])
def test_webdataset_reads_images_rows_and_prompts(depth: int, decoders: list[str], tmp_path: Path) -> None:
    import webdataset

    make_dataset(tmp_path / "data", depth)
    output = export(tmp_path / "data", "webdataset")
    for split in ("train", "validation"):
        url = str(output / f"{split}-000000.tar")
        samples = list(webdataset.WebDataset(url, shardshuffle=False).decode(*decoders))
        assert [sample["__key__"] for sample in samples] == [
            name for name, labels in zip(NAMES, IMAGES, strict=True) if labels[0] == split
        ]
        for sample in samples:  # its own decoders have 8 bits; those of 16 are left as they are stored
            picture = sample["png"] if decoders else Image.open(io.BytesIO(sample["png"]))
            sample["json"]["image"] = picture
            assert sample["txt"] == sample["json"]["prompt"]
        check_rows([sample["json"] for sample in samples], tmp_path / "data", split, depth, as_text=True)


def test_tar_holds_the_pngs_themselves_and_nothing_of_this_machine(data_16: Path) -> None:
    output = export(data_16, "webdataset")
    with tarfile.open(output / "train-000000.tar") as archive:
        members = archive.getmembers()
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in members} == {
            (0, 0, 0, "", "", 0o644, tarfile.REGTYPE)
        }
        for name in ("000000_123", "000002_125", "000003_126"):
            stored = archive.extractfile(f"{name}.png")
            assert stored is not None
            assert stored.read() == (data_16 / "train" / f"{name}.png").read_bytes()
    assert [member.name for member in members][:3] == ["000000_123.png", "000000_123.json", "000000_123.txt"]


def files_of(directory: Path, count: int) -> list[ExportedFile]:
    fill(directory, count)
    return [image.file for image in read_dataset(directory)]


def test_shards_are_cut_by_number_and_by_size_and_lose_nothing(tmp_path: Path) -> None:
    files = files_of(tmp_path, 5)
    size = max(file.path.stat().st_size for file in files)
    assert [len(run) for run in cut(files, 2, 10 * size)] == [2, 2, 1]
    assert [len(run) for run in cut(files, 100, 3 * size)] == [3, 2]
    assert [len(run) for run in cut(files, 100, 1)] == [1] * 5
    assert [file for run in cut(files, 2, 3 * size) for file in run] == files
    tars = name_shards({"train": files, "test": files[:1]}, TAR_NAMES, max_images=2)
    assert [(name, len(run)) for name, run in tars.items()] == [
        *(("train-000000.tar", 2), ("train-000001.tar", 2), ("train-000002.tar", 1), ("test-000000.tar", 1))
    ]
    tables = name_shards({"train": files}, PARQUET_NAMES, max_images=4)
    assert [(name, len(run)) for name, run in tables.items()] == [
        *(("data/train-00000-of-00002.parquet", 4), ("data/train-00001-of-00002.parquet", 1))
    ]


# Parquet


@pytest.mark.parametrize("depth", [8, 16])
def test_datasets_reads_the_parquet_with_its_images(depth: int, tmp_path: Path, load_dataset: Any) -> None:
    make_dataset(tmp_path / "data", bit_depth=depth)
    output = export(tmp_path / "data", "parquet")
    files = {split: str(output / f"data/{split}-*.parquet") for split in ("train", "validation")}
    loaded = load_dataset("parquet", data_files=files)
    for split in ("train", "validation"):
        assert isinstance(loaded[split][0]["image"], Image.Image)
        check_rows(list(loaded[split]), tmp_path / "data", split, depth)


def test_datasets_finds_the_splits_of_the_parquet_folder(data: Path, load_dataset: Any) -> None:
    loaded = load_dataset(str(export(data, "parquet")))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 3, "validation": 1}


def test_parquet_row_groups_are_small_and_hold_the_pngs_themselves(tmp_path: Path) -> None:
    files = files_of(tmp_path / "data", 5)
    write_parquet(tmp_path / "all.parquet", files, group_images=2)
    table = parquet.ParquetFile(tmp_path / "all.parquet")
    assert [table.metadata.row_group(k).num_rows for k in range(table.num_row_groups)] == [2, 2, 1]
    rows = table.read().to_pylist()
    assert [row["image"] for row in rows] == [
        {"bytes": file.path.read_bytes(), "path": file.path.name} for file in files
    ]
    assert "library_versions" not in rows[0]
    known = {name: value for name, value in files[4].metadata.items() if name != "library_versions"}
    assert {name: value for name, value in rows[4].items() if name != "image"} == known


def test_datasets_reads_the_data_set_itself_as_an_imagefolder(data: Path, load_dataset: Any) -> None:
    files = {split: str(data / split / "**") for split in ("train", "validation")}
    loaded = load_dataset("imagefolder", data_files=files)
    for split in ("train", "validation"):
        check_rows(list(loaded[split]), data, split, as_text=True)


@pytest.mark.parametrize("column", ["findings", "age", "sex", "view"])
def test_imagefolder_reads_a_split_in_which_nothing_was_said(column: str, data: Path, load_dataset: Any) -> None:
    table = data / "validation" / "metadata.jsonl"
    rows = [json.loads(line) | {column: ""} for line in table.read_text(encoding="utf-8").splitlines()]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    files = {split: str(data / split / "**") for split in ("train", "validation")}
    loaded = load_dataset("imagefolder", data_files=files)
    assert [row[column] for row in loaded["validation"]] == [""]
    assert "Effusion" in [row["findings"] for row in loaded["train"]]


# ZIP


def test_zip_holds_what_the_manifest_lists_and_no_more(data: Path) -> None:
    wanted = tree(data)
    (data / ".cxr-dataset").mkdir()
    (data / ".cxr-dataset" / "log").write_bytes(b"work")
    (data / "notes.txt").write_bytes(b"mine")
    output = export(data, "zip", "all.zip")
    with zipfile.ZipFile(output) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == wanted
        assert archive.namelist()[-1] == "manifest.json"
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    first = output.read_bytes()
    assert export(data, "zip", "all.zip").read_bytes() == first


def test_zip_of_another_program_is_kept(data: Path) -> None:
    with zipfile.ZipFile(data.parent / "all.zip", "w") as archive:
        archive.writestr("manifest.json", '{"name": "of a browser", "files": []}')
    with pytest.raises(OutputError, match="is not a ZIP of this program"):
        export(data, "zip", "all.zip")


@pytest.mark.parametrize("kind", [*OUTPUTS, "zip"])
def test_images_of_a_table_that_the_manifest_does_not_list_are_not_left_out(kind: str, data: Path) -> None:
    (data / "train" / "metadata.jsonl").rename(data / "away")
    write_manifest(data)
    (data / "away").rename(data / "train" / "metadata.jsonl")
    with pytest.raises(DataError, match=r"has no line in metadata\.jsonl"):
        export(data, kind)


@pytest.mark.parametrize("name", ["labels.csv", "README.md", "plots/ages.png"])
def test_zip_refuses_any_file_that_is_not_what_the_manifest_says(name: str, data: Path) -> None:
    (data / name).write_bytes((data / name).read_bytes() + b"more")
    with pytest.raises(OutputError, match=f"{name} has changed since it was written"):
        export(data, "zip", "all.zip")
    (data / name).unlink()
    with pytest.raises(OutputError, match=f"cannot read .*{name}: no such file"):
        export(data, "zip", "all.zip")
    assert not (data.parent / "all.zip").exists()


def test_zip_is_streamed_in_small_pieces(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = export(data, "zip", "whole.zip").read_bytes()
    monkeypatch.setattr("cxr.folders.unchanged.CHUNK_BYTES", 7)
    pieces: list[int] = []
    open_entry = zipfile.ZipFile.open

    def watched(*arguments: Any, **options: Any) -> Any:
        entry = open_entry(*arguments, **options)
        write = entry.write

        def note(piece: bytes) -> int:
            pieces.append(len(piece))
            return int(write(piece))

        monkeypatch.setattr(entry, "write", note)
        return entry

    monkeypatch.setattr(zipfile.ZipFile, "open", watched)
    assert export(data, "zip", "pieces.zip").read_bytes() == whole
    assert sorted(set(pieces))[-2:] == [7, (data / "manifest.json").stat().st_size]


def test_zip_of_more_than_4_gigabytes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the limits of the format lowered, so that every entry and the directory need Zip64."""
    wanted = tree(data)
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 5)
        patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
        output = export(data, "zip", "all.zip")
    with zipfile.ZipFile(output) as archive:
        assert {entry.extract_version for entry in archive.infolist()} == {zipfile.ZIP64_VERSION}
        assert all(entry.extra.startswith(b"\x01\x00") for entry in archive.infolist())  # the Zip64 field
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == wanted
    assert b"PK\x06\x06" in output.read_bytes()  # the Zip64 end of central directory


def test_zip_of_a_folder_of_generate_is_the_one_of_write_zip(tmp_path: Path) -> None:
    fill(tmp_path / "data")
    with ImageFolder(tmp_path / "data") as folder:
        write_zip(tmp_path / "wanted.zip", folder)
    output = export(tmp_path / "data", "zip", "all.zip")
    assert output.read_bytes() == (tmp_path / "wanted.zip").read_bytes()


# Command line


def test_command_writes_and_tells_where(data_16: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_export_parser(parser.add_subparsers())
    output = data_16.parent / "out"
    command = ["export", str(data_16), "--format", "dicom", "--bits", "12", "--output", str(output)]
    arguments = parser.parse_args(command)
    assert arguments.run(arguments) == 0
    told = capsys.readouterr()
    assert told.out == f"4 files in {output}\n"
    assert "4 of 4 files" in told.err
    assert {pydicom.dcmread(output / name).BitsStored for name in OUTPUTS["dicom"]} == {12}


def test_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_export_parser(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["export", "--help"])
    told = capsys.readouterr().out
    assert all(f"\n  {kind} " in told for kind in FORMATS)
