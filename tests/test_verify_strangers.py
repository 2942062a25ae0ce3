"""Sets that were tampered with are named fault by fault; files of strangers cost little, and open nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from hostile_pictures import chunk, ihdr, with_recipe
from pydicom.uid import DeflatedExplicitVRLittleEndian
from sample_images import content

from cxr.commands.main import main
from cxr.dataset import make, reproduce
from cxr.dataset.convert import convert
from cxr.dataset.make import Options, run_dataset
from cxr.dataset.plan import Plan, build_plan
from cxr.dataset.reproduce import Reproducer
from cxr.dataset.verify import verify_file, verify_folder
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.generate.progress import resident_mb
from cxr.generate.recipes import recipe_for
from cxr.images.png import read_recipe
from cxr.request.errors import CxrError, DataError, OutputError
from cxr.request.generation_request import GenerationRequest
from cxr.request.recipe import Recipe

GIVEN: dict[str, Any] = {
    "settings": {"num_inference_steps": 1},
    "cohort": [{"findings": ["Effusion", "No Finding"], "age": "40-60", "count": 3}],
    "prompts": ["A 55-year-old man with pneumonia", "xyz"],
    "split": {"train": 0.5, "test": 0.5},
}
PLAN = build_plan(GIVEN, "test")


@pytest.fixture(scope="module", autouse=True)
def model(tiny_model_dir: Path) -> Iterator[LoadedModel]:
    """Loaded once: most of the time would go into that."""
    loaded = load_model(str(tiny_model_dir), "none", weight_dtype="float32")
    with pytest.MonkeyPatch.context() as patch:
        for module in (make, reproduce):
            patch.setattr(module, "load_model", lambda *given, **options: loaded)
        yield loaded


@pytest.fixture
def options(tiny_model_dir: Path) -> Options:
    return Options(str(tiny_model_dir), "none")


@pytest.fixture(scope="module")
def made(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "set"
    assert run_dataset(PLAN, folder, Options(str(tiny_model_dir), "none")) == 0
    return folder


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "set"))


def pngs(folder: Path) -> list[Path]:
    return sorted((*folder.glob("train/*.png"), *folder.glob("test/*.png")))


def faults(folder: Path) -> list[str]:
    said: list[str] = []
    code = verify_folder(folder, Reproducer(), 0, said.append)
    assert code == (1 if len(said) > 1 else 0)
    return said[:-1]


def sign(folder: Path, **facts: Any) -> None:
    """Write the hashes of all files into the manifest, as somebody would who does not want to be found out."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes()) | facts
    for row in manifest["files"]:
        file = folder / row["file_name"]
        row |= {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "size_bytes": file.stat().st_size}
    path.write_text(json.dumps(manifest))


# -- repeating the command


def remove(*names: str) -> Callable[[Path], None]:
    def removed(folder: Path) -> None:
        for name in names:
            min(folder.glob(name)).unlink()

    return removed


def pipe_for_table(folder: Path) -> None:
    (folder / "labels.csv").unlink()
    os.mkfifo(folder / "labels.csv")


def damage(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = next(iter(sorted(folder.glob(name))))
        path.write_bytes(path.read_bytes()[:-9])

    return change


def forget(name: str) -> Callable[[Path], None]:
    """Remove a file, and the manifest's row of it."""

    def change(folder: Path) -> None:
        path = min(folder.glob(name))
        path.unlink()
        manifest = json.loads((folder / "manifest.json").read_bytes())
        others = [row for row in manifest["files"] if folder / row["file_name"] != path]
        (folder / "manifest.json").write_text(json.dumps(manifest | {"files": others}))

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        remove("train/*.png"),
        remove("train/*.png", "test/*.png", "labels.csv"),
        remove("labels.csv", "README.md", "plots/samples.png"),
        remove("train/metadata.jsonl"),
        lambda folder: shutil.rmtree(folder / "test"),
        forget("train/*.png"),
        forget("labels.csv"),
        forget("test/metadata.jsonl"),
        damage("train/*.png"),
        damage("test/metadata.jsonl"),
        damage("README.md"),
    ],
)
def test_what_is_gone_or_changed_is_made_again_byte_for_byte(
    spoil: Callable[[Path], None], made: Path, data: Path, options: Options
) -> None:
    spoil(data)
    assert faults(data)
    assert run_dataset(PLAN, data, options) == 0
    assert content(data) == content(made)
    assert not faults(data)


