"""The libraries: which versions are refused at start, and which of their remarks a user is spared."""

from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cxr.libraries import KNOWN_REMARKS, SUPPORTED, LibraryError, check_libraries, installed_versions

ROOT = Path(__file__).parents[1]


def put(folder: Path, **versions: str) -> None:
    """Make ``folder`` look as if distributions of these versions were installed in it."""
    for name, number in versions.items():
        (folder / f"{name}-{number}.dist-info").mkdir(parents=True)


def test_versions_are_those_that_python_itself_finds() -> None:
    assert installed_versions() == {name: version(name) for name in SUPPORTED}


def test_the_installed_versions_are_accepted() -> None:
    check_libraries()


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"gradio": "5.49.1"}, "gradio is 5.49.1, but CXR Studio needs gradio 6.31 or newer, older than 7; install"),
        ({"transformers": "5.24.0"}, "transformers is 5.24.0"),
        ({"diffusers": "0.43.0.dev0"}, r"older than 0\.43"),
        ({"torch": "2.7.1+cpu"}, r"torch is 2\.7\.1\+cpu, but CXR Studio needs torch 2\.8 or newer; install"),
        ({"peft": "0.9.0", "huggingface_hub": "1.16.1"}, "peft is 0.9.0.*; huggingface-hub is 1.16.1"),
    ],
)
def test_others_are_refused_in_one_sentence(
    versions: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, **versions)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LibraryError, match=message) as caught:
        check_libraries()
    assert str(caught.value).endswith("install the right versions with: pip install -r requirements.txt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("versions", [{"torch": "2.15.0+cu132"}, {"gradio": "6.40.0"}, {"Gradio": "6.31.0rc1"}])
def test_newer_ones_of_the_same_kind_are_accepted(
    versions: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, **versions)
    monkeypatch.syspath_prepend(tmp_path)
    check_libraries()


def test_bounds_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {one.name: one.specifier for one in map(Requirement, project["dependencies"])}
    for name, (low, high) in SUPPORTED.items():
        bounds = {part.operator: part.version for part in declared[name]}
        assert (bounds[">="], bounds.get("<")) == (low, high), name


@pytest.mark.parametrize(
    ("command", "said"), [(["-m", "cxr", "models"], "error: "), (["app.py", "--help"], "app.py: ")], ids=("cxr", "app")
)
def test_both_faces_refuse_before_they_import_anything_heavy(command: list[str], said: str, tmp_path: Path) -> None:
    put(tmp_path, torch="2.1.0")
    (tmp_path / "torch.py").write_text("raise AssertionError('torch was imported')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{said}torch is 2.1.0, but CXR Studio needs torch 2.8 or newer; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_importing_the_pipelines_says_nothing() -> None:
    """Also where a user's own setting lets the libraries speak."""
    environment = os.environ | {"TRANSFORMERS_VERBOSITY": "warning", "DIFFUSERS_VERBOSITY": "warning"}
    code = "import cxr; from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("logger", "text"), KNOWN_REMARKS, ids=[logger for logger, _ in KNOWN_REMARKS])
def test_known_remarks_are_dropped_and_others_are_not(logger: str, text: str) -> None:
    def passes(message: str) -> bool:
        return bool(logging.getLogger(logger).filter(logging.makeLogRecord({"msg": message})))

    assert not passes(f"Something that {text} something.")
    assert passes("The weights are broken.")
    import_module(logger)  # the logger is that of a module


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("transformers.utils.import_utils", "requires torchvision (not installed)"),
        ("transformers.tokenization_utils_base", "Token indices sequence length is longer than"),
        ("diffusers.loaders.lora_base", "No LoRA keys associated to"),
        ("transformers.utils.loading_report", "LOAD REPORT"),
        ("diffusers.models.modeling_utils", "that should be kept in float32: "),
    ],
)
def test_the_libraries_still_say_them(module: str, text: str) -> None:
    """Else a filter stands in the table for nothing."""
    assert text in inspect.getsource(import_module(module))
