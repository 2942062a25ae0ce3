"""Options of the command line: the same settings, defaults and variables of the environment in every command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_parsers import parsers_of

from cxr.bench.speed import BATCH_SIZES
from cxr.commands import train_stages
from cxr.commands.main import build_parser, main
from cxr.commands.options import settings_of
from cxr.dataset.convert import FORMATS
from cxr.dataset.job_start import Options
from cxr.dataset.plan import build_plan
from cxr.evaluate.few_real import COUNTS
from cxr.folders.dicom import BITS
from cxr.judges.networks import NETWORKS
from cxr.request.errors import RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.request.settings import FLAGS
from cxr.web.jobs.dataset_order import new_order
from cxr.web.server.arguments import parse_arguments

ROOT = Path(__file__).resolve().parent.parent
AROUND = "--surrounding-prompt only applies around a region; name one as well"
GENERATE = ["generate", "x", "--output", "out"]
# Whose images or Space name a model themselves, and what trains for a base: `cxr.commands.options` says so.
NAME_THEIR_OWN = {("verify",), ("detect",), ("deploy",), ("train", "lora")}


def test_every_command_with_a_model_obeys_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, model, adapter in (("", "embedded", "default"), ("sd15", "sd15", "sd15")):
        monkeypatch.setenv("CXR_MODEL", value)
        monkeypatch.setenv("CXR_ADAPTER", value)
        parsers = parsers_of(build_parser())
        found = {words: parser for words, parser in parsers if "--model" in parser._option_string_actions}
        assert {words[0] for words in found} >= {"generate", "dataset", "bench", "sheet", "report", "sweep", "train"}
        for words, parser in found.items():
            defaults = parser.get_default("model"), parser.get_default("adapter")
            assert defaults == ((None, None) if words in NAME_THEIR_OWN else (model, adapter)), words
        page = parse_arguments([]).choice
        assert (page.model, page.adapter) == (model, adapter)
    parsed = build_parser().parse_args([*GENERATE, "--model", "embedded", "--adapter", "none"])
    assert (parsed.model, parsed.adapter) == ("embedded", "none")


def test_defaults_are_those_of_a_request_and_of_the_model() -> None:
    given = settings_of(build_parser().parse_args([*GENERATE, "--model", "embedded"]))
    assert GenerationRequest("x", **given) == GenerationRequest("x")
    given = settings_of(build_parser().parse_args([*GENERATE, "--model", "sd15", "--steps", "3"]))
    assert (given["num_inference_steps"], given["guidance_scale"], given["guidance_stop"]) == (3, 7.5, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "--dataset", "2", "--steps", "0"], "--steps is 0; use a whole number from 1 to 100"),
        (["bench", "--dataset", "0"], "--dataset is 0; use 1 or more"),
        (["bench", "--dataset", "2", "--processes", "0"], "--processes is 0; use 1 or more"),
        (["bench", "--runs", "0"], "--runs is 0; use a whole number from 1 to 100"),
        (["sheet", "x", "--output", "x.png", "--columns", "0"], "--columns is 0; use 1 or more"),
        (["dataset", "plan.yaml", "--max-attempts", "101"], "--max-attempts is 101; use a whole number from 1 to 100"),
        (["dataset", "plan.yaml", "--max-attempts", "1.5"], "--max-attempts is 1.5; use a whole number from 1 to 100"),
        (["dataset", "plan.yaml", "--threads", "0"], "--threads is 0; use a whole number from 1 to 1,024"),
        (["verify", ".", "--sample", "-1"], "--sample is -1; use 0 or more"),
        (["export", ".", "--format", "x", "--output", "o"], "--format is 'x'; use dicom, webdataset, parquet, zip"),
        (["prompt", "x", "--form", "x"], "--form is 'x'; use one of caption, key_value, chexpert, report, plain"),
        (["train", "text", "--out", "o", "--steps", "0"], "--steps is 0; use a number above 0"),
        (["generate", "x", "--output", "o", "--surrounding-prompt", "y"], AROUND),
    ],
)
def test_a_wrong_number_is_named_by_its_option(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_plan_names_its_own_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("prompts: [x]\nsettings: {num_inference_steps: 0}\n")
    assert main(["dataset", str(plan), "--dry-run"]) == 2
    assert "error: num_inference_steps is 0; use" in capsys.readouterr().err


def test_the_help_of_generate_names_every_option_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    text = capsys.readouterr().out
    assert all(flag in text for flag in FLAGS.values())


NEW_ROW = """        Setting(
            "contrast", "number", "Contrast", "how far grey levels are apart", 0.5, 0.25, 2.0, 0.25,
            flag="--contrast", metavar="C", before=1.0,
        ),
    )
}  # fmt: skip
"""
EVERY_FACE = """
import json
import gradio as gr
from cxr.bench.speed import BATCH_SIZES
from cxr.commands import train_stages
from cxr.commands.main import build_parser, main
from cxr.commands.options import settings_of
from cxr.commands.restore import command_line
from cxr.dataset.plan import build_plan
from cxr.evaluate.image_set import RECIPE_FACTS
from cxr.folders.parquet import COLUMNS
from cxr.request.generation_request import GenerationRequest
from cxr.request.recipe import Recipe
from cxr.web.page.dataset_form import build_cohort, build_dataset_settings
from cxr.web.page.image_form import build_image_form, values_of
from cxr.web.jobs.image_state import ImageState
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.page.blocks import build_page
import sample_images

