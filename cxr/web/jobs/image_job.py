"""One request from the loading of the model to the ZIP, as a generator of states. Knows nothing of widgets.

It does not go through `generate/worker.py`, as folders do: that one forgets the steps between two images, which the
page shows as they form, and on ZeroGPU the images come out of another process.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.prompts.rewording import with_sent_prompt
from cxr.request.errors import GenerationError
from cxr.request.events import FailedImage, GeneratedImage, StepProgress
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import plural
from cxr.web.jobs.image_state import ImageState, sent_note
from cxr.web.jobs.job import AnyJob
from cxr.web.jobs.model_choice import STAND_IN, ModelChoice, answering, load_model_for
from cxr.web.jobs.spaces_gpu import on_gpu
from cxr.web.server.temporary import new_job_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cxr.generate.loaded_model import LoadedModel
    from cxr.judges.receipt import Receipt

PREVIEW_EVERY = 2  # denoising steps
ImageEvent = StepProgress | GeneratedImage | FailedImage


def make_images(
    request: GenerationRequest, choice: ModelChoice, job: AnyJob, limit_s: float = 0
) -> Generator[ImageState, None, None]:
    """Make the images of a request and pack them.

    Args:
        job: once it is stopped, the finished images are packed within one denoising step.
        limit_s: seconds with the model after which it ends in the same way and says so; 0 for no limit.
    Yields:
        The state after every denoising step and every image; the last one is "finished" or "stopped".
    Raises:
        CxrError: no model, no space, or no image could be made.
    """
    state = ImageState(request)
    yield state
    answers = answering(choice)
    model = load_model_for(answers)
    request = with_sent_prompt(request, model.prompt_form)
    notes = _notes(request, model) if answers == choice else (STAND_IN, *_notes(request, model))
    folder = new_job_folder("runs")
    state = replace(state, request=request, stage="running", info=model.info, notes=notes, folder=folder)
    pixels: list[NDArray[np.uint8]] = []
    with contextlib.closing(_write_images(state, answers, pixels)) as states:
        for state in states:
            yield state
            is_late = 0 < limit_s < state.elapsed_s
            if (job.is_stopped or is_late) and state.num_settled < request.num_images:
                state = replace(state if job.is_stopped else _out_of_time(state, limit_s), stage="stopped")
                break
        else:
            state = replace(state, stage="finished")
    if state.failures and not state.images and state.stage == "finished":
        raise GenerationError(f"no image could be made: {state.failures[0].reason}")
    state = replace(state, progress=None, receipts=_read_receipts(request, pixels))
    yield replace(state, archive=_pack(state))


def _out_of_time(state: ImageState, limit_s: float) -> ImageState:
    if not state.images:
        raise GenerationError(f"no image was finished in {limit_s:g} s, the limit of one request; use fewer steps")
    note = f"The {limit_s:g} s allowed for one request are over; ask for the other images in another request."
    return replace(state, notes=(*state.notes, note))


def _write_images(
    state: ImageState, choice: ModelChoice, pixels: list[NDArray[np.uint8]]
) -> Generator[ImageState, None, None]:
    """Write each image when it is finished, and add its pixels to the list."""
    from cxr.folders.image_folder import ImageFolder
    from cxr.images.pixels import to_8_bits  # numpy and more are imported with the model

    assert state.folder is not None
    started_s = time.monotonic()
    with (
        ImageFolder(state.folder / "images") as writer,
        contextlib.closing(generate_on_gpu(state.request, choice)) as events,
    ):
        for event in events:
            if isinstance(event, GeneratedImage):
                state = replace(state, images=(*state.images, writer.write(event)), progress=None)
                pixels.append(to_8_bits(event.pixels))
            elif isinstance(event, FailedImage):
                state = replace(state, failures=(*state.failures, event), progress=None)
            else:
                state = replace(state, progress=_with_last_preview(event, state.progress))
            state = replace(state, elapsed_s=time.monotonic() - started_s)
            yield state


def _with_last_preview(progress: StepProgress, before: StepProgress | None) -> StepProgress:
    """Steps without a preview go on showing the one before."""
    if progress.preview is not None or before is None or before.image_index != progress.image_index:
        return progress
    return replace(progress, preview=before.preview)


@on_gpu
def generate_on_gpu(request: GenerationRequest, choice: ModelChoice) -> Generator[ImageEvent, None, None]:
    """Make images with the model of a choice.

    It takes the choice, not the model: on ZeroGPU the arguments travel to another process.
    """
    model = load_model_for(choice)
    from cxr.generate.images import generate

    yield from generate(request, model, preview_every=PREVIEW_EVERY)


def _pack(state: ImageState) -> Path | None:
    from cxr.web.jobs.package import zip_images

    if not state.images or state.folder is None:
        return None
    name = f"chest-xrays_{state.request.seed}_{len(state.images)}.zip"
    return zip_images(state.folder / name, state.images, state.receipts, plural(len(state.images), "image"))


def _notes(request: GenerationRequest, model: LoadedModel) -> tuple[str, ...]:
    from cxr.prompts.inspection import notes_on

    reworded = () if request.model_prompt == request.prompt else (sent_note(request),)
    notes = notes_on(request, model.pipeline.tokenizer)
    negative_notes = (f"Negative prompt: {note}" for note in notes["negative_prompt"])
    return (*reworded, *model.notes, *notes["prompt"], *negative_notes)


def _read_receipts(request: GenerationRequest, pixels: list[NDArray[np.uint8]]) -> tuple[Receipt, ...]:
    """One receipt for each image of a job; none if this installation has no judge."""
    import numpy as np

    from cxr.judges.receipt import embedded_judge, read_receipt  # torch takes seconds to import

    judge = embedded_judge()
    if judge is None or not pixels:
        return ()
    return tuple(read_receipt(np.stack(pixels), request.prompt, *judge, sent_prompt=request.sent_prompt))