def test_images_of_other_seeds_are_made_again_by_the_same_way(options: Options, tmp_path: Path) -> None:
    plan = build_plan({"prompts": [{"prompt": "normal", "seed": 3}] * 3, "settings": GIVEN["settings"]}, "twice")
    folder = tmp_path / "set"
    assert run_dataset(plan, folder, options) == 0
    before = content(folder)
    for name in ("train/000001_*.png", "train/000000_*.png", "rejected.csv"):
        next(folder.glob(name)).unlink()
        assert run_dataset(plan, folder, options) == 0
        assert content(folder) == before, name


def test_a_kill_while_a_set_is_opened_again_loses_nothing(
    made: Path, data: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    pngs(data)[0].unlink()
    real = os.fsync
    for end in (1, 4, 9, 13):
        calls: list[int] = []

        def stop(descriptor: int, end: int = end, calls: list[int] = calls) -> None:
            calls.append(descriptor)
            if len(calls) == end:
                raise KeyboardInterrupt
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", stop)
            with pytest.raises(KeyboardInterrupt):
                run_dataset(PLAN, data, options)
    assert run_dataset(PLAN, data, options) == 0
    assert content(data) == content(made)


@pytest.mark.parametrize(
    ("info", "changes", "message"),
    [
        ({"adapter": "other", "adapter_sha256": "9" * 64}, {}, "begun with another adapter"),
        ({"adapter_sha256": "9" * 64}, {}, "begun with another LoRA"),
        ({"model_revision": "sha256:9"}, {}, "begun with another model"),
        ({}, {"gate": True}, "begun with another gate"),
        ({}, {"max_attempts": 7}, "begun with another max_attempts"),
        ({}, {"num_threads": 2}, "begun with another num_threads"),
    ],
)
def test_a_finished_set_is_that_of_its_command_alone(
    info: dict[str, Any],
    changes: dict[str, Any],
    message: str,
    made: Path,
    options: Options,
    model: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model, "info", dataclasses.replace(model.info, **info))
    before = content(made)
    with pytest.raises(OutputError, match=message):
        run_dataset(PLAN, made, dataclasses.replace(options, **changes))
    assert content(made) == before
    torch.set_num_threads(1)


def test_a_whole_set_of_an_older_version_is_complete(data: Path, options: Options) -> None:
    sign(data, software="0.6.0")
    assert run_dataset(PLAN, data, options) == 0


def test_generate_does_not_write_into_a_data_set(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(data)
    assert main(["generate", "x", "--steps", "1", "--output", str(data)]) == 2
    assert "is a data set, in which more images would not be seen" in capsys.readouterr().err
    assert content(data) == before
    (data / "manifest.json").unlink()
    (data / ".cxr-dataset").mkdir()
    assert main(["generate", "x", "--steps", "1", "--output", str(data)]) == 2


# -- verify


def edit_rows(folder: Path, change: Callable[[dict[str, Any]], None], labels: dict[str, str]) -> None:
    """Change the first line of the metadata, the row of the label table and all hashes."""
    path = folder / "train" / "metadata.jsonl"
    first, *others = path.read_text(encoding="utf-8").splitlines(keepends=True)
    row = json.loads(first)
    change(row)
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n" + "".join(others), encoding="utf-8")
    table = folder / "labels.csv"
    head, *rows = table.read_text().splitlines()
    names = head.split(",")
    kept = []
    for line in rows:
        cells = dict(zip(names, line.split(","), strict=True))
        if cells["file_name"].endswith(row["file_name"]):
            cells |= labels
        kept.append(",".join(cells.values()))
    table.write_text("\n".join([head, *kept]) + "\n")
    sign(folder)


def lie(name: str, value: str, **labels: str) -> Callable[[Path], None]:
    return lambda folder: edit_rows(folder, lambda row: row.update({name: value}), labels or {name: value})


def cut_rows(folder: Path) -> None:
    path = folder / "train" / "metadata.jsonl"
    path.write_text(path.read_text(encoding="utf-8").splitlines(keepends=True)[0], encoding="utf-8")
    sign(folder)


TAMPERED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an extra image": (
        lambda folder: shutil.copy(pngs(folder)[0], folder / "train" / "x.png"),
        "x.png is not in manif",
    ),
    "a program": (lambda folder: (folder / "train" / "run.py").write_text("1"), "run.py is not in manifest"),
    "a hidden file": (lambda folder: (folder / "train" / ".x").write_text("1"), ".x is not in manifest"),
    "a folder": (lambda folder: shutil.copytree(folder / "train", folder / "more"), "more/metadata.jsonl is not in"),
    "a link": (lambda folder: (folder / "l").symlink_to(folder / "train"), "l is not in manifest"),
    "a pipe": (lambda folder: os.mkfifo(folder / "train" / "p.png"), "p.png is not in manifest"),
    "rows cut": (cut_rows, "has no line in metadata.jsonl"),
    "no labels": (remove("labels.csv"), "labels.csv is missing; repeat the command"),
    "no card": (remove("README.md"), "README.md is missing; repeat the command"),
    "no plot": (remove("plots/counts.png"), "counts.png is missing"),
    "no image": (remove("test/*.png"), ".png is missing; repeat the command"),
    "a pipe for a table": (
        pipe_for_table,
        "labels.csv cannot be read: not a regular file",
    ),
    "a folder for an image": (
        lambda folder: _folder_for_image(folder),
        "is missing",
    ),
    "a model": (
        lambda folder: sign(folder, model="other"),
        "manifest.json says model is other, its images say otherwise",
    ),
    "a revision": (lambda folder: sign(folder, model_revision="sha256:0"), "says model_revision is sha256:0"),
    "a number": (lambda folder: sign(folder, num_images=9), "says num_images is 9"),
    "failures": (lambda folder: sign(folder, num_failed=2), "says num_failed is 2"),
    "rejections": (lambda folder: sign(folder, num_rejected=2), "says num_rejected is 2"),
    "an adapter": (lambda folder: sign(folder, adapter="clinical"), "says adapter is clinical"),
    "a hash": (lambda folder: sign(folder, adapter_sha256="9"), "says adapter_sha256 is 9"),
    "a format": (lambda folder: sign(folder, weight_dtype="bfloat16"), "says weight_dtype is bfloat16"),
    "a device": (lambda folder: sign(folder, device="cuda"), "says device is cuda"),
    "threads": (lambda folder: sign(folder, num_threads=8), "says num_threads is 8"),
    "a batch": (lambda folder: sign(folder, micro_batch_size=8), "says micro_batch_size is 8"),
    "software": (lambda folder: sign(folder, software="9.9"), "says software is 9.9"),
    "libraries": (lambda folder: sign(folder, library_versions={}), "says library_versions is {}"),
    "a notice": (lambda folder: sign(folder, notice="Real images"), "says notice is Real images"),
    "a source": (lambda folder: sign(folder, digital_source_type="x"), "says digital_source_type is x"),
    "a plan": (lambda folder: sign(folder, plan_sha256="x"), "says plan_sha256 is x"),
    "a sex": (
        lambda folder: edit_rows(folder, _other_sex, {"sex": _sex_of(folder, other=True)}),
        "are not those of its prompt: sex",
    ),
    "an age": (lie("age", "77"), "are not those of its prompt: age"),
    "no age": (lie("age", ""), "are not those of its prompt: age"),
    "a patient": (lie("patient_id", "SYN0000099"), "another patient_id than"),
    "a finding": (
        lambda folder: edit_rows(folder, lambda row: row.update(findings="Mass"), _finding_labels("Mass")),
        "are not those of its prompt: findings",
    ),
}


