"""One line at a time to the terminal."""

from __future__ import annotations

from typing import TextIO


def say(stream: TextIO, text: str) -> None:
    """Write one line; whatever the text holds, it stays one line and moves no cursor."""
    line = " ".join(text.split())
    stream.write("".join(character if character.isprintable() else "?" for character in line) + "\n")
    stream.flush()
