"""Judges: what they are told, what they answer, and how their files are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_data import make_folder

from cxr.commands.main import main
from cxr.commands.train_stages import NETWORKS as OFFERED_NETWORKS
from cxr.folders.radiographs import read_folders
from cxr.images.pixels import from_uint8
from cxr.judges.judge import (
    WEIGHTS,
    Judge,
    hash_patient,
    load_embedded,
    load_judge,
    measure_labels,
    read_labels,
    scores_of,
)
from cxr.judges.networks import NETWORKS, SIZE
from cxr.judges.reader_votes import read_majorities
from cxr.labels.split import split_by_patient
from cxr.labels.targets import AGE_CENTRE, ATTRIBUTES, LABELS, attribute_scores, attribute_targets, targets_of
from cxr.labels.vocabulary import labels_of
from cxr.request.errors import DataError
from cxr.train.judge_task import mixed, smoothed

PROMPTS = ["A 50-year-old man with effusion", "A 50-year-old woman with effusion", "A 70-year-old man, normal lungs"]


def test_what_a_prompt_does_not_say_is_unknown() -> None:
    (row,) = targets_of([labels_of("A 72-year-old patient with effusion")])
    told = dict(zip(LABELS, row, strict=False))
    assert np.isnan(told["PA"])
    assert np.isnan(told["male"])
    assert (told["Effusion"], told["Mass"], told["abnormal"]) == (1, 0, 1)
    assert row[-1] == 72


def test_no_records_are_no_rows() -> None:
    assert targets_of([]).shape == (0, len(LABELS) + 1)


def test_a_group_is_seen_if_one_of_its_findings_is() -> None:
    logits = np.full((3, len(LABELS) + 1), -3.0)
    logits[0, LABELS.index("Mass")] = logits[1, LABELS.index("Nodule")] = 4.0
    column = ATTRIBUTES.index("Mass or Nodule")
    scores = attribute_scores(logits)[:, column]
    chances = 1 / (1 + np.exp(-logits[:, [LABELS.index("Mass"), LABELS.index("Nodule")]]))
    assert 1 / (1 + np.exp(-scores)) == pytest.approx(1 - np.prod(1 - chances, axis=1))
    asked = attribute_targets(targets_of([labels_of("Chest X-ray, nodule"), labels_of("normal chest x-ray")]))
    assert asked[:, column].tolist() == [1, 0]


def test_very_sure_scores_stay_finite() -> None:
    assert np.isfinite(attribute_scores(np.array([[60.0] * 18, [-60.0] * 18]))).all()


def test_a_perfect_judge_scores_one_and_no_years_of_error() -> None:
    targets = targets_of([labels_of(prompt) for prompt in PROMPTS])
    figures = measure_labels(np.nan_to_num(targets.astype(np.float64)), targets)
    assert figures["auroc_male"] == figures["auroc_Effusion"] == 1.0
    assert figures["age_mae"] == pytest.approx(0)
    assert np.isnan(figures["auroc_PA"])


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_reads_each_image_by_itself(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE), np.uint8)
    together = read_labels(network, pixels)
    alone = np.concatenate([read_labels(network, image[None]) for image in pixels])
    assert together.shape == (3, len(LABELS) + 1)
    assert together == pytest.approx(alone, abs=1e-4)
    assert together[:, -1] == pytest.approx(AGE_CENTRE, abs=60)


def train(data: Path, out: Path, *options: str, network: str = "lean-dense") -> Judge:
    short = ["--steps", "1", "--batch-size", "4", "--network", network, "--data", str(data), "--out", str(out)]
    assert main(["train", "judge", *short, *options]) == 0
    return load_judge(out / "judge.safetensors")


@pytest.fixture
def thirty(tmp_path: Path) -> Path:
    """Films of thirty patients."""
    labels = [("Effusion", "50", "M", "PA"), ("No Finding", "40", "F", "AP")] * 15
    return make_folder(tmp_path / "real", [(*row, str(number)) for number, row in enumerate(labels)], side=64)


@pytest.mark.parametrize("members", ["1", "3"])
def test_a_judge_of_all_patients_but_the_held_out_is_read_back(thirty: Path, tmp_path: Path, members: str) -> None:
    shares = ["--validation-share", "0.3", "--judging-share", "0"]
    judge = train(thirty, tmp_path / "run", "--members", members, *shares)
    split = split_by_patient(read_folders([thirty]), 0.3)
    assert judge.name == "lean-dense"
    assert judge.thresholds.shape == (len(ATTRIBUTES),)
    assert np.isfinite(judge.thresholds[ATTRIBUTES.index("male")])
    assert np.isnan(judge.thresholds[ATTRIBUTES.index("Hernia")])  # nobody has one
    assert judge.facts["num_training"] + judge.facts["num_validation"] == len(split.training)
    assert all(judge.knows(record.patient_id) for record in split.training)
    assert not any(judge.knows(record.patient_id) for record in split.held_out)
    assert "patients" not in judge.facts
    figures = json.loads((tmp_path / "run" / "reliability.json").read_text())
    assert (figures["judge_sha256"], figures["num_images"]) == (judge.sha256, len(split.held_out))


def test_a_mean_reads_what_its_members_read_on_average(thirty: Path, tmp_path: Path) -> None:
    judge = train(thirty, tmp_path / "run", "--members", "2", "--judging-share", "0")
    members = [load_judge(tmp_path / "run" / f"member-{k}" / "judge.safetensors") for k in range(2)]
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE), np.uint8)
    scores = [read_labels(one.network, pixels) for one in members]
    assert np.abs(scores[0] - scores[1]).max() > 0.01  # other seeds, other patients
    assert read_labels(judge.network, pixels) == pytest.approx(np.mean(scores, axis=0), abs=1e-2)  # of half precision
    embedded = judge.network.embed(from_uint8(pixels)).detach().numpy()
    assert embedded.shape == (3, judge.network.width)
    assert scores_of(judge.network, embedded) == pytest.approx(read_labels(judge.network, pixels), abs=1e-4)


def test_the_members_of_a_mean_leave_out_each_patient_once(thirty: Path, tmp_path: Path) -> None:
    judge = train(thirty, tmp_path / "run", "--members", "3", "--judging-share", "0", "--validation-share", "0.2")
    training = split_by_patient(read_folders([thirty]), 0.2).training
    facts = [load_judge(tmp_path / "run" / f"member-{k}" / "judge.safetensors").facts for k in range(3)]
    assert sum(one["num_validation"] for one in facts) == judge.facts["num_training"] == len(training)
    figures = json.loads((tmp_path / "run" / "reliability.json").read_text())
    assert figures["cross_fitted"]["num_images"] == len(training)


def test_a_finished_run_is_joined_again_with_the_same_bytes(thirty: Path, tmp_path: Path) -> None:
    first = train(thirty, tmp_path / "run", "--members", "2", "--judging-share", "0")
    again = train(thirty, tmp_path / "run", "--members", "2", "--judging-share", "0")
    assert first.sha256 == again.sha256


def test_a_run_that_is_cut_short_joins_nothing(thirty: Path, tmp_path: Path) -> None:
    options = ["--network", "lean-dense", "--members", "2", "--steps", "9", "--max-minutes", "0"]
    assert main(["train", "judge", *options, "--data", str(thirty), "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "member-0").is_dir()
    assert not (tmp_path / "run" / "member-1").exists()
    assert not (tmp_path / "run" / "judge.safetensors").exists()


@pytest.mark.parametrize("same", ["61", " 61", "061", "00000061", "61.0", "61.00"])
def test_a_patient_is_known_however_programs_write_the_id(same: str) -> None:
    assert hash_patient(same, "s") == hash_patient("61", "s")


@pytest.mark.parametrize("other", ["610", "6.1", "p61", "61a", "-61", "", "61 2", "6１"])
def test_other_patients_are_not_taken_for_one(other: str) -> None:
    assert hash_patient(other, "s") != hash_patient("61", "s")
    assert hash_patient(other, "s") != hash_patient("61", "t")


def votes_table(folder: Path, rows: Sequence[str], header: str = "image,votes_of_5") -> Path:
    path = folder / "votes.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_judges_are_measured_by_what_most_readers_saw(thirty: Path, tmp_path: Path) -> None:
    rows = [f"{number}.png,Effusion:{number % 5 + 1}|Abnormal:5|Pleural Thickening:3" for number in range(20)]
    table = votes_table(tmp_path, [*rows, "29.png,", "elsewhere.png,Mass:4"])
    train(thirty, tmp_path / "run", "--members", "2", "--judging-share", "0", "--readers", str(table))
    figures = json.loads((tmp_path / "run" / "reliability.json").read_text())["readers"]
    assert figures["num_images"] == 20
    assert figures["labels"]["Effusion"]["num_positive"] == 12  # by three of five or more
    assert figures["labels"]["Pleural_Thickening"]["num_positive"] == 20
    assert figures["labels"]["PA"]["num_positive"] == 10  # as the data set says


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["0.png,Mass:3"], "image,findings", "needs a column file_name and one of votes"),
        (["0.png,Mass:3"], "what,votes_of_5", "needs a column file_name and one of votes"),
        (
            ["0.png,Mass"],
            "image,votes_of_5",
            "line 2: votes 'Mass' are not a finding, a colon and a number from 0 to 5",
        ),
        (["0.png,Mass:6"], "image,votes_of_5", "number from 0 to 5"),
        (["0.png,Mass:-1"], "image,votes_of_5", "number from 0 to 5"),
        (["0.png,Mass:2.5"], "image,votes_of_5", "number from 0 to 5"),
        (["0.png,:3|"], "image,votes_of_5", "number from 0 to 5"),
    ],
)
def test_a_table_of_votes_that_cannot_be_read_is_refused(
    tmp_path: Path, rows: list[str], header: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_majorities(votes_table(tmp_path, rows, header))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--members", "0"], "--members is 0; use 1 to 20"),
        (["--members", "-3"], "--members is -3; use 1 to 20"),
        (["--members", "21"], "--members is 21; use 1 to 20"),
        (["--members", "20", "--validation-share", "0.8"], "patients to learn from are too few for --members 20"),
        (["--validation-share", "0.999"], "0 patients to learn from are too few for --members 1"),
        (["--readers", "{votes}"], "votes.csv holds votes on none of the films in --data"),
        (["--readers", "gone.csv"], "cannot read gone.csv"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is(
    options: list[str], message: str, thirty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = votes_table(tmp_path, ["elsewhere.png,Mass:4"])
    filled = [option.format(votes=table) for option in options]
    shared = ["--judging-share", "0", "--steps", "1", "--data", str(thirty), "--out", str(tmp_path / "run")]
    assert main(["train", "judge", *shared, *filled]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_images_are_mixed_with_their_labels() -> None:
    images = torch.arange(400.0)[:, None, None, None].expand(400, 1, 2, 2)
    targets = torch.stack([images[:, 0, 0, 0], torch.where(torch.arange(400) < 200, float("nan"), 1.0)], dim=1)
    both, labels = mixed(images, targets, torch.Generator().manual_seed(0))
    assert torch.allclose(both[:, 0, 0, 0], labels[:, 0], atol=1e-3)
    alone = both[:, 0, 0, 0] == images[:, 0, 0, 0]
    assert 0.4 < alone.float().mean() < 0.6
    assert torch.equal(labels[alone].isnan(), targets[alone].isnan())
    unknown = labels[:, 1].isnan()
    assert unknown[:200].all()  # of the larger share
    assert unknown[200:][~alone[200:]].float().mean() > 0.3  # or of the smaller one


def test_labels_are_smoothed_and_unknown_ones_stay_unknown() -> None:
    smooth = smoothed(torch.tensor([0.0, 1.0, float("nan")]))
    assert smooth[:2].tolist() == pytest.approx([0.025, 0.975])
    assert smooth[2].isnan()


def test_a_file_that_names_no_patients_knows_none() -> None:
    assert not load_embedded("small").knows("1")


def test_the_judges_that_ship_stay_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.glob("*.safetensors")) <= 8_500_000


def test_what_a_judge_is_worth_is_measured_on_patients_that_it_has_no_part_in(thirty: Path, tmp_path: Path) -> None:
    judge = train(thirty, tmp_path / "run", "--validation-share", "0.3", "--judging-share", "0.4", network="residual")
    figures = json.loads((tmp_path / "run" / "reliability.json").read_text())
    split = split_by_patient(read_folders([thirty]), 0.3, 0.4)
    assert figures["judge_sha256"] == judge.sha256
    assert figures["num_images"] == len(split.held_out)
    assert judge.facts["num_training"] + judge.facts["num_validation"] == len(split.judging)
    assert set(figures["labels"]) == set(LABELS)
    assert figures["labels"]["Hernia"]["auroc"] is None
    assert not figures["labels"]["Hernia"]["judgeable"]
    assert figures["mean_auroc"]["all"]["value"] == pytest.approx(figures["labels"]["Effusion"]["auroc"])
    assert figures["mean_auroc"]["frequent"]["num_findings"] == 0


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"judge": "no JSON"}, {"judge": "{}"}, {"judge": json.dumps({"network": "vast", "thresholds": []})}],
)
def test_a_foreign_file_is_no_judge(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "judge.safetensors"
    save_file({"weight": torch.zeros(1)}, path, metadata)
    with pytest.raises(DataError, match="is not a judge"):
        load_judge(path)
    with pytest.raises(DataError, match="is not a judge"):
        load_judge(tmp_path / "missing.safetensors")


def test_the_command_line_offers_the_networks_that_there_are() -> None:
    assert set(OFFERED_NETWORKS) == set(NETWORKS)
