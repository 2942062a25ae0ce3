"""Several models in one table; groups of patients; denials and sides; the call for programs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from test_evaluate import folders, generated_folder, quick, real_folder, tools  # noqa: F401

from cxr.commands.main import main
from cxr.evaluate import (
    MetricResult,
    compare_folders,
    evaluate_folder,
    read_set,
    write_comparison,
    write_report,
)
from cxr.evaluate.compare import COLUMNS, common_attributes
from cxr.evaluate.few_real import compare_few_real
from cxr.evaluate.fixed_prompts import probe_requests
from cxr.evaluate.groups import groups_of, measure_groups
from cxr.evaluate.image_set import ImageSet
from cxr.evaluate.probes import measure_probes
from cxr.evaluate.sets import unknown_to
from cxr.evaluate.tools import Tools
from cxr.judges.judge import Judge, hash_patient
from cxr.labels.targets import LABELS, targets_of
from cxr.labels.vocabulary import PromptLabels, labels_of
from cxr.metrics.sample import Sample
from cxr.prompts import misread_findings
from cxr.request.errors import DataError, RequestError


def test_models_stand_in_one_table_with_tests(folders: dict[str, Path], tools: Tools, tmp_path: Path) -> None:  # noqa: F811
    worse = generated_folder(tmp_path / "c", 30, 5000)
    for path in worse.glob("*.png"):
        with Image.open(path) as image:
            dark = image.point(lambda value: value // 4)
            dark.save(path)
    models = {"A": folders["generated"], "B": folders["baseline"], "C": worse}
    found = compare_folders(models, folders["reference"], tools)
    assert [row["name"] for row in found["benchmark"]["rows"]] == ["A", "B", "C"]
    assert set(found["benchmark"]["rows"][0]["metrics"]) <= set(COLUMNS)
    assert [row["name"] for row in found["corrected"][0]["rows"]][:3] == ["A", "B", "C"]
    counts = {metric["num_generated"] for row in found["corrected"][0]["rows"] for metric in row["metrics"]}
    assert len(counts) == 1  # one number of images for all
    assert {(test["first"], test["second"]) for test in found["tests"]} == {("A", "B"), ("A", "C"), ("B", "C")}
    assert all(test["p_holm"] >= test["p"] for test in found["tests"])
    (test,) = (
        one for one in found["tests"] if one["name"].startswith("KD") and (one["first"], one["second"]) == ("A", "C")
    )
    assert test["difference"].value < 0
    assert test["p_holm"] < 0.05
    assert test["difference"].num_generated == 30
    assert any("rad-dino are not in place" in note for note in found["notes"])
    written = [path.read_bytes() for path in write_comparison(found, tmp_path / "out")]
    assert b"CheXGenBench" in written[1]
    assert b"| p (Holm) | N |" in written[1]
    assert written == [path.read_bytes() for path in write_comparison(found, tmp_path / "again")]


def test_alignment_is_over_what_all_models_were_asked_for() -> None:
    view, sex, mass = ({"name": name, "judgeable": name != "Mass"} for name in ("PA", "male", "Mass"))
    assert common_attributes([[view, sex], [sex, view, mass]]) == ({"PA", "male"}, "")
    common, note = common_attributes([[view, sex], [view, mass]])
    assert common == {"PA"}
    assert note == "Alignment is a mean over PA: not all models were asked for male."


def test_one_model_is_no_comparison(folders: dict[str, Path], tools: Tools) -> None:  # noqa: F811
    with pytest.raises(RequestError, match="there is 1 model; compare two or more"):
        compare_folders({"A": folders["generated"]}, folders["reference"], tools)


def test_what_images_add_to_few_real_ones(folders: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    made, training, reference = (
        {name: read_set(folders[name]) for name in names}
        for names in (("generated", "baseline"), ("training",), ("reference",))
    )
    found = compare_few_real(made, training["training"], reference["reference"], (10, 20), steps=2)
    assert (found["counts"], found["num_synthetic"], found["num_seeds"]) == ([10, 20], 40, 3)
    written = write_comparison(found, tmp_path, "few_real")
    assert [path.name for path in written] == ["few_real.json", "few_real.md", "few_real.html"]
    text = written[1].read_text(encoding="utf-8")
    assert "## 10 real films" in text
    assert "| AUROC | alone | with generated | with baseline | generated adds | baseline adds | N real |" in text
    with pytest.raises(DataError, match="the reference must be unseen"):
        compare_few_real(made, reference["reference"], reference["reference"], (10,), steps=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "a", "--output", "o"], "required: --reference"),
        (["utility", "a", "--reference", "r", "--output", "o"], "required: --training"),
        (["utility", "a/b", "c/b", "--training", "t", "--reference", "r", "--output", "o"], "two folders have the"),
        (["utility", "gone", "--training", "t", "--reference", "r", "--output", "o"], "is not a folder"),
        (["utility", "a", "--counts", "many", "--training", "t", "--reference", "r", "--output", "o"], "invalid int"),
        (["compare", "one/a", "two/a", "--reference", "r", "--output", "o"], "two folders have the same name"),
        (["compare", "gone", "--reference", "r", "--output", "o"], "is not a folder"),
        (["--generated", "a", "--output", "o"], "required: --reference"),
        ([], "required: --generated, --reference, --output"),
        (["contrast"], "invalid choice"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_a_program_gets_the_same_figures(folders: dict[str, Path], tools: Tools) -> None:  # noqa: F811
    found = evaluate_folder(folders["generated"], folders["reference"], tools)
    kd = found.figure("distances", "tiny", "generated", "KD")
    assert isinstance(kd, MetricResult)
    assert kd.value == found.report["distances"][0]["rows"][0]["metrics"][0]["value"]
    assert kd.low <= kd.high
    assert found.figure("fidelity", "male", "PF").num_generated == 40
    assert np.isnan(found.figure("distances", "tiny", "generated", "FD").value)
    for names in (("KD",), ("distances", "tiny"), ("distances", "vast", "generated", "KD"), ("copies", "found")):
        with pytest.raises(DataError, match="has no figure"):
            found.figure(*names)
    json.dumps(found.report["goals"])


def test_groups_are_measured_where_there_are_enough_images() -> None:
    labels = [PromptLabels(("Effusion",) if k % 4 == 0 else (), 30 + k % 2 * 40, "MF"[k % 2], "PA") for k in range(200)]
    targets = targets_of(labels)
    names = {name for _, name, flags in groups_of(targets) if flags.any()}
    assert names == {"PA", "male", "female", "18 to 39 years", "60 to 79 years", "none", "Effusion"}
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=(2, 200, 5))
    made[1::2] += 1.0  # women are drawn badly
    rows = measure_groups((Sample(made), targets), (Sample(real), targets), {}, targets, {}, [])
    figures = {row["name"]: row["metrics"]["KD"] for row in rows}
    assert figures["male"].low < 0 < figures["male"].high
    assert figures["female"].low > 0
    assert figures["Effusion"].num_generated == 50


def test_a_group_of_one_patient_has_no_distance() -> None:
    targets = targets_of([PromptLabels((), 50, "MF"[k % 2], "PA") for k in range(100)])
    real, made = np.random.default_rng(0).normal(size=(2, 100, 5))
    films = Sample(real, ["one man" if k % 2 == 0 else f"woman {k}" for k in range(100)])
    rows = measure_groups((Sample(made), targets), (films, targets), {}, targets, {}, [])
    assert {row["name"] for row in rows} == {"PA", "female", "40 to 59 years", "none"}


def test_probes_come_in_pairs_that_differ_in_one_word() -> None:
    requests = probe_requests()
    for first, second in zip(requests[::2], requests[1::2], strict=True):
        assert first.seed == second.seed
        assert len(set(first.prompt.split()) ^ set(second.prompt.split())) in (1, 2, 3)
    denied = [misread_findings(request.prompt) for request in requests]
    assert sum(map(bool, denied)) == 100
    sides = [side for request in requests for _, side in labels_of(request.prompt).sides]
    assert sides.count("left") == sides.count("right") == 75


class Bright(torch.nn.Module):
    """Sees an effusion wherever the lower part of a picture is bright."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(images), len(LABELS) + 1)
        logits[:, LABELS.index("Effusion")] = 10 * images[:, 0, 64:].mean(dim=(1, 2))
        return logits


