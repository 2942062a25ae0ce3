"""One request from the loading of the model to the ZIP, as a generator of states. Knows nothing of widgets.

It does not go through `generate/worker.py`, as folders do: that one forgets the steps between two images, which the
page shows as they form, and on ZeroGPU the images come out of another process.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from cxr.prompts.rewording import with_sent_prompt
from cxr.request.errors import GenerationError
from cxr.request.events import ExportedFile, FailedImage, GeneratedImage, StepProgress
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import plural
from cxr.request.model_info import ModelInfo
from cxr.request.recipe import BEGINNING_IN_RECIPES, DERIVED_NOTICE, SYNTHETIC_NOTICE
from cxr.request.settings import API_SETTINGS, SHARED
from cxr.web.jobs.job import AnyJob, Job
from cxr.web.jobs.model_choice import STAND_IN, ModelChoice, answering, load_model_for
from cxr.web.jobs.spaces_gpu import on_gpu
from cxr.web.server.temporary import new_job_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cxr.generate.loaded_model import LoadedModel
    from cxr.judges.receipt import Receipt

PREVIEW_EVERY = 2  # denoising steps
# Settings that the facts repeat: those that the caller chose for all images.
REPORTED = tuple(name for name in API_SETTINGS if name in SHARED and name != "num_images")

Stage = Literal["loading", "running", "stopped", "finished"]
ImageEvent = StepProgress | GeneratedImage | FailedImage


@dataclass(frozen=True)
class ImageState:
    """What is known about one request so far.

    ``elapsed_s`` counts from the moment the model was ready. ``folder`` is the job's own temporary folder, and
    ``archive`` the ZIP in it, there once the job has ended. So are ``receipts``, one for each image, or none if this
    installation has no judge.
    """

    request: GenerationRequest
    stage: Stage = "loading"
    progress: StepProgress | None = None
    images: tuple[ExportedFile, ...] = ()
    failures: tuple[FailedImage, ...] = ()
    notes: tuple[str, ...] = ()
    info: ModelInfo | None = None
    folder: Path | None = None
    archive: Path | None = None
    receipts: tuple[Receipt, ...] = ()
    elapsed_s: float = 0.0

    @property
    def num_settled(self) -> int:
        """Images that are finished or have failed."""
        return len(self.images) + len(self.failures)

    @property
    def facts(self) -> dict[str, object]:
        """The part of the result that is not a picture, for programs."""
        more: dict[str, object] = {"receipt": [receipt.facts() for receipt in self.receipts]} if self.receipts else {}
        more |= derived_facts(self.request)
        return {
            "seeds": [file.metadata["seed"] for file in self.images],
            "prompt": self.request.prompt,
            "negative_prompt": self.request.negative_prompt,
            "as_asked": [receipt.as_asked for receipt in self.receipts] or [None] * len(self.images),
            "seconds": round(self.elapsed_s, 3),
            "model": self.info.model if self.info else None,
            "model_revision": self.info.model_revision if self.info else None,
            "adapter": self.info.adapter if self.info else None,
            **{name: getattr(self.request, name) for name in REPORTED},
            "reword": self.request.reword,
            "sent_prompt": self.request.model_prompt,
            "failures": [{"seed": failed.seed, "reason": failed.reason} for failed in self.failures],
            "notes": list(self.notes),
            "stopped": self.stage == "stopped",
            "notice": SYNTHETIC_NOTICE,
        } | more


ImageJob: TypeAlias = Job[GenerationRequest, ImageState]


def derived_facts(request: GenerationRequest) -> dict[str, object]:
    """What facts say of images that begin from a picture; nothing of others."""
    if request.init_image is None:
        return {}
    begun = {name: getattr(request, name) for name in BEGINNING_IN_RECIPES}
    return begun | {"init_image_sha256": request.init_image.sha256, "notice": f"{DERIVED_NOTICE} {SYNTHETIC_NOTICE}"}


def make_images(
    request: GenerationRequest, choice: ModelChoice, job: AnyJob, limit_s: float = 0
) -> Generator[ImageState, None, None]:
    """Make the images of a request and pack them.

    Args:
        request: what to make.
        choice: which model makes it.
        job: once it is stopped, the finished images are packed within one denoising step.
        limit_s: seconds with the model after which it ends in the same way and says so; 0 for no limit.
    Yields:
        The state after every denoising step and every image; the last one is "finished" or "stopped".
    Raises:
        CxrError: no model, no space, or not one image came out.
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
        raise GenerationError(f"not one image came out: {state.failures[0].reason}")
    state = replace(state, progress=None, receipts=_read_receipts(request, pixels))
    yield replace(state, archive=_pack(state))


def _out_of_time(state: ImageState, limit_s: float) -> ImageState:
    if not state.images:
        raise GenerationError(
            f"no image was finished in {limit_s:g} s, the most that one request gets; use fewer steps"
        )
    note = f"The {limit_s:g} s that one request gets are over; ask for the other images in another request."
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
                state = replace(state, progress=event)
            state = replace(state, elapsed_s=time.monotonic() - started_s)
            yield state


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


def sent_note(request: GenerationRequest) -> str:
    """Says what the model gets in place of the prompt."""
    return f"Sent to the model: “{request.model_prompt}”"


def _notes(request: GenerationRequest, model: LoadedModel) -> tuple[str, ...]:
    from cxr.prompts.inspection import inspect_prompt

    tokenizer = model.pipeline.tokenizer
    sent = request.model_prompt
    reworded = () if sent == request.prompt else (sent_note(request),)
    notes = (*reworded, *model.notes, *inspect_prompt(sent, tokenizer).notes)
    if request.negative_prompt.strip():
        negative_notes = inspect_prompt(request.negative_prompt, tokenizer).notes
        notes += tuple(f"Negative prompt: {note}" for note in negative_notes)
    return notes


def _read_receipts(request: GenerationRequest, pixels: list[NDArray[np.uint8]]) -> tuple[Receipt, ...]:
    """One receipt for each image of a job; none if this installation has no judge."""
    import numpy as np

    from cxr.judges.receipt import embedded_judge, read_receipt  # torch takes seconds to import

    judge = embedded_judge()
    if judge is None or not pixels:
        return ()
    return tuple(read_receipt(np.stack(pixels), request.prompt, *judge, sent_prompt=request.sent_prompt))
