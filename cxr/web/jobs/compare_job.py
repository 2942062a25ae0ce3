"""Two images of one seed and their difference, as a generator of states."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cxr.request.errors import GenerationError
from cxr.request.generation_request import GenerationRequest
from cxr.request.notices import SYNTHETIC_NOTICE
from cxr.web.jobs.image_job import make_images
from cxr.web.jobs.image_state import ImageState
from cxr.web.jobs.job import AnyJob, Facts, Job
from cxr.web.jobs.model_choice import ModelChoice

EQUAL = 128  # grey level of the map where both images are equal
NAMES = ("first", "second", "difference")


@dataclass(frozen=True)
class CompareState:
    """What is known about two images so far; paths and facts are there at the end."""

    stage: str = "running"
    fraction: float = 0.0
    paths: tuple[Path, ...] = ()
    facts: Facts | None = None

    @property
    def gallery(self) -> list[tuple[str, str]]:
        """The images and the map, with their names."""
        return [(str(path), name) for path, name in zip(self.paths, NAMES, strict=False)]


CompareJob: TypeAlias = Job[tuple[GenerationRequest, GenerationRequest], CompareState]


def compare_images(
    first: GenerationRequest, second: GenerationRequest, choice: ModelChoice, job: AnyJob
) -> Generator[CompareState, None, None]:
    """Make two images, one after the other, and the map of their difference.

    Args:
        first: what to make; one image of it.
        second: what to compare it with; of the same seed.
        job: once it is stopped, the work ends within one denoising step.
    Yields:
        The state after every denoising step; the last one is "finished".
    Raises:
        CxrError: no model, no space, an image did not come out, or the job was stopped.
    """
    made: list[ImageState] = []
    for number, request in enumerate((first, second)):
        for state in make_images(request, choice, job):
            share = state.progress.fraction if state.progress else float(state.stage == "finished")
            yield CompareState(fraction=(number + share) / 2)
        if not state.images:
            raise GenerationError("the comparison was stopped before both images were finished")
        made.append(state)
    paths = [state.images[0].path for state in made]
    mean, largest, path = _write_difference(paths[0], paths[1])
    facts: Facts = {"first": made[0].facts, "second": made[1].facts}
    facts |= {"mean_difference": mean, "largest_difference": largest, "notice": SYNTHETIC_NOTICE}
    yield CompareState("finished", 1.0, (*paths, path), facts)


def _write_difference(first: Path, second: Path) -> tuple[float, int, Path]:
    """The mean and the largest difference in grey levels, and a map of what the second image has more or less."""
    import numpy as np
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from cxr.images.reading import read_grey

    difference = read_grey(second).astype(np.int16) - read_grey(first)
    info = PngInfo()
    info.add_text("Description", f"Difference of two images. {SYNTHETIC_NOTICE}")
    path = second.with_name("difference.png")
    Image.fromarray((EQUAL + difference // 2).clip(0, 255).astype(np.uint8)).save(path, pnginfo=info)
    return round(float(np.abs(difference).mean()), 3), int(np.abs(difference).max()), path
