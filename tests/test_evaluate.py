"""Measures on cases whose answer is known."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_data import make_folder

from cxr.cli import main
from cxr.data import read_folders
from cxr.errors import DataError
from cxr.evaluate import judge as judging
from cxr.evaluate.fidelity import as_markdown, measure_fidelity
from cxr.evaluate.judge import AGE_CENTRE, AGE_SCALE, LABELS, JudgeNetwork, auroc, load_judge, reliability, targets_of
from cxr.evaluate.memorisation import check_copies, nearest
from cxr.export import ImageFolder
from cxr.generate import recipe_for
from cxr.models import LoadedModel
from cxr.schema import GeneratedImage, GenerationRequest
from cxr.vocabulary import labels_of

PROMPTS = ["A 50-year-old man with effusion", "A 50-year-old woman with effusion", "A 70-year-old man, normal lungs"]


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [([0.1, 0.9], [False, True], 1.0), ([0.9, 0.1], [False, True], 0.0), ([0.5, 0.5, 0.5], [True, False, True], 0.5)],
)
def test_auroc_counts_ties_half(scores: list[float], positive: list[bool], expected: float) -> None:
    assert auroc(np.array(scores), np.array(positive)) == expected


def test_auroc_of_one_class_is_unknown() -> None:
    assert np.isnan(auroc(np.array([0.1, 0.2]), np.array([True, True])))


def test_auroc_is_the_share_of_ordered_pairs() -> None:
    random = np.random.default_rng(0)
    scores, positive = random.normal(size=200).round(1), random.random(200) < 0.3
    pairs = scores[positive][:, None] - scores[~positive][None]
    assert auroc(scores, positive) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_what_a_prompt_does_not_say_is_unknown() -> None:
    (row,) = targets_of([labels_of("A 72-year-old patient with effusion")]).numpy()
    told = dict(zip(LABELS, row, strict=False))
    assert np.isnan(told["PA"])
    assert np.isnan(told["male"])
    assert (told["Effusion"], told["Mass"], told["abnormal"]) == (1, 0, 1)
    assert row[-1] == pytest.approx((72 - AGE_CENTRE) / AGE_SCALE)


def test_a_perfect_judge_scores_one_and_no_years_of_error() -> None:
    targets = targets_of([labels_of(prompt) for prompt in PROMPTS]).numpy()
    scores = np.nan_to_num(targets.astype(np.float64))
    scores[:, -1] = targets[:, -1] * AGE_SCALE + AGE_CENTRE
    figures = reliability(scores, targets)
    assert figures["auroc_male"] == figures["auroc_Effusion"] == 1.0
    assert figures["age_mae"] == pytest.approx(0, abs=1e-5)
    assert np.isnan(figures["auroc_PA"])


def write_images(folder: Path, model: LoadedModel, pixels: list[np.ndarray]) -> Path:
    with ImageFolder(folder) as images:
        for index, (prompt, image) in enumerate(zip(PROMPTS, pixels, strict=True)):
            recipe = recipe_for(GenerationRequest(prompt), model, index)
            images.write(GeneratedImage(index, image, dataclasses.replace(recipe, seed=index)))
    return folder


@pytest.fixture
def real(tmp_path: Path) -> Path:
    labels = [("Effusion", "50", "M", "PA"), ("No Finding", "40", "F", "AP"), ("Mass", "60", "M", "PA")] * 4
    rows = [(*row, str(number)) for number, row in enumerate(labels)]
    return make_folder(tmp_path / "real", rows, side=64)


def test_fidelity_sees_the_labels_that_the_images_show(
    tmp_path: Path, tiny_model: LoadedModel, real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A judge that takes brightness for effusion: two bright pictures asked for it, the dark one did not.
    def brightness(_: JudgeNetwork, pixels: np.ndarray, device: torch.device | None = None) -> np.ndarray:
        return np.repeat(pixels.mean(axis=(1, 2))[:, None], len(LABELS) + 1, axis=1)

    monkeypatch.setattr("cxr.evaluate.fidelity.judge", brightness)
    bright, dark = np.full((32, 32), 200, np.uint8), np.full((32, 32), 50, np.uint8)
    generated = write_images(tmp_path / "generated", tiny_model, [bright, bright, dark])
    baseline = write_images(tmp_path / "baseline", tiny_model, [dark, dark, dark])
    rows = measure_fidelity(JudgeNetwork(), generated, baseline, read_folders([real]))
    effusion = next(row for row in rows if row.label == "Effusion")
    assert (effusion.generated, effusion.baseline) == (1.0, 0.5)
    assert (effusion.num_positive, effusion.num_known) == (2, 3)
    assert "| Effusion | 1.000 | 0.500 |" in as_markdown(rows)
    assert rows[-1].label == "findings, mean"


def test_copies_are_flagged_and_strangers_are_not() -> None:
    random = np.random.default_rng(0)
    training, held_out = (random.integers(0, 256, (40, 64, 64), np.uint8) for _ in range(2))
    copies = np.clip(training[:5].astype(int) + random.integers(-6, 7, (5, 64, 64)), 0, 255).astype(np.uint8)
    strangers = random.integers(0, 256, (5, 64, 64), np.uint8)
    figures, distances, indices = check_copies(np.concatenate([copies, strangers]), training, held_out)
    assert indices[:5].tolist() == [0, 1, 2, 3, 4]
    assert figures.ratio_share == 0.5
    assert figures.flagged_share >= 0.5
    assert distances[:5].max() < distances[5:].min()


def test_nearest_ignores_brightness() -> None:
    from cxr.evaluate.memorisation import describe

    image = np.random.default_rng(1).integers(0, 120, (1, 64, 64), np.uint8)
    distances, _ = nearest(describe(image + np.uint8(90)), describe(np.concatenate([image, 255 - image])))
    assert distances[0, 0] == pytest.approx(0, abs=2e-3)
    assert distances[0, 1] == pytest.approx(2, abs=2e-3)


def test_the_commands_write_figures_and_pictures(tmp_path: Path, tiny_model: LoadedModel, real: Path) -> None:
    random = np.random.default_rng(2)
    generated = write_images(tmp_path / "g", tiny_model, list(random.integers(0, 256, (3, 64, 64), np.uint8)))
    data = ["--data", str(real), "--validation-share", "0.5", "--generated", str(generated)]
    judge_dir = tmp_path / "judge"
    assert main(["train", "judge", "--data", str(real), "--out", str(judge_dir), "--steps", "1"]) == 0
    weights = str(judge_dir / "judge.safetensors")
    assert main(["evaluate", "fidelity", *data, "--judge", weights, "--output", str(tmp_path / "f.json")]) == 0
    rows = json.loads((tmp_path / "f.json").read_text())
    assert {row["label"] for row in rows} >= {"PA", "male", "Effusion", "age_mae"}
    assert (tmp_path / "f.md").read_text().startswith("| label |")
    sheet = tmp_path / "pairs.png"
    assert main(["evaluate", "copies", *data, "--output", str(tmp_path / "c.json"), "--sheet", str(sheet)]) == 0
    assert json.loads((tmp_path / "c.json").read_text())["num_generated"] == 3
    with Image.open(sheet) as picture:
        assert picture.mode == "L"


def test_a_foreign_judge_and_an_empty_folder_are_refused(tmp_path: Path, real: Path) -> None:
    (tmp_path / "judge.safetensors").write_bytes(b"none")
    with pytest.raises(DataError, match="is not a judge"):
        load_judge(tmp_path / "judge.safetensors")
    with pytest.raises(DataError, match="holds no images"):
        measure_fidelity(JudgeNetwork(), tmp_path / "empty", None, read_folders([real]))


def test_the_judge_sees_every_image_at_its_own_size() -> None:
    assert judging.reduced(np.full((256, 256), 77, np.uint8)).tolist() == np.full((128, 128), 77).tolist()
