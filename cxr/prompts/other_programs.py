"""What users of other image programs write into a prompt: weights, LoRA marks, switches, a negative prompt."""

from __future__ import annotations

import re
from typing import NamedTuple

from cxr.prompts.records import Note

NEGATIVE_PROMPT = "a negative prompt has a field of its own; nothing of it is asked for"
NO_SETTING = "a setting of another program, which is not read"
NO_WEIGHT = "weights of words are not read"

_SETTINGS = re.compile(r"\bsteps: ?\d[^\n]*(?:\n.*)?$", re.IGNORECASE | re.DOTALL)
_NEGATIVE = re.compile(
    r"(?:\[|\()?\b(?:negative|neg|unwanted)[ _-]?prompts?\b(?:\]|\))?"
    r"(?:(?!\b(?:positive )?prompt ?[:=]).)*",
    re.IGNORECASE | re.DOTALL,
)
_NO_SWITCH = re.compile(r"(?<!\S)--(?:no|neg|negative)\b(?:(?! --[a-z]).)*", re.IGNORECASE)
_SWITCH = re.compile(
    r"(?<!\S)--(?:ar|aspect|v|version|s|stylize|seed|q|quality|chaos|c|w|h|width|height|steps|cfg|tile|style|niji|iw|weird"
    r"|hd|test|fast|relax|turbo|repeat|stop|sref|cref)\b(?:[ =](?:\d[\d:.]*|raw\b))?",
    re.IGNORECASE,
)
_EXTRA_NETWORK = re.compile(r"<[a-z]\w*:[^<>\n]*>|\bembedding:[\w-]+", re.IGNORECASE)
_BREAK = re.compile(r"\bBREAK\b")
_NO_WEIGHT_AT_ALL = re.compile(r"[(\[]([^()\[\]:\n]*)::? ?(?:-\d[\d.]*|0(?:\.0+)?) ?[)\]]")
_NEGATIVE_WEIGHT = re.compile(r"(?<![^\d\s,])[^()\[\]:,\n\d]{1,80}::-\d[\d.]*")  # "effusion::2 mass::-1"
_WEIGHT = re.compile(r"(?<=[\w)\]])(?:::? ?-?\d*\.?\d+(?= ?[)\]])|::-?\d*\.?\d+|\+{2,}(?!\w)|-{2,}(?!\w))")


class PromptParts(NamedTuple):
    """What a prompt asks for, what its negative prompt holds, and what is neither."""

    asked: str
    denied: str
    notes: tuple[Note, ...]


def split_off(text: str) -> PromptParts:
    """Take the marks of other programs out of a tidied prompt."""
    notes: list[Note] = []
    denied: list[str] = []

    def take(pattern: re.Pattern[str], reason: str, left: str = " ", into: list[str] | None = None) -> None:
        nonlocal text
        found = [" ".join(match.group().split()) for match in pattern.finditer(text)]
        if found:
            notes.extend(Note(words, reason) for words in found)
            text = pattern.sub(left, text)
            if into is not None:
                into.extend(found)

    take(_SETTINGS, NO_SETTING)
    take(_NEGATIVE, NEGATIVE_PROMPT, "\n", denied)
    take(_NO_SWITCH, NEGATIVE_PROMPT, "\n", denied)
    take(_NO_WEIGHT_AT_ALL, NO_WEIGHT, ", ", denied)
    if "::-" in text:
        take(_NEGATIVE_WEIGHT, NO_WEIGHT, ", ", denied)
    for pattern, reason in ((_SWITCH, NO_SETTING), (_EXTRA_NETWORK, NO_SETTING), (_WEIGHT, NO_WEIGHT)):
        take(pattern, reason)
    take(_BREAK, NO_SETTING, ", ")
    return PromptParts(text, "\n".join(denied), tuple(notes))
