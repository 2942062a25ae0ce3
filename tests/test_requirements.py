"""What is declared, what is pinned and what is imported agree."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Declared, but used by other libraries only: tokenizers of T5 and Gemma, a plugin of pytest, a decoder of pydicom.
NOT_IMPORTED = {"sentencepiece", "protobuf", "pytest-xdist", "python-gdcm"}


def ranges(*extras: str) -> dict[str, Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


def pins(name: str) -> dict[str, Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith(("#", "-r "))]
    assert len({one.name for one in found}) == len(found), "one version of each for all systems"
    return {one.name: one for one in found}


@pytest.mark.parametrize("extra", ["", "test"])
def test_every_range_has_both_ends(extra: str) -> None:
    for name, one in ranges(*filter(None, [extra])).items():
        operators = {part.operator for part in one.specifier}
        assert operators == {"=="} or (">=" in operators and operators & {"<", "<="}), f"{name} is open: {one}"


def test_each_range_is_pinned_to_a_version_inside_it() -> None:
    program, tests = pins("requirements.txt"), pins("requirements-test.txt")
    assert (ROOT / "requirements-test.txt").read_text().count("-r requirements.txt\n") == 1
    assert not set(program) & set(tests)
    assert set(ranges()) <= set(program)
    for name, one in ranges("test").items():
        if name == "torch":
            assert program[name].specifier == one.specifier, "ZeroGPU and machines without a GPU choose inside it"
        else:
            (pin,) = (program | tests)[name].specifier
            assert one.specifier.contains(pin.version), f"{name}: {pin.version} is not within {one}; run .ci/lock"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_all_but_torch_is_exact(name: str) -> None:
    for one in pins(name).values():
        assert one.name == "torch" or [part.operator for part in one.specifier] == ["=="], f"{one} in {name}"
        assert not one.name.startswith(("nvidia-", "cuda-", "triton")), f"{one} is torch's own part"


def test_the_first_lines_tell_how_the_files_are_made() -> None:
    for name in ("requirements.txt", "requirements-test.txt"):
        assert ".ci/lock" in (ROOT / name).read_text().splitlines()[0]
    assert (ROOT / ".ci" / "lock").is_file()


def imported(paths: list[Path]) -> set[str]:
    """Distributions that these files import, the project's own and Python's left out."""
    tops: set[str] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                tops |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                tops.add(node.module.split(".")[0])
    tops -= {"cxr", "conftest", *sys.stdlib_module_names, *(path.stem for path in (ROOT / "tests").glob("*.py"))}
    known = packages_distributions()
    return {canonicalize_name(name) for top in tops for name in known.get(top, [top])}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    program = imported([ROOT / "app.py", *(ROOT / "cxr").rglob("*.py")])
    tests = imported([*(ROOT / "tests").glob("*.py")])
    # What `bench` compares with is nobody's requirement; where it is missing, its row says how to install it.
    assert program - set(ranges("provenance", "openvino")) - {"onnxruntime", "optimum"} == set()
    assert tests - set(ranges("test", "browser")) - {"gradio-client", "fastapi", "mcp"} == set(), (
        "gradio and gradio[mcp] bring these"
    )
    assert set(ranges()) - program - NOT_IMPORTED == set(), "declared in vain"
    assert set(ranges("test")) - program - tests - NOT_IMPORTED == set(), "declared in vain for the tests"
