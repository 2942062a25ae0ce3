"""Many images -> runs of neighbours, each small enough for one file or one step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cxr.folders.unchanged import size_bytes
from cxr.request.events import ExportedFile

# What fits both the Hub's and WebDataset's advice: large enough to read in one go, small enough to load again.
SHARD_IMAGES = 1_000
SHARD_BYTES = 512_000_000


def cut(files: Iterable[ExportedFile], most_images: int, most_bytes: int) -> Iterator[tuple[ExportedFile, ...]]:
    """Cut a row of images; the order stays, and the same images are always cut in the same places.

    Args:
        files: the images.
        most_images: of one run, at least 1.
        most_bytes: of the files of one run; an image that is larger has a run of its own.
    Raises:
        OutputError: a file is gone.
    """
    run: list[ExportedFile] = []
    used = 0
    for file in files:
        size = size_bytes(file)
        if run and (len(run) == most_images or used + size > most_bytes):
            yield tuple(run)
            run, used = [], 0
        run.append(file)
        used += size
    if run:
        yield tuple(run)
