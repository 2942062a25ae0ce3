"""What measures a report: networks, the cache of their outputs, and where progress is reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr.evaluate.extractors.extractor import Extractor
from cxr.evaluate.extractors.registry import load_extractors
from cxr.judges.judge import JUDGES, Judge, load_embedded

DEFAULT_EXTRACTORS = ("small", "residual")  # never one alone: what only one extractor finds is doubtful


@dataclass(frozen=True)
class Tools:
    """What measures: networks, the cache of their features, and where progress is reported.

    Args:
        extractors: at least one.
        judges: by name, two.
        cache: folder of features; None computes everything again.
        say: called with one line at each part.
    """

    extractors: tuple[Extractor, ...]
    judges: Mapping[str, Judge]
    cache: Path | None
    say: Callable[[str], None]


def default_tools(
    extractors: Sequence[str] = DEFAULT_EXTRACTORS,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Tools:
    """The extractors named, this project's judges, and where features are kept.

    Args:
        extractors: of `cxr.evaluate.extractors.registry.NAMES`, or of a plug-in.
        cache: folder of features and results; None keeps nothing.
        say: called with one line at each part.
    Raises:
        RequestError: an extractor is unknown.
        DataError: a file is missing.
    """
    judges = {name: load_embedded(name) for name in JUDGES}
    return Tools(load_extractors(extractors or DEFAULT_EXTRACTORS), judges, cache, say)