@pytest.mark.parametrize("denied", ["pleural effusion", "left pleural effusion", "right-sided effusion"])
def test_denials_and_sides_are_tested_by_what_is_drawn(denied: str) -> None:
    words = [
        "with pleural effusion",
        f"with no {denied}",
        "with left pleural effusion",
        "with right pleural effusion",
    ]
    prompts = tuple(f"50-year-old man {words[k % 4]}, PA view" for k in range(80))
    unknown = (PromptLabels(),) * 80
    images = ImageSet(Path(), tuple(map(Path, prompts)), prompts, unknown, prompts, tuple(map(str, range(80))), {})
    real = dataclasses.replace(images, prompts=("",) * 80)
    pixels = np.random.default_rng(0).integers(90, 110, (80, 128, 128)).astype(np.uint8)
    pixels[2::4, 64:, 64:] = 160  # the patient's left is on the right
    pixels[3::4, 64:, :64] = 160
    judge = Judge("bright", Bright(), np.zeros(1), "0", {})  # type: ignore[arg-type]

    def scores(judge: Judge, some: ImageSet) -> np.ndarray:
        from cxr.judges.judge import read_labels

        return read_labels(judge.network, pixels)

    part = measure_probes({"bright": judge}, images, real, scores, lambda some: pixels)
    (side,) = part["sides"]
    assert side["metrics"]["AUROC"].value == 1
    assert (side["num_positive"], side["num_negative"]) == (20, 20)
    assert np.isnan(side["metrics"]["C_AUROC"].value)
    (denial,) = part["denials"]
    assert (denial["num_positive"], denial["num_negative"]) == (60, 20)
    mirrored = measure_probes({"bright": judge}, images, real, scores, lambda some: pixels[:, :, ::-1])
    assert mirrored["sides"][0]["metrics"]["AUROC"].value == 0


