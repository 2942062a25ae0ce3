"""Every command of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator


def parsers_of(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every command with its words, "train lora" for example."""
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from parsers_of(inner, (*words, name))
