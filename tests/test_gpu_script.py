"""The script that fills docs/gpu.md: its page, and models of the right size, tried with few layers on a CPU."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from diffusers import UNet2DConditionModel

from cxr.generate.model import load_model

ROOT = Path(__file__).parents[1]


@pytest.fixture(name="script", scope="module")
def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_script", ROOT / "benchmarks" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_place_that_is_filled(script: ModuleType) -> None:
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    once = script.fill(page, "first")
    assert "```\nfirst\n```" in once
    assert script.fill(once, "second") == script.fill(page, "second")
    assert page.partition(script.BEGIN)[0] == once.partition(script.BEGIN)[0]
    assert page.partition(script.END)[2] == once.partition(script.END)[2]


# Millions of parameters, as their papers and model cards say.
@pytest.mark.parametrize(("settings", "millions"), [("SD15_UNET", 860), ("SDXL_UNET", 2567)])
def test_the_large_models_are_of_full_size(script: ModuleType, settings: str, millions: int) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**getattr(script, settings))
    assert round(sum(value.numel() for value in unet.parameters()) / 1e6) == millions


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
@pytest.mark.slow
def test_a_built_model_is_one_that_the_program_loads(script: ModuleType, name: str, tmp_path: Path) -> None:
    script.build(name, "cpu", is_tiny=True).save_pretrained(tmp_path / name)
    model = load_model(str(tmp_path / name), "none")
    assert model.info.resolution == 128
    assert model.network.config.sample_size == 16


@pytest.mark.slow
def test_the_whole_script_runs(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "gpu.md"
    page.write_text(f"before\n{script.BEGIN}\n{script.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(script, "PAGE", page)
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "LONGEST_S", float("inf"))  # a busy machine must not leave a model out
    monkeypatch.setattr("cxr.models.compiled.BACKEND", "eager")
    monkeypatch.setenv("CXR_COMPILE", "0")  # which the script changes
    monkeypatch.setattr(
        "sys.argv", ["gpu.py", "--write", "--runs=1", "--device=cpu", "--tiny", "--models", "sd15", "sdxl"]
    )
    assert script.main() == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("this program, every step guided") == 4
    assert "float32, compiled, " in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
