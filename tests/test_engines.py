"""Engines without OpenVINO: PyTorch goes on, its recipes stay as they were, and who asks for the other one is told."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import sample_images
import torch
from tiny_model import images_of

from cxr.commands.main import main
from cxr.commands.restore import command_line
from cxr.dataset import make
from cxr.dataset.make import Options, run_dataset
from cxr.dataset.plan import build_plan
from cxr.dataset.reproduce import IDENTICAL, Reproducer
from cxr.folders.image_folder import ImageFolder
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.images.png import encode_png
from cxr.images.recipe_file import find_differences
from cxr.models.openvino.engine_choice import EngineChoice, choose_engine
from cxr.models.openvino.graph import UNetConfig
from cxr.models.openvino.library import import_openvino, is_installed
from cxr.request.errors import ModelError, RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.request.recipe import Recipe

CPU = torch.device("cpu")
CONFIG = UNetConfig(in_channels=4, sample_size=4, cross_attention_dim=32)
RECIPE = sample_images.RECIPE
BY_OPENVINO = dataclasses.replace(RECIPE, engine="openvino")


@pytest.fixture(autouse=True)
def _without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    monkeypatch.delenv("CXR_ENGINE")
    monkeypatch.setattr("cxr.generate.model.models_in_memory", {})  # they may have its engine


def test_without_openvino_pytorch_goes_on_and_says_nothing(tiny_model_dir: Path) -> None:
    assert not is_installed()
    model = load_model(str(tiny_model_dir), "none")
    assert (model.info.engine, model.engine, model.notes) == ("pytorch", None, ())
    assert choose_engine(CONFIG, CPU, is_plain=True) == EngineChoice()


@pytest.mark.parametrize("name", ["OpenVINO", "torch", "openvino ", "0"])
def test_another_engine_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_ENGINE", name)
    with pytest.raises(ModelError, match=f"CXR_ENGINE is '{name}'; use pytorch or openvino, or leave it unset"):
        choose_engine(CONFIG, CPU, is_plain=True)


@pytest.mark.parametrize(("device", "is_plain"), [("cuda", True), ("mps", True), ("cpu", False)])
def test_what_openvino_cannot_run_stays_with_pytorch(
    device: str, is_plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_ENGINE", "openvino")
    assert choose_engine(CONFIG, torch.device(device), is_plain=is_plain) == EngineChoice()


def test_who_asks_for_it_hears_how_to_install_it(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"OpenVINO is not installed, .*pip install openvino"):
        load_model(str(tiny_model_dir), "none", engine="openvino")
    monkeypatch.setenv("CXR_ENGINE", "openvino")
    with pytest.raises(ModelError, match="not installed"):
        load_model(str(tiny_model_dir), "none")
    with pytest.raises(ModelError, match="not installed"):
        import_openvino()


def test_a_folder_of_openvino_says_why_it_cannot_go_on(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ImageFolder(tmp_path) as folder:
        folder.write(sample_images.make_image(0, engine="openvino"))
    before = sample_images.content(tmp_path)
    command = ["generate", "chest xray", "--count", "2", "--model", str(tiny_model_dir), "--adapter", "none"]
    assert main([*command, "--output", str(tmp_path)]) == 2
    assert "OpenVINO is not installed" in capsys.readouterr().err
    assert sample_images.content(tmp_path) == before


PLAN: dict[str, Any] = {
    "settings": {"num_inference_steps": 1},
    "cohort": [{"findings": ["Effusion"], "count": 2}],
    "split": {"train": 1.0},
}


def test_a_data_set_of_openvino_says_why_it_cannot_go_on_unless_it_is_whole(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, options, folder = build_plan(PLAN, "test"), Options(str(tiny_model_dir), "none"), tmp_path / "set"
    loaded = load_model(str(tiny_model_dir), "none")
    with monkeypatch.context() as patch:
        patch.setattr(make, "load_model", lambda *given, **settings: loaded)
        assert run_dataset(plan, folder, options) == 0
    manifest = json.loads((folder / "manifest.json").read_text())
    assert "engine" not in manifest
    (folder / "manifest.json").write_text(json.dumps(manifest | {"engine": "openvino"}))
    assert run_dataset(plan, folder, options) == 0
    next(folder.glob("train/*.png")).unlink()
    with pytest.raises(ModelError, match="OpenVINO is not installed"):
        run_dataset(plan, folder, options)


def test_verify_makes_it_by_pytorch_and_says_so(tiny_model_dir: Path) -> None:
    model = load_model(str(tiny_model_dir), "none")
    request = GenerationRequest("chest xray", num_inference_steps=2)
    (image,) = images_of(request, model)
    versions = image.recipe.library_versions | {"openvino": "2026.4.1"}
    recipe = dataclasses.replace(image.recipe, engine="openvino", library_versions=versions)
    comparison = Reproducer(str(tiny_model_dir), "none").check(image.pixels, recipe, 8)
    assert comparison.verdict == IDENTICAL  # it was PyTorch's
    assert comparison.changed == ("engine openvino (here pytorch)", "openvino 2026.4.1 (here none)")


def test_restore_says_that_another_engine_will_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_base_model: LoadedModel
) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(encode_png(sample_images.make_image(0, engine="openvino")))
    assert main(["restore", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("python -m cxr generate")
    assert "made by OpenVINO, which is not installed" in said.err
    assert "openvino" in find_differences(BY_OPENVINO, dataclasses.replace(tiny_base_model.info, engine="pytorch"))
    assert command_line(RECIPE).startswith("python -m cxr generate")


def test_recipes_name_the_engine_only_if_it_is_another() -> None:
    assert "engine" not in RECIPE.values
    assert Recipe.from_json(RECIPE.to_json()) == RECIPE
    assert json.loads(BY_OPENVINO.to_json())["engine"] == "openvino"
    assert Recipe.from_json(BY_OPENVINO.to_json()) == BY_OPENVINO
    assert Recipe.from_values(RECIPE.values | {"engine": "pytorch"}) == RECIPE


@pytest.mark.parametrize("engine", ["", "OPENVINO", "onnx", "x" * 3_000, 1, None, ["openvino"], {}])
def test_an_engine_that_is_none_is_refused(engine: object) -> None:
    with pytest.raises(RequestError, match="engine is "):
        Recipe.from_values(RECIPE.values | {"engine": engine})
