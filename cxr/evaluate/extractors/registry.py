"""All extractors by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import entry_points

from cxr.evaluate.extractors.extractor import Extractor
from cxr.evaluate.extractors.published import PUBLISHED, load_published
from cxr.images.pixels import from_uint8
from cxr.judges import judge as judges
from cxr.judges.judge import Judge
from cxr.judges.networks import SIZE
from cxr.request.errors import RequestError

NAMES = (*judges.NAMES, *PUBLISHED)
PLUGINS = "cxr_studio.extractors"  # entry points of other packages: functions without arguments that give an Extractor
VERSION = 1  # of the code around the judges' weights


def load_extractors(names: Iterable[str]) -> tuple[Extractor, ...]:
    """Read extractors, each once, in the given order.

    Raises:
        RequestError: a name is neither one of `NAMES` nor an entry point of the group `PLUGINS`.
        DataError: a file is missing or damaged; nothing is used in its place.
    """
    wanted = list(dict.fromkeys(names))
    plugins = {point.name: point for point in entry_points(group=PLUGINS)}
    known = (*NAMES, *sorted(set(plugins) - set(NAMES)))
    for name in wanted:
        if name not in known:
            raise RequestError(f"extractor {name!r} is not one of {', '.join(known)}")
    loaders: dict[str, Callable[[], Extractor]] = {
        **{name: point.load() for name, point in plugins.items() if name in wanted},
        **{name: partial(load_published, name) for name in PUBLISHED},
        **{name: partial(load_own, name) for name in judges.NAMES},
    }
    return tuple(loaders[name]() for name in wanted)


def load_own(name: str) -> Extractor:
    """One of this project's own networks as an extractor."""
    return extractor_of(name, judges.load_embedded(name))


def extractor_of(name: str, judge: Judge) -> Extractor:
    """Features [B, D] of a judge's network, from which it reads labels (`cxr.judges.judge.scores_of`)."""
    network = judge.network
    return Extractor(name, VERSION, judge.sha256, SIZE, lambda pixels: network.embed(from_uint8(pixels)))