def _folder_for_image(folder: Path) -> None:
    path = pngs(folder)[0]
    path.unlink()
    path.mkdir()


def _sex_of(folder: Path, *, other: bool) -> str:
    row = json.loads((folder / "train" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()[0])
    return "FM"["MF".index(row["sex"])] if other else str(row["sex"])


def _other_sex(row: dict[str, Any]) -> None:
    row["sex"] = "FM"["MF".index(row["sex"])]


def _finding_labels(name: str) -> dict[str, str]:
    from cxr.dataset.label_columns import label_row

    row = label_row((name,), complete=True)
    return {column: "" if value is None else str(value) for column, value in row.items()}


@pytest.mark.parametrize("kind", TAMPERED)
def test_what_was_tampered_with_is_named(kind: str, data: Path) -> None:
    spoil, message = TAMPERED[kind]
    spoil(data)
    found = faults(data)
    assert any(message in fault for fault in found), found
    assert not any("\n" in fault for fault in found)


def test_a_card_with_half_a_number_is_read(data: Path) -> None:
    card = data / "README.md"
    text = card.read_text(encoding="utf-8")
    changed = re.sub(r"(?m)^\| adapter_weight \| .*$", "| adapter_weight | 1..2 |", text)
    assert changed != text
    card.write_text(changed, encoding="utf-8")
    sign(data)
    assert all("\n" not in fault for fault in faults(data))


def test_every_missing_image_is_named(data: Path) -> None:
    for path in pngs(data)[:3]:
        path.unlink()
    assert sum(".png is missing" in fault for fault in faults(data)) == 3


def test_a_folder_of_generate_names_what_is_not_its_own(tmp_path: Path) -> None:
    from sample_images import fill

    fill(tmp_path, 4)
    assert not faults(tmp_path)
    path = tmp_path / "metadata.jsonl"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    (tmp_path / "evil.py").write_text("1")
    assert len(faults(tmp_path)) == 4


# -- files of strangers


def recipe_of(model: LoadedModel) -> Recipe:
    return recipe_for(GenerationRequest("normal chest x-ray", num_inference_steps=1), model, 0)


WRONG: dict[str, Any] = {
    "prompt": 7,
    "seed": "1",
    "num_inference_steps": 10**9,
    "guidance_scale": "NaN",
    "adapter_weight": None,
    "width": -1,
    "weight_dtype": "float8",
    "device": ["cpu"],
    "micro_batch_size": 65,
    "num_threads": 1500,
    "bit_depth": 9,
    "model": {"a": 1},
    "library_versions": [1],
    "scheduler": True,
    "adapter": 0,
    "model_revision": "a\nb",
    "adapter_sha256": "\0",
    "digital_source_type": "\u202eevil",
}


@pytest.mark.parametrize("name", WRONG)
def test_recipes_with_wrong_values_are_one_line(
    name: str, model: LoadedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(with_recipe(json.dumps(recipe_of(model).values | {name: WRONG[name]})))
    assert main(["verify", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "holds a recipe that this version cannot read" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "{cwd}", "model_revision": "x"}, "which does not come with this program; if you trust it, name it"),
        ({"model": "../secret"}, "does not come with this program"),
        ({"model": "~"}, "does not come with this program"),
        (
            {"model": "someone/model", "model_revision": "hub:someone/model@" + "a" * 40},
            "does not come with this program",
        ),
        ({"model": "hub:someone/model"}, "does not come with this program"),
        ({"model": "sd15"}, "does not come with this program"),
        ({"adapter": "local:/etc/passwd", "adapter_sha256": "1"}, "names its LoRA by a path"),
        ({"adapter": "hub:someone/lora/file.safetensors", "adapter_sha256": "1"}, "names the LoRA .* of the Hub"),
        ({"adapter": "clinical,hub:someone/lora/x.safetensors:0.5", "adapter_sha256": "1"}, "of the Hub"),
    ],
)
def test_a_recipe_opens_nothing_that_the_user_has_not_named(
    changes: dict[str, str], message: str, model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def opened(*given: Any, **options: Any) -> None:
        raise AssertionError(given)

    monkeypatch.setattr(reproduce, "load_model", opened)
    values: dict[str, Any] = {name: value.replace("{cwd}", str(tmp_path)) for name, value in changes.items()}
    recipe = dataclasses.replace(recipe_of(model), **({"model": "embedded"} | values))
    with pytest.raises(DataError, match=message):
        Reproducer().check(np.zeros((32, 32), np.uint8), recipe, 8)


@pytest.mark.parametrize("name", ["~nobody-of-this-name", "a" * 300, "/" + "a" * 900, "/proc/1/root/x"])
def test_models_of_recipes_that_no_system_takes_for_a_path(
    name: str, model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reproduce, "load_model", load_model)
    path = tmp_path / "x.png"
    path.write_bytes(with_recipe(dataclasses.replace(recipe_of(model), model=name, width=64, height=64).to_json()))
    assert main(["verify", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is unknown; use embedded" in said


def test_a_recipe_does_not_start_thousands_of_threads_or_fill_the_memory(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)

    def load(*given: Any, **options: Any) -> LoadedModel:
        asked.append(options["micro_batch_size"])
        return model

    monkeypatch.setattr(reproduce, "load_model", load)
    recipe = dataclasses.replace(recipe_of(model), num_threads=1_000, micro_batch_size=64)
    outcome = Reproducer().check(np.zeros((32, 32), np.uint8), recipe, 8)
    assert asked == [None, max(64, os.cpu_count() or 1)]
    assert any(text.startswith("micro_batch_size 64 (here 1)") for text in outcome.changed)


def padded_png(made: Path, side: int) -> bytes:
    """An honest recipe on a picture of far more pixels."""
    data = pngs(made)[0].read_bytes()
    rest = data[data.index(b"IHDR") + 21 : data.index(b"IDAT") - 4]
    pixels = chunk(b"IDAT", zlib.compress(bytes((side + 1) * side), 9))
    return data[:8] + ihdr(side, side) + rest + pixels + chunk(b"IEND", b"")


def quickly(path: Path, message: str) -> None:
    began, before = time.monotonic(), resident_mb()
    with pytest.raises(CxrError, match=message) as caught:
        verify_file(path, Reproducer(), lambda line: None)
    assert time.monotonic() - began < 20
    assert resident_mb() - before < 100
    assert "\n" not in str(caught.value)


def test_a_picture_of_144_megapixels_is_not_unpacked(made: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(padded_png(made, 12_000))
    quickly(tmp_path / "x.png", r"is 12,000 x 12,000 pixels, its recipe says 32 x 32")


def test_a_picture_whose_recipe_says_so_neither(made: Path, model: LoadedModel, tmp_path: Path) -> None:
    text = dataclasses.replace(recipe_of(model), width=12_000, height=12_000).to_json()
    data = with_recipe(text)
    (tmp_path / "x.png").write_bytes(data[:8] + ihdr(12_000, 12_000) + data[33:])
    quickly(tmp_path / "x.png", r"use at most 16,777,216 in all")


def test_a_picture_that_is_cut_off(made: Path, tmp_path: Path) -> None:
    data = pngs(made)[0].read_bytes()
    (tmp_path / "x.png").write_bytes(data[: data.index(b"IDAT") + 60] + chunk(b"IEND", b""))
    quickly(tmp_path / "x.png", r"x\.png cannot be read as a")


def dicom(made: Path, tmp_path: Path) -> pydicom.FileDataset:
    convert(made, tmp_path / "dicom", "dicom")
    return pydicom.dcmread(next((tmp_path / "dicom").rglob("*.dcm")))


def test_a_dicom_that_inflates_is_refused(made: Path, tmp_path: Path) -> None:
    dataset = dicom(made, tmp_path)
    dataset.PixelData = bytes(100_000_000)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "x.dcm")
    assert (tmp_path / "x.dcm").stat().st_size < 1_000_000
    quickly(tmp_path / "x.dcm", r"is a deflated DICOM file")


def test_a_dicom_of_another_size_than_its_recipe(made: Path, tmp_path: Path) -> None:
    dataset = dicom(made, tmp_path)
    dataset.Rows = dataset.Columns = 60_000
    dataset.save_as(tmp_path / "x.dcm")
    quickly(tmp_path / "x.dcm", r"is 60000 x 60000 pixels, its recipe says 32 x 32")


@pytest.mark.parametrize("name", ["x.png", "x.dcm", "x"])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / name)
    assert main(["verify", str(tmp_path / name)]) == 2
    assert "not a regular file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("manifest.json", b"[" * 100_000),
        ("manifest.json", b'{"format": 1, "files": ' + b"[" * 100_000),
        ("manifest.json", b'{"format": 1, "files": [{}]}'),
        ("manifest.json", b"\xff"),
        ("train/metadata.jsonl", b'{"a":' * 100_000),
        ("train/metadata.jsonl", b"[" * 5_000_000),
        ("labels.csv", b"\0\0,\0"),
        ("labels.csv", b'"'),
        ("rejected.csv", b"index,seed,reason\nx,y,z\n"),
    ],
)
def test_tables_of_strangers(
    name: str, data: bytes, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "set"))
    (folder / name).write_bytes(data)
    assert main(["verify", str(folder), "--sample", "0"]) in {1, 2}
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert name.rpartition("/")[2] in said.out + said.err


