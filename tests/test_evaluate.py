"""Folders in, a report out: as a user runs it, on tiny sets and untrained networks."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sample_dicom import write_dicom
from sample_images import RECIPE
from test_data import make_folder

from cxr.commands.main import main
from cxr.evaluate import copy_finalists, copy_grid, copy_search, copy_set, diversity, measurements
from cxr.evaluate.distances import POSING, rank_agreement
from cxr.evaluate.evaluation import Options, evaluate
from cxr.evaluate.extractors.extractor import Extractor
from cxr.evaluate.image_set import read_set
from cxr.evaluate.report.write import write_report
from cxr.evaluate.sets import Sets, check_sets, doubts_on_baselines
from cxr.evaluate.sheets import draw_closest_pairs
from cxr.evaluate.tools import Tools
from cxr.folders.image_folder import ImageFolder
from cxr.images.pixels import from_uint8
from cxr.images.squares import read_squares
from cxr.judges.judge import Judge
from cxr.judges.networks import NETWORKS
from cxr.labels.targets import ATTRIBUTES
from cxr.request.errors import DataError
from cxr.request.events import GeneratedImage

SIDE = 32
LABELS = [
    *(("Effusion", "50", "M", "PA"), ("No Finding", "40", "F", "AP")),
    *(("Mass", "60", "M", "PA"), ("No Finding", "70", "F", "PA")),
]
PROMPTS = [  # in each view both sexes, and films with and without a finding
    *("A 50-year-old man with effusion, PA view", "A 40-year-old woman with no findings, AP view"),
    *("A 60-year-old woman with no findings, PA view", "A 45-year-old man with effusion, AP view"),
]


def real_folder(folder: Path, count: int, first: int = 0) -> Path:
    rows = [(*LABELS[k % len(LABELS)], str(first + k)) for k in range(count)]
    made = make_folder(folder, rows, side=SIDE)
    for number in range(count):  # other pixels than any other folder's
        pixels = np.random.default_rng(first + number).integers(0, 256, (SIDE, SIDE), np.uint8)
        Image.fromarray(pixels).save(made / f"{number}.png")
    return made


def generated_folder(folder: Path, count: int, seed: int = 900) -> Path:
    with ImageFolder(folder) as images:
        for index in range(count):
            recipe = dataclasses.replace(RECIPE, prompt=PROMPTS[index % len(PROMPTS)], seed=seed + index)
            pixels = np.random.default_rng(seed + index).integers(0, 256, (SIDE, SIDE), np.uint8)
            images.write(GeneratedImage(index, pixels, recipe))
    return folder


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Fewer pairs, degraded images, kinds of copies and ways of looking for copies than a report has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diversity, "MAX_PAIRS", 4)
        patch.setattr(copy_set, "NUM_PLANTED", 4)
        patch.setattr(copy_search, "FAMILIES", copy_grid.FAMILIES[4:])  # those that do not move the images
        patch.setattr(copy_set, "KINDS", {kind: copy_set.KINDS[kind] for kind in ("mirrored", "inverted", "equalised")})
        patch.setattr(copy_finalists, "HALVINGS", range(1))
        patch.setattr(copy_finalists, "LAST_HALVINGS", range(0))
        patch.setattr(measurements, "SENSITIVITY_IMAGES", 4)
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    return {
        "generated": generated_folder(root / "generated", 40),
        "baseline": generated_folder(root / "baseline", 40, seed=2000),
        "reference": real_folder(root / "reference", 48),
        "training": real_folder(root / "training", 30, first=100),
    }


@pytest.fixture(scope="module")
def tools() -> Tools:
    torch.manual_seed(0)
    judges = {
        name: Judge(name, NETWORKS["lean-dense"]().eval(), np.zeros(len(ATTRIBUTES)), name * 8, {})
        for name in ("first", "second")
    }
    network = NETWORKS["lean-dense"]().eval()
    extractor = Extractor("tiny", 1, "0" * 64, 128, lambda pixels: network.embed(from_uint8(pixels)))
    return Tools((extractor,), judges, None, lambda line: None)


@pytest.fixture(scope="module")
def connections() -> list[object]:
    """Whom `report` has wanted to reach."""
    return []


@pytest.fixture(scope="module")
def report(folders: dict[str, Path], tools: Tools, connections: list[object]) -> dict[str, Any]:
    def refuse(*arguments: object, **_: object) -> None:
        connections.append(arguments)
        raise AssertionError("a socket was opened")

    sets: dict[str, Any] = {name: read_set(folder) for name, folder in folders.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        return evaluate(Sets(**sets), tools, Options(sensitivity=True)).report


def test_every_part_that_the_folders_allow_is_measured(report: dict[str, Any]) -> None:
    assert [row["name"] for row in report["distances"][0]["rows"]] == [
        "generated",
        "base without LoRA",
        "degraded real",
        POSING,
    ]
    assert {row["kind"] for row in report["sensitivity"]} >= {"undamaged", "blur", "noise", "JPEG"}
    assert [report["sensitivity"][0][key] for key in ("num_images", "num_reference")] == [4, 24]
    assert report["rank_agreement"] is None  # of one extractor
    assert {row["name"] for row in report["diversity"]["rows"]} == {"generated", POSING}
    assert [row["name"] for row in report["diversity"]["wholes"]] == ["generated", POSING]
    assert [row["name"] for row in report["detail"]["rows"]] == ["generated", POSING]
    assert all("real" in goal for goal in report["goals"])
    assert report["fidelity"]["num_prompts"] == 4
    assert {row["name"] for row in report["fidelity"]["attributes"]} >= {"PA", "male", "abnormal", "Effusion"}
    assert [space["name"] for space in report["copies"]["spaces"]] == ["tiny", *copy_grid.SPACES]
    assert len(report["copies"]["control"]) == len(copy_set.KINDS)
    assert set(report["failures"]) >= {"failed", "flat", "duplicates"}
    assert report["generated"]["adapter_sha256"] == "11"
    assert report["reference"]["num_patients"] == 48
    assert any("Exploratory" in note for note in report["notes"])


def test_what_is_missing_is_said_and_not_made_up(folders: dict[str, Path], tools: Tools, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in folders["generated"].glob("*.png"):
        shutil.copy(path, bare)
    report = evaluate(Sets(read_set(bare), read_set(folders["reference"])), tools).report
    assert report["fidelity"] is None
    assert [row["name"] for row in report["diversity"]["rows"]] == [POSING]
    assert report["copies"] is None
    notes = " ".join(report["notes"])
    assert "images come without prompts" in notes
    assert "no prompt has two images" in notes
    assert "--training" in notes


def test_a_baseline_that_says_nothing_of_the_lora_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    baseline = read_set(folders["baseline"])
    sets = Sets(read_set(folders["generated"]), read_set(folders["reference"]), baseline)
    assert list(doubts_on_baselines(sets)) == [
        "The baseline baseline was made with the LoRA clinical: it does not show what the LoRA adds."
    ]
    of_the_base = dataclasses.replace(baseline, recipe={**baseline.recipe, "adapter_weight": 0.0})
    assert not list(doubts_on_baselines(dataclasses.replace(sets, baseline=of_the_base)))
    other = tmp_path / "other"
    other.mkdir()
    for path in folders["baseline"].glob("*.png"):
        shutil.copy(path, other)
    (note,) = doubts_on_baselines(dataclasses.replace(sets, baseline=read_set(other)))
    assert note.startswith("The baseline other has no prompt of the images")


def test_nothing_is_looked_up_in_the_network(report: dict[str, Any], connections: list[object]) -> None:
    assert report["distances"]
    assert not connections


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda some: {"reference": some["generated"]}, "are in the reference too"),
        (lambda some: {"training": some["reference"]}, "both in training and in the reference"),
        (lambda some: {"generated": some["few"]}, "the generated side needs 20"),
        (lambda some: {"reference": some["few"]}, "the reference side needs 40"),
        (lambda some: {"reference": some["baseline"]}, "baseline lists images that this program has generated"),
        (lambda some: {"baseline": some["few"]}, "the baseline side needs 20"),
        (lambda some: {"baseline": some["generated"]}, "40 images of the baseline .*generated are in .*generated, too"),
        (lambda some: {"prompted": some["generated"], "prompted_baseline": some["generated"]}, "of the baseline"),
        (lambda some: {"baseline": some["reference"]}, "48 of 48 baseline images are in the reference too"),
        (lambda some: {"prompted": some["reference"]}, "48 of 48 prompted images are in the reference too"),
        (lambda some: {"training": some["same patients"]}, "30 patients are both in training and in the reference"),
    ],
)
def test_comparisons_that_mean_nothing_are_refused(
    change: Callable[[dict[str, Path]], dict[str, Path]], message: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    given = folders | {"few": generated_folder(tmp_path / "few", 5)}
    other = real_folder(tmp_path / "other", 30, first=500)
    table = other / "metadata.csv"
    table.write_text(re.sub(r",5(\d\d)$", lambda match: f",{int(match[1])}", table.read_text(), flags=re.MULTILINE))
    given["same patients"] = other
    chosen = {name: given[name] for name in ("generated", "reference", "training")} | change(given)
    sets: dict[str, Any] = {name: read_set(folder) for name, folder in chosen.items()}
    with pytest.raises(DataError, match=message):
        check_sets(Sets(**sets))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--generated", "gone", "--reference", "{reference}"], "is not a folder"),
        (["--generated", "{generated}", "--reference", "{generated}"], "in the reference too"),
        (["--generated", "{generated}", "--reference", "{reference}", "--extractor", "vgg"], "is not one of small"),
        (["--generated", "{generated}", "--reference", "{reference}", "--extractor", "rad-dino"], "346 MB, MIT"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    arguments: list[str],
    message: str,
    folders: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXR_EXTRACTORS", str(tmp_path / "none"))
    filled = [argument.format(**folders) for argument in arguments]
    output = tmp_path / "report"
    assert main(["evaluate", *filled, "--output", str(output), "--no-cache"]) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_the_shipped_networks_measure_a_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    arguments = [part for name in ("generated", "reference") for part in (f"--{name}", str(folders[name]))]
    assert main(["evaluate", *arguments, "--output", str(tmp_path / "r"), "--cache", str(tmp_path / "cache")]) == 0
    figures = json.loads((tmp_path / "r" / "report.json").read_text())
    assert [entry["extractor"]["name"] for entry in figures["distances"]] == ["small", "residual"]
    assert [judge["name"] for judge in figures["fidelity"]["judges"]] == ["dense", "residual"]


def test_extractors_that_agree_and_disagree_about_the_order() -> None:
    def rows(*values: float) -> dict[str, Any]:
        return {"rows": [{"metrics": [{"name": "KD", "value": value}]} for value in values]}

    assert rank_agreement([rows(1, 2, 3), rows(10, 20, 30)]) == pytest.approx(1)
    assert rank_agreement([rows(1, 2, 3), rows(3, 2, 1)]) == pytest.approx(-1)
    assert rank_agreement([rows(1, 2, 3)]) is None


def test_a_second_run_measures_nothing_again_and_writes_the_same_bytes(
    folders: dict[str, Path], tools: Tools, tmp_path: Path
) -> None:
    sets = Sets(read_set(folders["generated"]), read_set(folders["reference"]))
    said: list[str] = []
    kept = dataclasses.replace(tools, cache=tmp_path / "cache", say=said.append)

    def run(name: str) -> tuple[dict[str, Any], dict[Path, bytes]]:
        outcome = evaluate(sets, kept)
        paths = write_report(outcome.report, tmp_path / name, outcome.pictures)
        return outcome.report, {path.relative_to(tmp_path / name): path.read_bytes() for path in paths}

    first, written = run("a")
    assert said
    assert {"report.json", "report.md", "report.html"} <= {str(path) for path in written}
    said.clear()
    assert run("b") == (first, written)
    assert not said
    # Other labels of the same files are another question.
    table = shutil.copytree(folders["reference"], tmp_path / "relabelled") / "metadata.csv"
    table.write_text(table.read_text().replace("Effusion", "Mass"))
    other = evaluate(Sets(sets.generated, read_set(table.parent)), kept).report
    assert other["fidelity"] != first["fidelity"]


def test_the_closest_pairs_are_drawn_side_by_side(folders: dict[str, Path]) -> None:
    generated, training = (read_set(folders[name]) for name in ("generated", "training"))
    pairs = [(0.1, generated.names[0], training.names[3])] * 5
    drawn = draw_closest_pairs(pairs, generated, training)
    left, right = (drawn[26 : 26 + 64, start : start + 64] for start in (8, 8 + 64 + 8))
    assert np.array_equal(left, read_squares([generated.paths[0]], 64)[0])
    assert np.array_equal(right, read_squares([training.paths[3]], 64)[0])


@pytest.mark.slow
def test_folders_as_scanners_and_chexpert_have_them(folders: dict[str, Path], tools: Tools, tmp_path: Path) -> None:
    training, reference = tmp_path / "CheXpert", tmp_path / "dicom"
    for number, path in enumerate(sorted(folders["training"].glob("*.png"))):
        place = training / f"train/patient{number:05d}/study1"
        place.mkdir(parents=True)
        shutil.copy(path, place / "view1_frontal.png")
    reference.mkdir()
    for number, path in enumerate(folders["reference"].glob("*.png")):
        values = np.asarray(Image.open(path)).astype(np.uint16) * 16
        write_dicom(reference / f"IM{number:04d}", values, PatientID=f"P{number}", ViewPosition="PA", PatientAge="050Y")
    sets = Sets(read_set(folders["generated"]), read_set(reference), training=read_set(training))
    outcome = evaluate(sets, tools)
    assert outcome.report["detail"]["side"] == 64
    assert outcome.report["reference"]["num_patients"] == 48
    assert len({pair[2] for pair in outcome.report["copies"]["pairs"]}) > 1
    assert outcome.report["copies"]["pairs"][0][2].endswith("/study1/view1_frontal.png")
    assert set(outcome.pictures) == {"examples", "closest_pairs"}
