"""Words that messages share, and one line at a time to the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO


def say(stream: TextIO, text: str) -> None:
    """Write one line; whatever the text holds, it stays one line and moves no cursor."""
    line = " ".join(text.split())
    stream.write("".join(character if character.isprintable() else "?" for character in line) + "\n")
    stream.flush()


def printable(text: str) -> str:
    """A third party's text without the characters that terminals and pages would not show."""
    return "".join(character for character in text if character.isprintable())


def shorten(text: str, max_characters: int) -> str:
    """The beginning of a text that is too long, with "…" behind it."""
    return text if len(text) <= max_characters else f"{text[:max_characters]}…"


def shown(value: object, max_characters: int = 60) -> str:
    """A value that was refused, short enough for a message."""
    is_huge = isinstance(value, int) and abs(value) > 10**30  # repr() of thousands of digits is refused
    return "a very large number" if is_huge else shorten(repr(value), max_characters)


def shown_names(names: Iterable[object]) -> str:
    """Names that were refused, in one line that is short enough for a message."""
    return shorten(" ".join(", ".join(map(str, names)).split()), 200)


def as_sentence(text: str) -> str:
    """The same with a capital letter, unless it begins with the name of a parameter."""
    return text if "_" in text.partition(" ")[0] else text[:1].upper() + text[1:]


def plural(count: int, noun: str) -> str:
    """A number of things in words: "1 image", "1,000 images"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """A duration in words, rounded to what matters."""
    if seconds >= 90 * 60:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 90:
        return f"{round(seconds / 60)} min"
    return f"{max(1, round(seconds))} s"
