"""A model's own report and the sweep of its settings, from the command line, on a tiny model and few prompts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_evaluate import real_folder

from cxr.commands.main import main
from cxr.evaluate import copy_set, diversity, own_report, sweep
from cxr.evaluate.fixed_prompts import diversity_requests, fidelity_requests, matched_requests, probe_requests
from cxr.folders.radiographs import read_folders
from cxr.labels.split import split_by_patient
from cxr.request.generation_request import GenerationRequest

SHARES = ["--validation-share", "0.45", "--judging-share", "0.1"]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_folder(tmp_path_factory.mktemp("data") / "real", 100)


def one_step(requests: list[GenerationRequest]) -> list[GenerationRequest]:
    return [replace(request, num_inference_steps=1) for request in requests]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_report, "matched_requests", lambda records: one_step(matched_requests(records)))
    monkeypatch.setattr(own_report, "fidelity_requests", lambda: one_step(fidelity_requests()[:12]))
    monkeypatch.setattr(own_report, "diversity_requests", lambda: one_step(diversity_requests()[:1]))
    monkeypatch.setattr(own_report, "probe_requests", lambda: one_step(probe_requests()[:2]))
    monkeypatch.setattr(diversity, "MAX_PAIRS", 2)
    monkeypatch.setattr(copy_set, "NUM_PLANTED", 3)
    monkeypatch.setattr(sweep, "NUM_PROMPTS", 8)
    monkeypatch.setattr(sweep, "NUM_DIVERSE", 1)
    monkeypatch.setattr(
        sweep, "GRID", tuple(sweep.Settings(g, 2, guidance_stop=stop) for g, stop in ((1.5, 1.0), (4.0, 0.5)))
    )


def run(command: str, real: Path, model: Path, work: Path, output: Path, *options: str) -> int:
    given = ["--data", str(real), *SHARES, "--work", str(work), "--output", str(output)]
    return main([command, *given, "--model", str(model), "--adapter", "none", *options])


@pytest.mark.slow
def test_a_model_reports_on_itself_and_says_the_same_again(real: Path, tiny_model_dir: Path, tmp_path: Path) -> None:
    sweep_file = tmp_path / "sweep.json"
    assert run("sweep", real, tiny_model_dir, tmp_path / "settings", sweep_file) == 0
    points = json.loads(sweep_file.read_text())["points"]
    assert [(point["guidance_scale"], point["guidance_stop"]) for point in points] == [(1.5, 1.0), (4.0, 0.5)]
    assert all({"KD", "coverage", "PF", "AUROC", "MS-SSIM"} <= set(point) for point in points)

    split = split_by_patient(read_folders([real]), 0.45, 0.1)
    written = []
    for name in ("first", "again"):
        options = ("--cache", str(tmp_path / "cache"), "--sweep", str(sweep_file))
        assert run("report", real, tiny_model_dir, tmp_path / "work", tmp_path / name, *options) == 0
        written.append((tmp_path / name / "report.json").read_bytes())
    report: dict[str, Any] = json.loads(written[0])
    assert written[0] == written[1]
    assert report["generated"]["num_images"] == report["reference"]["num_images"] == len(split.held_out)
    assert report["training"]["num_images"] == len(split.training)
    assert report["fidelity"]["num_images"] == 12
    assert report["failures"]["failed"]["value"] == 0
    assert "real" not in json.dumps(report["reference"]["folder"])  # places are the user's
    assert (tmp_path / "first" / "plots" / "sweep.svg").is_file()


@pytest.mark.parametrize("content", ["{", "[]", '{"points": []}'])
def test_a_sweep_that_cannot_be_read_is_told_before_images_are_made(
    content: str, real: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweep.json").write_text(content)
    options = ("--sweep", str(tmp_path / "sweep.json"), "--no-cache")
    assert run("report", real, tiny_model_dir, tmp_path / "work", tmp_path / "report", *options) == 2
    assert "is not what python -m cxr sweep wrote" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
