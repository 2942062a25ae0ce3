"""Many images -> runs of neighbours, each small enough for one file or one step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cxr.folders.unchanged import size_bytes
from cxr.request.events import ExportedFile

# What fits both the Hub's and WebDataset's advice: large enough to read in one go, small enough to load again.
SHARD_IMAGES = 1_000
SHARD_BYTES = 512_000_000
PAIR_PICTURES = ("difference", "mask")  # what accompanies the second image of a pair


def name_shards(
    splits: Mapping[str, Sequence[ExportedFile]], pattern: str, max_images: int = SHARD_IMAGES
) -> dict[str, tuple[ExportedFile, ...]]:
    """Share images out among files.

    Args:
        splits: the images of each split, in order.
        pattern: of the files' names, with the fields split, number (from 0) and count (files of the split).
        max_images: of one file, whose PNGs have at most `SHARD_BYTES` together.
    Returns:
        The images of each file, by its name.
    Raises:
        OutputError: an image is gone.
    """
    shards = {split: list(cut(files, max_images, SHARD_BYTES)) for split, files in splits.items()}
    return {
        pattern.format(split=split, number=number, count=len(runs)): run
        for split, runs in shards.items()
        for number, run in enumerate(runs)
    }


def cut(files: Iterable[ExportedFile], max_images: int, max_bytes: int) -> Iterator[tuple[ExportedFile, ...]]:
    """Cut a row of images; the order stays, and the same images are always cut in the same places.

    Args:
        max_images: of one run, at least 1.
        max_bytes: of the files of one run; an image that is larger has a run of its own.
    Raises:
        OutputError: a file is gone.
    """
    run: list[ExportedFile] = []
    used = 0
    for file in files:
        size = size_bytes(file)
        if run and (len(run) == max_images or used + size > max_bytes):
            yield tuple(run)
            run, used = [], 0
        run.append(file)
        used += size
    if run:
        yield tuple(run)
