"""Converted networks on this disk, by hash; a damaged one is converted anew, and old ones go."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from cxr.images.atomic import write_whole
from cxr.models.decisions import LIBRARIES, cache_folder, versions_of
from cxr.models.openvino.graph import Graph, UNetConfig, convert_unet
from cxr.models.openvino.library import PACKAGE, library_version
from cxr.request.errors import OutputError

MAX_GRAPHS = 16
MAX_BYTES = 64_000_000  # of one file; that of the embedded model has 0.1 MB
FORMAT = 1  # to be raised whenever `Graph` or how it is made changes


def graphs_folder() -> Path:
    """Where converted networks are kept; it can be deleted at any time."""
    return cache_folder() / PACKAGE


def fingerprint(config: UNetConfig) -> str:
    """Hash of what a conversion depends on: the architecture, its shapes, and the libraries.

    Args:
        config: of the network; names of classes and files in it count for nothing.
    Raises:
        ModelError: OpenVINO is not installed.
    """
    kept = {name: value for name, value in config.items() if not name.startswith("_")}
    facts = {"format": FORMAT, "config": kept, **versions_of(LIBRARIES), PACKAGE: library_version()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def find_graph(config: UNetConfig) -> Graph | None:
    """The converted network, if it is there and whole."""
    path = _path(config)
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        graph = Graph.from_bytes(path.read_bytes())
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the oldest go first, by use
    return graph


def keep_graph(config: UNetConfig) -> Graph:
    """The converted network: the one that is there, or a new one, which is kept if the disk takes it.

    Raises:
        ModelError: OpenVINO cannot convert it, or is not installed.
    """
    graph = find_graph(config)
    if graph is None or not _can_be_read(graph):
        graph = convert_unet(config)
        with contextlib.suppress(OutputError):
            write_whole(_path(config), graph.to_bytes())
            _forget_oldest()
    return graph


def _path(config: UNetConfig) -> Path:
    return graphs_folder() / f"{fingerprint(config)[:32]}.zip"


def _can_be_read(graph: Graph) -> bool:
    try:
        graph.read()
    except ValueError:
        return False
    return True


def _forget_oldest() -> None:
    with contextlib.suppress(OSError):
        by_use = sorted(graphs_folder().glob("*.zip"), key=lambda path: path.stat().st_mtime)
        for path in by_use[:-MAX_GRAPHS]:
            path.unlink(missing_ok=True)
