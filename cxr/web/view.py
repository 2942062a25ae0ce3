"""What a job looks like on the page: finished images, the one that is forming, and the ZIP."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from cxr.request.events import StepProgress
from cxr.web import status
from cxr.web.jobs import JobState
from cxr.web.model_choice import ModelChoice

MAX_GRID_COLUMNS = 4


def gallery_items(state: JobState) -> list[tuple[str, str]]:
    """The finished images as paths, which keep their bytes, with the seed as caption."""
    return [(str(file.path), f"Seed {file.metadata['seed']}") for file in state.images]


def grid_shape(num_images: int) -> tuple[int, int]:
    """Columns and rows of the gallery that show so many images at once; more than 16 scroll."""
    columns = min(math.ceil(math.sqrt(num_images)), MAX_GRID_COLUMNS)
    return columns, min(math.ceil(num_images / columns), MAX_GRID_COLUMNS)


class JobView:
    """Turns the states of one job into widget values, and leaves alone what has not changed."""

    def __init__(self, choice: ModelChoice) -> None:
        self.choice = choice
        self.previews: list[Path] = []
        self._shown: JobState | None = None

    def show(self, state: JobState) -> tuple[Any, ...]:
        """Values for (status, gallery, ZIP button, facts, model line)."""
        values: list[Any] = [status.describe_state(state), *(gr.skip(),) * 4]
        forming = self._write_preview(state)
        over = state.stage in ("finished", "stopped")
        if forming or over or self._shown is None or len(self._shown.images) < len(state.images):
            values[1] = gallery_items(state) + forming
        if over:
            if state.archive:
                values[2] = gr.DownloadButton(value=str(state.archive), interactive=True)
            values[3] = state.facts
        if state.info and (self._shown is None or self._shown.info is None):
            values[4] = status.describe_model(self.choice, state.info)
        self._shown = state
        return tuple(values)

    def remove_previews(self) -> None:
        """Delete the pictures of unfinished images."""
        for path in self.previews:
            path.unlink(missing_ok=True)

    def _write_preview(self, state: JobState) -> list[tuple[str, str]]:
        """The gallery item of the image that is forming, or none."""
        progress: StepProgress | None = state.progress
        if progress is None or progress.preview is None or state.folder is None:
            return []
        # A new name for each: browsers keep what they have fetched under the old one.
        path = state.folder / f"forming-{progress.image_index}-{progress.step}.png"
        try:
            Image.fromarray(progress.preview).save(path)
        except OSError:
            return []  # the disk is full; the image itself will say so
        self.previews.append(path)
        seed = state.request.seeds[progress.image_index]
        return [(str(path), f"Seed {seed} …")]