def test_a_manifest_that_is_a_pipe(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "set"))
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    assert main(["verify", str(folder)]) == 2
    assert "manifest.json: not a regular file" in capsys.readouterr().err


def test_the_picture_of_a_stranger_is_decoded_in_a_child(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    def decode(*given: object, **options: object) -> None:
        raise AssertionError("decoded here")

    monkeypatch.setattr(Image, "open", decode)
    assert verify_file(pngs(made)[0], Reproducer(), lambda line: None) == 0
    assert read_recipe(pngs(made)[0]).prompt


# -- disks and folders


def ruin_at(call: int, plan: Plan, folder: Path, options: Options, ruin: Callable[[Path], object]) -> None:
    real, calls = os.fsync, iter(range(10_000))

    def end(descriptor: int) -> None:
        if next(calls) == call:
            ruin(folder)
        real(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", end)
        with pytest.raises(OutputError, match=r"cannot write|cannot read") as caught:
            run_dataset(plan, folder, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("call", [1, 2, 5, 9, 16])
def test_a_folder_that_is_removed_while_it_is_written(call: int, options: Options, tmp_path: Path) -> None:
    ruin_at(call, PLAN, tmp_path / "set", options, lambda folder: folder.rename(tmp_path / "elsewhere"))


@pytest.mark.parametrize("name", ["train", "test", "README.md", "labels.csv", "plots", "manifest.json"])
def test_something_else_lies_in_the_way(name: str, options: Options, tmp_path: Path) -> None:
    (tmp_path / "set" / ".cxr-dataset").mkdir(parents=True)
    if "." in name:
        (tmp_path / "set" / name / "x").mkdir(parents=True)
    else:
        (tmp_path / "set" / name).write_text("mine")
    with pytest.raises(OutputError) as caught:
        run_dataset(PLAN, tmp_path / "set", options)
    assert "\n" not in str(caught.value)


def test_a_folder_of_generate_that_is_removed(tmp_path: Path) -> None:
    from sample_images import make_image

    from cxr.folders.image_folder import ImageFolder

    folder = ImageFolder(tmp_path / "out")
    folder.write(make_image(0))
    shutil.rmtree(tmp_path / "out")
    for action in (lambda: folder.write(make_image(1)), folder.close):
        with pytest.raises(OutputError, match="cannot write"):
            action()


COMMANDS: dict[str, list[str]] = {
    "verify": ["verify", "{}"],
    "restore": ["restore", "{}"],
    "detect": ["detect", "{}"],
    "sign": ["sign", "{}"],
    "sheet": ["sheet", "{}", "--output", "sheet.png"],
    "export": ["export", "{}", "--format", "zip", "--output", "out"],
    "generate": ["generate", "x", "--output", "out", "--init-image", "{}"],
    "generate into": ["generate", "x", "--steps", "1", "--output", "{}/out"],
    "prompts": ["generate", "--output", "out", "--prompts", "{}"],
    "plan": ["dataset", "{}.yaml", "--dry-run"],
    "LoRA": ["adapter", "show", "local:{}"],
    "pickle": ["adapter", "convert", "{}.bin", "--output", "out.safetensors"],
    "model": ["models", "show", "{}"],
}


@pytest.mark.parametrize("name", ["a" * 300, "loop", "pipe", "broken", "socket", "new\nline", "\udcff", ""])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_no_command_can_open_is_one_line(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if command == "generate into" and name in ("new\nline", "\udcff", ""):
        pytest.skip("it can be made")
    if name == "pipe" and command in ("prompts", "plan"):
        pytest.skip("somebody may write into it: --prompts <(command)")
    for suffix in ("", ".yaml", ".bin"):
        Path(f"loop{suffix}").symlink_to(f"loop{suffix}")
        Path(f"broken{suffix}").symlink_to("nowhere")
        os.mkfifo(f"pipe{suffix}")
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
            listening.bind(f"socket{suffix}")
    assert main([word.replace("{}", name) for word in COMMANDS[command]]) in {1, 2}
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert said.err.count("\n") == 1


def test_a_pipe_in_the_place_of_a_table_is_not_waited_for(tmp_path: Path) -> None:
    from cxr.folders.image_folder import ImageFolder

    os.mkfifo(tmp_path / "metadata.jsonl")
    with pytest.raises(OutputError, match="not a regular file"):
        ImageFolder(tmp_path)
