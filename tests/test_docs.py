"""README and docs name commands, files, sections and Python names that exist."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

from cxr import __version__
from cxr.commands.main import build_parser
from cxr.web.server.arguments import parse_arguments

ROOT = Path(__file__).parents[1]
CARDS = (ROOT / "lora_weights/clinical/README.md", ROOT / "cxr/embedded/README.md", ROOT / "examples/README.md")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *CARDS])
# Written by others, at their time: architecture by hand, the outcomes by .ci/full and .ci/latest.
LATER = {"docs/architecture.md", "docs/ci-full.md", "docs/ci-latest.md"}
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`python -m cxr ([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
STARTERS = (["python", "-m"], ["accelerate", "launch"], ["torchrun", "--nproc-per-node"])


def blocks(path: Path, language: str) -> list[str]:
    return [text for kind, text in FENCED.findall(path.read_text(encoding="utf-8")) if kind == language]


def shell_lines() -> list[tuple[str, list[str]]]:
    """Every line of a shell block: its page, and its words without the comment; a line that ends with a \\ goes on."""
    found = []
    for path in PAGES:
        for block in blocks(path, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                for command in line.split("&&"):
                    found.append((path.relative_to(ROOT).as_posix(), shlex.split(command, comments=True)))
    return found


def cxr_commands() -> list[tuple[str, list[str]]]:
    """What follows ``-m cxr`` in the lines that start it."""
    lines = [(page, words) for page, words in shell_lines() if words[:2] in STARTERS and "cxr" in words]
    return [(page, words[words.index("cxr") + 1 :]) for page, words in lines]


def identity(value: object) -> str:
    return value if isinstance(value, str) else " ".join(value) if isinstance(value, list) else ""


@pytest.mark.parametrize(("page", "words"), cxr_commands(), ids=identity)
def test_a_command_line_is_one_that_the_program_accepts(page: str, words: list[str]) -> None:
    assert callable(build_parser().parse_args(words).run)


def test_there_are_command_lines_to_check() -> None:
    named = {words[0] for _, words in cxr_commands()}
    assert set(commands(build_parser())) - named <= {"adapters"}, "a command is shown nowhere"


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Name and parser of each sub-command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_command_in_a_sentence_exists(path: Path) -> None:
    for text in INLINE.findall(path.read_text(encoding="utf-8")):
        parser = build_parser()
        for word in shlex.split(text):
            if not (below := commands(parser)):
                break
            if word.startswith("-"):
                break
            assert word in below, f"python -m cxr {text}"
            parser = below[word]
        flags = {flag for action in parser._actions for flag in action.option_strings}
        assert {word for word in shlex.split(text) if word.startswith("--")} <= flags | {"--help"}, text


@pytest.mark.parametrize(("page", "words"), [one for one in shell_lines() if "app.py" in one[1]], ids=identity)
def test_the_page_starts_with_the_flags_that_are_shown(page: str, words: list[str]) -> None:
    assert words[:2] == ["python", "app.py"]
    parse_arguments(words[2:])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_sections_that_exist(path: Path) -> None:
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, section = link.partition("#")
        target = path.parent / name if name else path
        if target.resolve().relative_to(ROOT).as_posix() in LATER:
            continue
        assert target.exists(), link
        assert not section or section in sections(target), link


def sections(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the Hub write them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_is_python_and_names_of_the_program_exist(path: Path) -> None:
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cxr":
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), block


def test_the_readme_is_a_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == __version__
    changes = re.findall(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert changes[0] == __version__
