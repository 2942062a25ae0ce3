"""Judges: what they are told, what they answer, and how their files are read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_data import make_folder

from cxr.commands.main import main
from cxr.commands.train_stages import NETWORKS as OFFERED_NETWORKS
from cxr.folders.radiographs import read_folders
from cxr.judges.judge import load_judge, measure_labels, read_labels
from cxr.judges.networks import NETWORKS, SIZE
from cxr.labels.split import split_by_patient
from cxr.labels.targets import AGE_CENTRE, ATTRIBUTES, LABELS, attribute_scores, attribute_targets, targets_of
from cxr.labels.vocabulary import labels_of
from cxr.request.errors import DataError

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


def test_a_trained_judge_is_read_back_with_its_thresholds(tmp_path: Path) -> None:
    labels = [("Effusion", "50", "M", "PA"), ("No Finding", "40", "F", "AP"), ("Mass", "60", "M", "PA")] * 4
    data = make_folder(tmp_path / "real", [(*row, str(number)) for number, row in enumerate(labels)], side=64)
    options = ["--data", str(data), "--steps", "1", "--batch-size", "4"]
    assert (
        main(
            [
                "train",
                "judge",
                "--network",
                "dense",
                "--validation-share",
                "0.5",
                "--judging-share",
                "0",
                "--out",
                str(tmp_path),
                *options,
            ]
        )
        == 0
    )
    judge = load_judge(tmp_path / "judge.safetensors")
    assert judge.name == "dense"
    assert judge.thresholds.shape == (len(ATTRIBUTES),)
    assert np.isfinite(judge.thresholds[ATTRIBUTES.index("male")])
    assert np.isnan(judge.thresholds[ATTRIBUTES.index("Hernia")])  # nobody has one
    assert judge.facts["num_training"] + judge.facts["num_validation"] == len(labels)


def test_what_a_judge_is_worth_is_measured_on_patients_that_it_has_no_part_in(tmp_path: Path) -> None:
    labels = [("Effusion", "50", "M", "PA"), ("No Finding", "40", "F", "AP")] * 15
    data = make_folder(tmp_path / "real", [(*row, str(number)) for number, row in enumerate(labels)], side=64)
    options = ["--data", str(data), "--validation-share", "0.3", "--judging-share", "0.4"]
    options += ["--steps", "1", "--batch-size", "4", "--out", str(tmp_path)]
    assert main(["train", "judge", *options]) == 0
    judge = load_judge(tmp_path / "judge.safetensors")
    figures = json.loads((tmp_path / "reliability.json").read_text())
    split = split_by_patient(read_folders([data]), 0.3, 0.4)
    assert figures["judge_sha256"] == judge.sha256
    assert figures["num_images"] == len(split.held_out)
    assert judge.facts["num_training"] + judge.facts["num_validation"] == len(split.judging)
    assert set(figures["labels"]) == set(LABELS)
    assert figures["labels"]["Hernia"]["auroc"] is None
    assert not figures["labels"]["Hernia"]["judgeable"]


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