arguments = build_parser().parse_args(["generate", "x", "--output", "out", "--contrast", "1.5"])
request = GenerationRequest("x", **settings_of(arguments))
assert request.contrast == 1.5, request
assert GenerationRequest("x").contrast == 0.5
assert main(["generate", "x", "--output", "out", "--contrast", "3"]) == 2
recipe = sample_images.RECIPE
assert Recipe.from_json(recipe.to_json()) == recipe
assert json.loads(recipe.to_json())["contrast"] == 0.5
old = recipe.values
del old["contrast"]
assert Recipe.from_values(old).contrast == 1.0
assert recipe.request_from().contrast == 0.5
assert list(recipe.values)[-1] == "contrast"
assert "--contrast 0.5" in command_line(recipe)
assert COLUMNS["contrast"] == "float64"
assert "contrast" in RECIPE_FACTS
assert request.shared_settings != GenerationRequest("x").shared_settings
plan = build_plan({"prompts": ["x"], "settings": {"contrast": 2}}, "a plan")
assert plan.images[0].request.contrast == 2.0
grid = build_plan({"grid": {"prompt": ["x"], "contrast": [1, 2]}}, "a grid")
assert [image.request.contrast for image in grid.images] == [1.0, 2.0]
with gr.Blocks():
    form = build_image_form(ModelChoice())
    dataset_form = build_dataset_settings(build_cohort("problems"))
assert "contrast" in dataset_form.settings
assert form.settings["contrast"].label == "Contrast"
assert dict(zip(form.everything, values_of(recipe)))[form.settings["contrast"]] == 0.5
assert ImageState(request).facts["contrast"] == 1.5
endpoint = build_page(ModelChoice()).get_api_info()["named_endpoints"]["/generate"]
assert "contrast" in [one["parameter_name"] for one in endpoint["parameters"]], endpoint
"""


@pytest.mark.slow
def test_a_new_setting_is_one_row_and_one_field(tmp_path: Path) -> None:
    """Every face has it then; what is left is to use it where images are made."""
    shutil.copytree(ROOT / "cxr", tmp_path / "cxr", ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    table = tmp_path / "cxr" / "request" / "settings.py"
    text = table.read_text(encoding="utf-8")
    for old, new in (
        ("    )\n}  # fmt: skip\n", NEW_ROW),
        ("    bit_depth: int = ", '    contrast: float = SETTINGS["contrast"].default\n    bit_depth: int = '),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    table.write_text(text, encoding="utf-8")
    found = subprocess.run(
        [sys.executable, "-c", EVERY_FACE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'tests'}", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "error: --contrast is 3; use a number from 0.25 to 2.0" in found.stderr


def test_helps_name_what_modules_hold_that_are_too_heavy_for_them() -> None:
    texts = {words: " ".join(parser.format_help().split()) for words, parser in parsers_of(build_parser())}
    assert f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}" in texts["export",]
    assert f"bits of DICOM: {', '.join(map(str, BITS[:-1]))} or {BITS[-1]};" in texts["export",]
    assert f"(default: {' '.join(map(str, COUNTS))})" in texts["evaluate", "utility"]
    assert f"(default: {' '.join(map(str, BATCH_SIZES))})" in texts["bench",]
    assert set(train_stages.NETWORKS) == set(NETWORKS)


def test_a_data_set_of_the_page_takes_the_numbers_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    plan = build_plan({"prompts": ["x"]}, "a plan")
    assert new_order(plan, False, 100.0).max_attempts == 100  # as JSON may have a whole number
    assert new_order(plan, False).max_attempts == Options().max_attempts
    for wrong in (0, 101, 1.5, True, None, "4"):
        with pytest.raises(RequestError, match=r"^max_attempts is .*; use a whole number from 1 to 100"):
            new_order(plan, False, wrong)
