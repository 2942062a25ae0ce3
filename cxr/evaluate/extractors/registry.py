"""All extractors by name."""

from __future__ import annotations

from collections.abc import Iterable

from cxr.errors import RequestError
from cxr.evaluate.extractors.extract import Extractor
from cxr.evaluate.extractors.own import extractor_of
from cxr.evaluate.extractors.published import PUBLISHED, load_published
from cxr.evaluate.judges import shipped

NAMES = (*shipped.NAMES, *PUBLISHED)


def load_extractors(names: Iterable[str]) -> tuple[Extractor, ...]:
    """Read extractors, each once, in the given order.

    Raises:
        RequestError: a name is unknown.
        DataError: a file is missing or damaged; nothing is used in its place.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in NAMES:
            raise RequestError(f"extractor {name!r} is not one of {', '.join(NAMES)}")
    return tuple(load_published(name) if name in PUBLISHED else load_own(name) for name in wanted)


def load_own(name: str) -> Extractor:
    """One of this project's own networks as an extractor."""
    return extractor_of(name, shipped.load_shipped(name))
