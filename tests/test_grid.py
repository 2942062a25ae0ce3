"""Grids on one sheet: words and settings crossed, told before, made by the command, the endpoint and the tab."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from live_page import LivePage
from PIL import Image
from server_process import ROOT

from cxr.commands.main import main
from cxr.dataset.grid import build_grid, describe_grid, draw_grid, layout_of, spell_out
from cxr.folders.sheet import SheetRow, draw_sheet, size_of_sheet
from cxr.request.errors import RequestError


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("a mass", ["a mass"]),
        ("a {small|large} mass", ["a small mass", "a large mass"]),
        ("a {|large} mass", ["a mass", "a large mass"]),
        ("{a|b} {c|d}", ["a c", "a d", "b c", "b d"]),
        ("{a|a} x", ["a x"]),
        ("{a}", ["a"]),
    ],
)
def test_alternatives_are_spelled_out(text: str, prompts: list[str]) -> None:
    assert spell_out(text) == prompts


@pytest.mark.parametrize("text", ["a {small", "a small}", "{a|{b|c}}", "}a{", "{{a|b}}"])
def test_a_brace_without_its_other_is_one_sentence(text: str) -> None:
    with pytest.raises(RequestError, match="prompt has an unmatched brace"):
        spell_out(text)


@pytest.mark.parametrize(
    ("prompt", "axes", "message"),
    [
        ("", {}, "prompt is empty"),
        ("x", {"seed": [1, 1]}, "seed has 1 twice; keep one"),
        ("x", {"guidance_scale": [0.5]}, "guidance_scale is 0.5"),
        ("x", {"num_inference_steps": [1, 101]}, "num_inference_steps is 101"),
        ("x", {"seed": [-1]}, "seed is -1"),
        ("x", {"seed": ["a"]}, "seed is 'a'"),
        ("{a|b}" * 7, {}, "prompt stands for 128 prompts; use at most 64"),
        ("{a|b}", {"seed": list(range(40))}, "the plan asks for 80 images; use at most 64"),
        (7, {}, "prompt is int"),
    ],
    ids=str,
)
def test_grids_that_are_refused(prompt: Any, axes: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build_grid(prompt, axes, {})


def test_prompts_go_down_and_the_last_setting_that_varies_goes_across() -> None:
    plan = build_grid("{a|b}", {"seed": [5, 6, 7], "guidance_scale": [1, 2], "num_inference_steps": [3]}, {})
    layout = layout_of(plan)
    assert layout.columns == ("seed 5", "seed 6", "seed 7")
    assert [label for label, _ in layout.rows] == ["a, guidance 1", "a, guidance 2", "b, guidance 1", "b, guidance 2"]
    assert layout.title == "3 steps"
    assert sorted(index for _, places in layout.rows for index in places) == list(range(12))
    for label, places in layout.rows:
        for column, index in zip(layout.columns, places, strict=True):
            request = plan.images[index].request
            assert label == f"{request.prompt}, guidance {request.guidance_scale:g}"
            assert column == f"seed {request.seed}"


@pytest.mark.parametrize(
    ("prompt", "axes", "size"),
    [
        ("a", {}, (1, 1)),
        ("{a|b}", {}, (2, 1)),
        ("a", {"seed": [1, 2]}, (1, 2)),
        ("{a|b}", {"adapter_weight": [0, 1]}, (2, 2)),
    ],
)
def test_what_is_said_before_is_what_is_drawn(prompt: str, axes: dict[str, list[Any]], size: tuple[int, int]) -> None:
    plan = build_grid(prompt, axes, {})
    layout = layout_of(plan)
    assert layout.size == size
    sheet = draw_grid(plan, {index: np.full((32, 32), 99, np.uint8) for index in range(len(plan.images))})
    width, height = size_of_sheet(size, 32, title=layout.title, columns=layout.columns)
    assert sheet.shape == (height, width)
    said = describe_grid(plan, "caption", 32, 0.5)
    assert f"a sheet of {width:,} × {height:,} pixels; about {4 * len(plan.images)} s" in said
    assert (sheet == 99).sum() >= 32 * 32 * len(plan.images)


def test_an_image_that_is_missing_is_black() -> None:
    plan = build_grid("a", {"seed": [1, 2]}, {})
    sheet = draw_grid(plan, {1: np.full((32, 32), 250, np.uint8)})
    assert (sheet == 250).sum() == 32 * 32
    assert (sheet == 0).sum() >= 32 * 32


def test_a_label_that_is_too_long_is_cut_and_other_sheets_are_as_they_were() -> None:
    row = SheetRow("a very long label " * 20, (np.zeros((32, 32), np.uint8),))
    long = draw_sheet([row], title="t")
    assert long.shape[1] == 48
    assert draw_sheet([row]).shape == (long.shape[0] - 26, 48)


# The command


def test_the_command_draws_the_sheet(tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sheet", "--grid", "a {mass|nodule}", "--vary", "num-inference-steps=1,2", "--vary", "seed=3"]
    command += ["--model", str(tiny_model_dir), "--adapter", "none"]
    assert main([*command, "--output", str(tmp_path / "deep" / "grid.png")]) == 0
    said = capsys.readouterr()
    assert "2 × 2 = 4 images, 6 steps in all; a sheet of 88 × 218 pixels" in said.err
    with Image.open(tmp_path / "deep" / "grid.png") as picture:
        assert picture.size == (88, 218)
    assert main([*command, "--dry-run"]) == 0
    assert "2 × 2 = 4 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "a.png"], "give either folders or --grid"),
        (["x", "--grid", "a", "--output", "a.png"], "give either folders or --grid"),
        (["--grid", "a"], "--output is missing"),
        (["x", "--output", "a.png", "--vary", "seed=1"], "--vary and --dry-run only work with --grid"),
        (["--grid", "a", "--vary", "prompt=b", "--dry-run"], "prompt cannot vary"),
        (["--grid", "a", "--vary", "seed=1", "--vary", "seed=2", "--dry-run"], "seed appears twice"),
        (["--grid", "a", "--vary", "seed=", "--dry-run"], "--seed is “”; use numbers separated by commas"),
        (["--grid", "a", "--vary", "seed=1;2", "--dry-run"], "--seed is “1;2”"),
        (["--grid", "a {b", "--dry-run"], "has an unmatched brace"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sheet", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


# The endpoint


@pytest.fixture(scope="module")
def client(tiny_page: LivePage, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return tiny_page.client(downloads=tmp_path_factory.mktemp("downloads"))


def test_the_endpoint_gives_sheet_archive_and_facts(client: Client) -> None:
    sheet, archive, facts = client.predict(
        "a {mass|nodule}", adapter_weight=[0, 1], num_inference_steps=[1], api_name="/sheet"
    )
    with Image.open(sheet) as picture:
        assert picture.width == 88
    with zipfile.ZipFile(archive) as packed:
        rows = [json.loads(line) for line in packed.read("metadata.jsonl").splitlines()]
    assert [row["prompt"] for row in rows] == ["a mass", "a mass", "a nodule", "a nodule"]
    assert facts["rows"] == ["a mass", "a nodule"]
    assert facts["columns"] == ["LoRA weight 0", "LoRA weight 1"]
    assert facts["num_images"] == 4
    assert facts["notes"] == ["No LoRA is loaded, so its weight changes nothing."]
    assert facts["told"].startswith("2 × 2 = 4 images, 4 steps in all; a sheet of 88 × ")


def test_a_dry_run_only_tells(client: Client) -> None:
    sheet, archive, facts = client.predict("a {mass|nodule}", seed=[1, 2, 3], dry_run=True, api_name="/sheet")
    assert (sheet, archive) == (None, None)
    assert facts["told"].startswith("2 × 3 = 6 images")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt": "{a"}, "has an unmatched brace"),
        ({"prompt": "a", "seed": 7}, "seed is int; give a list of numbers"),
        ({"prompt": "a", "guidance_scale": ["x"]}, "guidance_scale is 'x'"),
        ({"prompt": "a", "dry_run": "false"}, "dry_run is 'false'; use true or false"),
        ({"prompt": "a", "dry_run": {}}, "dry_run is {}; use true or false"),
        ({"prompt": "a", "dry_run": None}, "dry_run is None; use true or false"),
        ({"prompt": "a", "dry_run": 0}, "dry_run is 0; use true or false"),
        (
            {"prompt": "a", "num_inference_steps": [100], "seed": [*range(11)]},
            "more than this server makes for one request",
        ),
    ],
    ids=str,
)
def test_the_endpoint_refuses(values: dict[str, Any], message: str, client: Client) -> None:
    with pytest.raises(AppError, match=message):
        client.predict(**values, api_name="/sheet")


def test_a_grid_is_planned_without_torch() -> None:
    """Every page that opens asks for it, while another thread is in the midst of importing torch and diffusers."""
    code = "import sys, cxr.dataset.grid; print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


IN_THREADS = """
import importlib, sys, threading, time
import gradio
from cxr.web.jobs.model_choice import ModelChoice, answering

choice = ModelChoice(sys.argv[1], "none")
works = [
    lambda: importlib.import_module("cxr.dataset.grid"),
    lambda: answering(choice),
    lambda: importlib.import_module("cxr.judges.receipt"),
    lambda: answering(choice),
]
done = []
threads = [threading.Thread(target=lambda work=work: done.append(work())) for work in works]
for thread in threads:
    thread.start()
    time.sleep(0.01)
for thread in threads:
    thread.join()
print(len(done))
"""


@pytest.mark.slow
def test_who_comes_while_the_libraries_are_imported_waits_for_them(tiny_model_dir: Path) -> None:
    command = [sys.executable, "-c", IN_THREADS, str(tiny_model_dir)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "4", done.stderr
