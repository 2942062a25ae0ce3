"""The gallery of a job: its shape, finished images, and the one that is forming."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image

from cxr.web.jobs.image_job import ImageState

MAX_GRID_COLUMNS = 4


def gallery_items(state: ImageState) -> list[tuple[str, str]]:
    """The finished images as paths, which keep their bytes, with the seed as caption."""
    return [(str(file.path), f"Seed {file.metadata['seed']}") for file in state.images]


def grid_shape(num_images: int) -> tuple[int, int]:
    """Columns and rows of the gallery that show so many images at once; more than 16 scroll."""
    columns = min(math.ceil(math.sqrt(num_images)), MAX_GRID_COLUMNS)
    return columns, min(math.ceil(num_images / columns), MAX_GRID_COLUMNS)


class Previews:
    """Pictures of the image that is forming, as files for the gallery."""

    def __init__(self) -> None:
        self._paths: list[Path] = []

    def items(self, state: ImageState) -> list[tuple[str, str]]:
        """The gallery item of the image that is forming, or none."""
        progress = state.progress
        if progress is None or progress.preview is None or state.folder is None:
            return []
        # A new name for each: browsers keep what they have fetched under the old one.
        path = state.folder / f"forming-{progress.image_index}-{progress.step}.png"
        try:
            Image.fromarray(progress.preview).save(path)
        except OSError:
            return []  # the disk is full; the image itself will say so
        self._paths.append(path)
        seed = state.request.seeds[progress.image_index]
        return [(str(path), f"Seed {seed} …")]

    def remove(self) -> None:
        """Delete the files."""
        for path in self._paths:
            path.unlink(missing_ok=True)
