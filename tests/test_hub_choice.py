"""Choosing a model by name: the command line fails with one sentence, the page goes on with what it has."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest
from hub_fixtures import hub as hub
from hub_server import HubServer
from huggingface_hub import constants
from tiny_families import save_tiny

import cxr.generate.model
import cxr.web.jobs.model_choice
from cxr.commands.main import main
from cxr.dataset.plan_file import read_plan
from cxr.dataset.reproduce import IDENTICAL, Reproducer
from cxr.images.png import read_recipe
from cxr.images.reading import read_grey
from cxr.models.preset_table import PRESETS
from cxr.models.presets import request_defaults
from cxr.request.errors import DataError, HubUnreachableError
from cxr.request.generation_request import GenerationRequest
from cxr.web.jobs.image_job import make_images
from cxr.web.jobs.job import Job
from cxr.web.jobs.model_choice import STAND_IN, ModelChoice, answering, load_model_for
from cxr.web.page import panels
from cxr.web.page.blocks import build_page, describe_choice
from cxr.web.page.image_form import DEFAULTS

SD15 = PRESETS["sd15"]


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cxr.generate.model, "models_in_memory", {})
    monkeypatch.setattr(cxr.web.jobs.model_choice, "unreachable_since_s", {})


@pytest.fixture(name="sd15")
def _sd15(hub: HubServer, tmp_path: Path) -> HubServer:
    hub.add_folder(SD15.hub_id, save_tiny("StableDiffusionPipeline", tmp_path), commit=SD15.revision)
    return hub


def unplug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there


def test_generate_by_name_uses_what_suits_the_model(sd15: HubServer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["generate", "a chest xray", "--model", "sd15", "--steps", "3", "--output", str(out)]) == 0
    (path,) = out.glob("*.png")
    recipe = read_recipe(path)
    assert (recipe.model, recipe.model_revision) == ("sd15", f"hub:{SD15.hub_id}@{SD15.revision}")
    assert (recipe.num_inference_steps, recipe.guidance_scale, recipe.guidance_stop) == (3, 7.5, 1.0)
    assert recipe.scheduler == "DPMSolverMultistepScheduler"


def test_what_is_typed_wins_and_the_embedded_model_keeps_its_own() -> None:
    assert request_defaults("sd15") == {"num_inference_steps": 25, "guidance_scale": 7.5, "guidance_stop": 1.0}
    assert request_defaults(None) == request_defaults("embedded") == request_defaults("owner/name") == {}


def test_a_plan_starts_from_what_suits_the_model(tmp_path: Path) -> None:
    plan, table = tmp_path / "plan.yaml", tmp_path / "prompts.csv"
    plan.write_text("cohort: [{findings: Effusion, count: 1}]\nsettings: {guidance_scale: 3}\n")
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["prompt"], ["a chest xray"]])
    for path, guidance in ((plan, 3.0), (table, 7.5)):
        (image,) = read_plan(path, defaults=request_defaults("sd15")).images
        assert (image.request.num_inference_steps, image.request.guidance_scale) == (25, guidance)
        (image,) = read_plan(path).images
        assert image.request.num_inference_steps == GenerationRequest("x").num_inference_steps


def test_the_command_line_fails_when_the_hub_cannot_be_reached(
    sd15: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unplug(monkeypatch)
    out = tmp_path / "out"
    assert main(["generate", "a chest xray", "--model", "sd15", "--output", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the Hub cannot be reached" in said
    assert not list(out.glob("*.png"))


def test_notes_about_the_model_are_said(
    hub: HubServer, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add_folder("someone/tiny", tiny_model_dir)
    main(["generate", "chest xray", "--model", "someone/tiny", "--steps", "1", "--output", str(tmp_path / "out")])
    assert "note: someone/tiny is unpinned: its newest files were taken" in capsys.readouterr().err


def test_an_image_of_an_older_commit_is_made_again_with_that_commit(
    hub: HubServer, tiny_model_dir: Path, tmp_path: Path
) -> None:
    repo, out = hub.add_folder("someone/tiny", tiny_model_dir), tmp_path / "out"
    main(["generate", "chest xray", "--model", "someone/tiny", "--steps", "1", "--output", str(out)])
    commit = repo.commit
    repo.files["vae/notes.json"] = b"{}"
    (path,) = out.glob("*.png")
    with pytest.raises(DataError, match="someone/tiny, which does not come with this program"):
        Reproducer().check(read_grey(path), read_recipe(path), 8)
    outcome = Reproducer("someone/tiny").check(read_grey(path), read_recipe(path), 8)
    assert outcome.verdict == IDENTICAL
    assert read_recipe(path).model_revision.endswith(f"@{commit}") is (commit != repo.commit)


def model_line(choice: ModelChoice) -> str:
    """What the page says about the model when it has opened."""
    return str(list(describe_choice(choice))[-1][0])


def test_the_page_goes_on_with_the_embedded_model_and_says_so(sd15: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = ModelChoice("sd15")
    endpoint = constants.ENDPOINT
    unplug(monkeypatch)
    assert "The Hub cannot be reached; the embedded demo model is used instead" in model_line(choice)
    last = list(make_images(GenerationRequest("normal chest x-ray", num_inference_steps=1), choice, Job(None)))[-1]
    assert last.facts["model"] == "embedded"
    assert last.notes[0] == STAND_IN == last.facts["notes"][0]
    assert last.info is not None
    assert STAND_IN in panels.describe_model(choice, last.info)
    with pytest.raises(HubUnreachableError):
        load_model_for(choice)  # data sets never take another model than the one that was chosen
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    assert answering(choice) == ModelChoice(), "the Hub is left alone for a while"
    monkeypatch.setattr(cxr.web.jobs.model_choice, "RETRY_AFTER_S", 0.0)
    assert answering(choice) == choice
    line = model_line(choice)
    assert STAND_IN not in line
    assert "<b>sd15</b>" in line


def test_the_stand_in_gets_its_own_settings_and_card(sd15: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    unplug(monkeypatch)
    _, cards, _, *settings = list(describe_choice(ModelChoice("sd15")))[-1]
    assert settings == [DEFAULTS[name] for name in ("num_inference_steps", "guidance_scale", "guidance_stop")]
    assert "LoRA clinical" in cards
    assert list(describe_choice(ModelChoice()))[-1][2:] == (gr.skip(),) * 4


def test_other_faults_of_a_model_stay_faults_of_the_page(sd15: HubServer) -> None:
    sd15.repos[SD15.hub_id].failures["*"] = "gated"
    line = model_line(ModelChoice("sd15"))
    assert "Model not available" in line
    assert "is gated: accept its terms" in line


@pytest.mark.parametrize("model", ["sd15", None, "nowhere"])
def test_the_form_starts_with_what_suits_the_model(model: str | None) -> None:
    page = build_page(ModelChoice(model))
    found = {block.elem_id: block.value for block in page.blocks.values() if isinstance(block, gr.Number)}
    for name in ("num_inference_steps", "guidance_scale", "guidance_stop"):
        expected = request_defaults(model)[name] if model == "sd15" else DEFAULTS[name]
        assert found[name] == expected


def test_the_list_of_models_says_what_one_has_to_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == list(PRESETS)
    for line, preset in zip(lines, PRESETS.values(), strict=True):
        words = [preset.license, preset.data_terms, f"gated: {preset.gated}", f"prompt form: {preset.prompt_form}"]
        assert all(word in line for word in [*words, "pinned" if preset.is_pinned else "unpinned", preset.unusable])
    assert main(["models", "show", "roentgen-v2"]) == 0
    shown = capsys.readouterr().out
    assert "files: unpinned: the newest are taken" in shown
    assert "gated: not verified" in shown
    assert main(["models", "show", "nothing"]) == 2
    assert "is not in the table; it has embedded, " in capsys.readouterr().err


def test_the_list_of_models_needs_no_torch() -> None:
    code = "import sys; from cxr.commands.main import main; main(['models']); assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ | {"CXR_MODEL": ""}
    )
    assert done.returncode == 0, done.stderr
