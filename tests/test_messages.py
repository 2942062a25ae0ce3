"""What messages and helps say of the command line: commands and options that exist, and defaults that agree."""

import argparse
import ast
import functools
import re
from collections import defaultdict
from pathlib import Path

import pytest
from command_parsers import parsers_of

from cxr.commands.main import build_parser

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path for path in (ROOT / "cxr").rglob("*.py") if "embedded" not in path.parts)
COMMAND = re.compile(r"python -m cxr ([a-z]+)(?: ([a-z]+))?")
OPTION = re.compile(r"(?<![\w(-])--[a-z][a-z-]*[a-z](?![\w-])")
# Of other programs that the texts name: torchrun, and git in cxr/deploy/space_files.py.
FOREIGN_OPTIONS = {"--nproc-per-node", "--others", "--exclude-standard"}


COMMANDS = dict(parsers_of(build_parser()))
OPTIONS = {flag for parser in COMMANDS.values() for flag in parser._option_string_actions}


@functools.cache
def texts_of(path: Path) -> list[str]:
    """The texts in a module's code, docstrings included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


# Options of app.py, whose parser is made only while the page starts: a text that is nothing but an option.
SERVER = sorted((ROOT / "cxr" / "web" / "server").glob("*.py"))
OPTIONS |= {text for path in SERVER for text in texts_of(path) if OPTION.fullmatch(text)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_options_in_texts_exist(path: Path) -> None:
    for text in texts_of(path):
        for command, word in COMMAND.findall(text):
            assert (command,) in COMMANDS, f"there is no command {command}: {text!r}"
            if any(words[:-1] == (command,) for words in COMMANDS) and word:
                assert (command, word) in COMMANDS, f"there is no command {command} {word}: {text!r}"
        assert set(OPTION.findall(text)) <= OPTIONS | FOREIGN_OPTIONS, text


def test_texts_name_commands_and_options() -> None:
    """Else the test above would check nothing."""
    texts = [text for path in MODULES for text in texts_of(path)]
    assert sum(len(COMMAND.findall(text)) for text in texts) > 10
    assert sum(len(OPTION.findall(text)) for text in texts) > 50


def test_an_option_has_the_same_default_in_every_command() -> None:
    defaults: dict[str, set[object]] = defaultdict(set)
    for words, parser in COMMANDS.items():
        for action in parser._actions:
            if words[:1] != ("train",) and action.default not in (None, argparse.SUPPRESS):
                defaults[action.dest].add(repr(action.default))
    assert {name: values for name, values in defaults.items() if len(values) > 1} == {}