def known_judge(tools: Tools, patients: list[str]) -> Judge:  # noqa: F811
    judge = next(iter(tools.judges.values()))
    return dataclasses.replace(judge, salt="s", patient_hashes=frozenset(hash_patient(one, "s") for one in patients))


def test_films_of_the_judges_patients_are_left_out_aloud(folders: dict[str, Path], tools: Tools) -> None:  # noqa: F811
    reference = read_set(folders["reference"])
    kept, notes = unknown_to([known_judge(tools, ["0", "5", "elsewhere"])], reference)
    assert len(kept) == 46
    assert not {"0", "5"} & set(kept.patients)
    assert notes == ["2 of 48 real films are left out: they are of patients that the judges have learnt from."]
    assert unknown_to(tools.judges.values(), reference) == (reference, [])
    with pytest.raises(DataError, match="38 others are too few"):
        unknown_to([known_judge(tools, [str(k) for k in range(10)])], reference)


def test_lateral_films_are_left_out_aloud(folders: dict[str, Path], tools: Tools) -> None:  # noqa: F811
    reference = read_set(folders["reference"])
    mixed = dataclasses.replace(reference, lateral=frozenset(reference.paths[:3]))
    kept, notes = unknown_to(tools.judges.values(), mixed)
    assert kept.paths == reference.paths[3:]
    assert notes == ["3 of 48 real films are left out: they are lateral views."]
    with pytest.raises(DataError, match=r"they are lateral views\. The 8 others are too few"):
        unknown_to(tools.judges.values(), dataclasses.replace(reference, lateral=frozenset(reference.paths[8:])))


def test_what_comes_without_patient_ids_is_said_aloud(folders: dict[str, Path], tools: Tools, tmp_path: Path) -> None:  # noqa: F811
    bare = shutil.copytree(folders["reference"], tmp_path / "bare")
    rows = [line.rsplit(",", 1)[0] for line in (bare / "metadata.csv").read_text().splitlines()]
    (bare / "metadata.csv").write_text("\n".join(rows) + "\n")
    reference = read_set(bare)
    kept, (note,) = unknown_to(tools.judges.values(), reference)
    assert kept is reference
    assert note.startswith("48 of 48 real films come without patient ids: halves of the films may share patients")
    assert "num_patients" not in reference.describe()
    models = {"A": folders["generated"], "B": folders["baseline"]}
    found = compare_folders(models, bare, tools)
    assert note in found["notes"]
    shown = [path.read_text() for path in write_comparison(found, tmp_path / "out") if path.suffix == ".md"]
    assert "Against 48 real films." in shown[0]


def test_some_patient_ids_and_some_strangers_are_two_notes(folders: dict[str, Path], tools: Tools) -> None:  # noqa: F811
    reference = read_set(folders["reference"])
    mixed = dataclasses.replace(reference, patients=(*reference.hashes[:3], *reference.patients[3:]))
    kept, notes = unknown_to([known_judge(tools, ["47", "elsewhere"])], mixed)
    assert len(kept) == 47
    assert [note.split(":")[0] for note in notes] == [
        "1 of 48 real films are left out",
        "3 of 48 real films come without patient ids",
    ]


def test_one_model_under_two_names_is_told(folders: dict[str, Path], tools: Tools, tmp_path: Path) -> None:  # noqa: F811
    again = shutil.copytree(folders["generated"], tmp_path / "again")
    soft = generated_folder(tmp_path / "c", 30, 5000)
    for path in soft.glob("*.png"):
        Image.open(path).filter(ImageFilter.GaussianBlur(2)).save(path)
    models = {"A": folders["generated"], "B": again, "C": soft}
    found = compare_folders(models, folders["reference"], tools)
    assert "All rows compare 30 images or fewer, as C has no more." in found["notes"]
    assert any(
        note.startswith("C: At ") and "pixels images and real films differ in power" in note for note in found["notes"]
    )
    assert "40 images of A are in B, too, byte for byte: these are not two models." in found["notes"]


def test_parts_of_one_folder_are_two_sets(folders: dict[str, Path], tools: Tools) -> None:  # noqa: F811
    from cxr.evaluate.network_outputs import NetworkOutputs

    whole, outputs = read_set(folders["reference"]), NetworkOutputs(None)
    first, second = whole.take(range(24)), whole.take(range(24, 48))
    one, other = (outputs.features(some, tools.extractors[0]) for some in (first, second))
    assert not np.array_equal(one, other)


def test_films_saved_again_do_not_pass_for_generated(
    folders: dict[str, Path],  # noqa: F811
    tools: Tools,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "made").mkdir()
    for path in sorted(folders["reference"].glob("*.png")):
        Image.open(path).save(tmp_path / "made" / f"{path.stem}.jpg", quality=95)
    found = evaluate_folder(tmp_path / "made", folders["reference"], tools)
    assert any(
        "of the generated images are nearer to a film of the reference than" in note for note in found.report["notes"]
    )
    shown = write_report(found.report, tmp_path / "report", found.pictures)
    (text,) = (path.read_text() for path in shown if path.suffix == ".md")
    assert "of the images all but repeat a film of the reference" in text.split("## Goals")[0]
