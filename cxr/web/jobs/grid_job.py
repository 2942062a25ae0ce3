"""A grid of settings from its plan to the sheet, as a generator of states. Knows nothing of widgets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from cxr.dataset.plan import Plan
from cxr.request.errors import GenerationError
from cxr.request.events import ExportedFile, FailedImage, GeneratedImage, StepProgress
from cxr.request.model_info import ModelInfo
from cxr.request.notices import SYNTHETIC_NOTICE
from cxr.web.jobs.image_job import ImageEvent, generate_on_gpu
from cxr.web.jobs.job import AnyJob, Facts, Job
from cxr.web.jobs.model_choice import STAND_IN, ModelChoice, answering, load_model_for
from cxr.web.server.temporary import new_job_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NO_LORA = "No LoRA is loaded, so its weight changes nothing."


@dataclass(frozen=True)
class GridState:
    """What is known about a grid so far; sheet, ZIP and facts are there at its end.

    ``num_steps`` are those of all images, ``done`` how many of them are taken.
    """

    plan: Plan
    stage: str = "loading"
    num_steps: int = 1
    done: float = 0.0
    images: tuple[ExportedFile, ...] = ()
    failures: tuple[FailedImage, ...] = ()
    notes: tuple[str, ...] = ()
    sheet: Path | None = None
    archive: Path | None = None
    facts: Facts | None = None
    elapsed_s: float = 0.0

    @property
    def fraction(self) -> float:
        """Share of the steps that are taken."""
        return self.done / self.num_steps

    @property
    def progress(self) -> StepProgress | None:
        """As the table of jobs wants it, to tell others how long they wait."""
        if not self.done:
            return None
        left_s = self.elapsed_s * (1 / self.fraction - 1)
        return StepProgress(0, 1, round(self.done), self.num_steps, self.elapsed_s, left_s)


GridJob: TypeAlias = Job[Plan, GridState]


def make_grid(plan: Plan, choice: ModelChoice, job: AnyJob, limit_s: float = 0) -> Generator[GridState, None, None]:
    """Make the images of a grid, draw them on one sheet, and pack them.

    Args:
        plan: of the grid.
        job: once it is stopped, what is finished is drawn within one denoising step.
        limit_s: seconds with the model after which it ends in the same way and says so; 0 for no limit.
    Yields:
        The state after every denoising step; the last one is "finished" or "stopped".
    Raises:
        CxrError: no model, no space, or no image could be made.
    """
    state = GridState(plan, num_steps=plan.num_steps("plain"))  # as they are counted while it is made
    yield state
    answers = answering(choice)
    info = load_model_for(answers).info
    notes = (STAND_IN,) * (answers != choice)
    notes += (NO_LORA,) * (info.adapter == "none" and len(plan.grid.get("adapter_weight", ())) > 1)
    state, folder = replace(state, stage="running", notes=notes), new_job_folder("runs")
    pixels: dict[int, NDArray[np.uint8]] = {}
    with contextlib.closing(_write_images(state, answers, folder, pixels)) as states:
        for state in states:
            yield state
            is_late = 0 < limit_s < state.elapsed_s
            if (job.is_stopped or is_late) and len(state.images) + len(state.failures) < len(plan.images):
                late = f"The {limit_s:g} s allowed for one request are over; the rest of the sheet is black."
                notes = state.notes if job.is_stopped else (*state.notes, late)
                state = replace(state, stage="stopped", notes=notes)
                break
        else:
            state = replace(state, stage="finished")
    if not pixels and state.stage == "finished":
        raise GenerationError(f"no image could be made: {state.failures[0].reason}")
    yield _drawn(state, pixels, folder, info)


def _write_images(
    state: GridState, choice: ModelChoice, folder: Path, pixels: dict[int, NDArray[np.uint8]]
) -> Generator[GridState, None, None]:
    """Write each image when it is finished, and add its pixels to the table."""
    from cxr.folders.image_folder import ImageFolder
    from cxr.images.pixels import to_8_bits  # numpy and more are imported with the model

    began_s = time.monotonic()
    with ImageFolder(folder / "images") as writer, contextlib.closing(_events(state.plan, choice)) as events:
        for index, event in events:
            if isinstance(event, GeneratedImage):
                pixels[index] = to_8_bits(event.pixels)
                state = replace(state, images=(*state.images, writer.write(replace(event, index=index))))
            elif isinstance(event, FailedImage):
                state = replace(state, failures=(*state.failures, replace(event, index=index)))
            else:
                state = replace(state, done=state.done + 1)
            state = replace(state, elapsed_s=time.monotonic() - began_s)
            yield state


def _events(plan: Plan, choice: ModelChoice) -> Generator[tuple[int, ImageEvent], None, None]:
    """What happens to each image, with its number."""
    for image in plan.images:
        with contextlib.closing(generate_on_gpu(image.request, choice)) as events:
            for event in events:
                yield image.index, event


def _drawn(state: GridState, pixels: dict[int, NDArray[np.uint8]], folder: Path, info: ModelInfo) -> GridState:
    """The state with the sheet and the ZIP; without them if nothing is finished."""
    from cxr.dataset.grid import draw_grid, layout_of
    from cxr.folders.archive import write_zip
    from cxr.folders.sheet import save_sheet

    layout = layout_of(state.plan)
    facts = {
        "title": layout.title,
        "columns": [*layout.columns],
        "rows": [label for label, _ in layout.rows],
        "num_images": len(state.images),
        "seconds": round(state.elapsed_s, 3),
        "model": info.model,
        "adapter": info.adapter,
        "failures": [{"image": failed.index, "reason": failed.reason} for failed in state.failures],
        "notes": [*state.notes],
        "stopped": state.stage == "stopped",
        "notice": SYNTHETIC_NOTICE,
    }
    if not pixels:
        return replace(state, facts=facts)
    sheet = save_sheet(draw_grid(state.plan, pixels), folder / "sheet.png")
    archive = write_zip(folder / f"grid_{len(state.images)}.zip", state.images).path
    return replace(state, sheet=sheet, archive=archive, facts=facts)
