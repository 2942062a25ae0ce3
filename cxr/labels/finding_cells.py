"""Findings as the cells of tables have them: names in one cell, or a column for each; whatever the spelling."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from cxr.labels.radiograph import NO_FINDING
from cxr.labels.vocabulary import FINDING_PHRASES, FINDINGS, NORMAL_PHRASES, NORMAL_WORDS

# What others call findings and normal films: their own names, and what people write.
_FINDINGS = {
    word.replace("_", " ").casefold(): name for name, words in FINDING_PHRASES.items() for word in (name, *words)
}
NORMAL = ("none", *NORMAL_PHRASES, *NORMAL_WORDS)
_FLAGS: dict[str, bool | None] = dict.fromkeys(("", "-1", "-1.0"))
_FLAGS |= dict.fromkeys(("1", "1.0", "true"), True) | dict.fromkeys(("0", "0.0", "false"), False)


@functools.lru_cache(maxsize=4096)
def finding_of(name: str) -> str:
    """The finding that a column or a cell names, in whatever spelling; "" if it is none of `FINDINGS`."""
    return _FINDINGS.get(re.sub(r"[\s_-]+", " ", name).strip().casefold(), "")


@functools.lru_cache(maxsize=4096)
def is_normal(name: str) -> bool:
    """Whether a column or a cell says that there is no finding."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold() in NORMAL


def read_cell(row: Mapping[str, object], name: str) -> str:
    """A cell as text; what programs write for nothing is nothing."""
    value = row.get(name)
    text = "" if value is None else str(value).strip()
    return "" if text.casefold() in ("nan", "na", "none", "null", "n/a", "<na>") else text


def foreign_findings(row: Mapping[str, object]) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """What is there, None if nothing is known, and of which findings nothing is known."""
    columns = {name: finding for name in row if (finding := finding_of(name))}
    if not columns:
        return _named_findings(row.get("findings")), ()
    known: dict[str, bool | None] = {}
    for name, finding in columns.items():
        flag = _flag(row, name)
        if None not in (flag, known.get(finding)) and flag != known[finding]:
            raise ValueError(f"two columns say different things of {finding}")
        known[finding] = known.get(finding) if flag is None else flag
    there = tuple(sorted(name for name, flag in known.items() if flag))
    unknown = tuple(name for name in FINDINGS if known.get(name) is None)
    is_free = next((_flag(row, name) for name in row if is_normal(name)), None)
    if there and is_free:
        raise ValueError(f"{NO_FINDING} and {there[0]} are both 1")
    if _flag_text(row, "findings") not in _FLAGS and _named_findings(row["findings"]) != there:
        raise ValueError("the column of findings and those of single findings disagree")
    if is_free:
        return (), ()
    # Of a film that is not free of findings the one that it has may be none of ours.
    return (there, unknown) if there or not (unknown or is_free is False) else (None, ())


def _flag(row: Mapping[str, object], name: str) -> bool | None:
    if (text := _flag_text(row, name)) not in _FLAGS:
        raise ValueError(f"a finding is {text[:60]!r}; use 1, 0, -1 or nothing")
    return _FLAGS[text]


def _flag_text(row: Mapping[str, object], name: str) -> str:
    return read_cell(row, name).casefold().replace(",", ".")  # spreadsheets of some countries write 1,0


def _named_findings(value: object) -> tuple[str, ...] | None:
    text = "|".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    names = [name.strip(" []\"'") for name in re.split(r"[|;,]", text)]
    names = [name for name in names if is_normal(name) or read_cell({"": name}, "")]
    if not names:
        return () if value in ([], "[]") else None
    if all(map(is_normal, names)):
        return ()
    for name in names:
        if not finding_of(name):
            raise ValueError(f"finding {name[:60]!r} is not one of {', '.join(FINDINGS)}")
    return tuple(sorted({finding_of(name) for name in names}))
