"""One request from the loading of the model to the ZIP, told step by step. Knows nothing of widgets."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cxr.request.errors import GenerationError, OutputError
from cxr.request.events import ExportedFile, FailedImage, GeneratedImage, StepProgress
from cxr.request.generation_request import GenerationRequest
from cxr.request.model_info import ModelInfo
from cxr.request.recipe import SYNTHETIC_NOTICE
from cxr.request.settings import API_SETTINGS, SHARED
from cxr.web.model_choice import STAND_IN, ModelChoice, answering, load_model_for
from cxr.web.spaces_gpu import on_gpu

if TYPE_CHECKING:
    from cxr.generate.model import LoadedModel
    from cxr.judges.receipt import Receipt

PREVIEW_EVERY = 2  # denoising steps
# Settings that the facts repeat: those that the caller chose for all images.
REPORTED = tuple(name for name in API_SETTINGS if name in SHARED and name != "num_images")

Stage = Literal["loading", "running", "stopped", "finished"]


@dataclass(frozen=True)
class JobState:
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
    def facts(self) -> dict[str, Any]:
        """The part of the result that is not a picture, for programs."""
        receipt = {"receipt": [receipt.facts() for receipt in self.receipts]} if self.receipts else {}
        return {
            "seeds": [file.metadata["seed"] for file in self.images],
            "seconds": round(self.elapsed_s, 3),
            "model": self.info.model if self.info else None,
            "model_revision": self.info.model_revision if self.info else None,
            "adapter": self.info.adapter if self.info else None,
            **{name: getattr(self.request, name) for name in REPORTED},
            "failures": [{"seed": failed.seed, "reason": failed.reason} for failed in self.failures],
            "notes": list(self.notes),
            "stopped": self.stage == "stopped",
            "notice": SYNTHETIC_NOTICE,
        } | receipt


@dataclass
class Job:
    """A request of one visitor and the wish to end it; lives in the visitor's session."""

    request: GenerationRequest
    stop: threading.Event = field(default_factory=threading.Event)
    started: bool = False
    ended: bool = False
    crashed: bool = False
    last_state: JobState | None = None


def run_job(
    request: GenerationRequest, choice: ModelChoice, stop: threading.Event | None = None, limit_s: float = 0
) -> Generator[JobState, None, None]:
    """Make the images of a request and pack them.

    Args:
        request: what to make.
        choice: which model makes it.
        stop: once set, the job ends within one denoising step and packs the finished images.
        limit_s: seconds with the model after which it ends in the same way and says so; 0 for no limit.
    Yields:
        The state after every denoising step and every image; the last one is "finished" or "stopped".
    Raises:
        CxrError: no model, no space, or not one image came out.
    """
    state = JobState(request)
    yield state
    answers = answering(choice)
    model = load_model_for(answers)
    notes = _notes(request, model) if answers == choice else (STAND_IN, *_notes(request, model))
    folder = new_run_folder()
    state = replace(state, stage="running", info=model.info, notes=notes, folder=folder)
    stopped = False
    with contextlib.closing(_make_images(state, answers, folder)) as states:
        for state in states:
            yield state
            if stop is not None and stop.is_set():
                stopped = state.num_settled < request.num_images
                break
            if 0 < limit_s < state.elapsed_s and state.num_settled < request.num_images:
                state, stopped = _out_of_time(state, limit_s), True
                break
    if state.failures and not state.images and not stopped:
        raise GenerationError(f"not one image came out: {state.failures[0].reason}")
    archive = _pack(state, folder)
    stage: Stage = "stopped" if stopped else "finished"
    yield replace(state, stage=stage, progress=None, archive=archive, receipts=_read_receipts(state))


def _out_of_time(state: JobState, limit_s: float) -> JobState:
    if not state.images:
        raise GenerationError(
            f"no image was finished in {limit_s:g} s, the most that one request gets; use fewer steps"
        )
    note = f"The {limit_s:g} s that one request gets are over; ask for the other images in another request."
    return replace(state, notes=(*state.notes, note))


def new_run_folder(kind: str = "runs") -> Path:
    """Make the folder of one job; it lies where gradio deletes old files by itself, if they have been on the page.

    Args:
        kind: name of the folder that holds those of all jobs of this kind.
    """
    root = temp_root() / kind
    folder = root / secrets.token_hex(16)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"no temporary folder can be made in {root}: {error.strerror}") from error
    for old in root.iterdir():
        if old != folder:
            with contextlib.suppress(OSError):
                old.rmdir()  # removes empty folders only: those whose files have been deleted by age
    return folder


def temp_root() -> Path:
    """The folder of everything that is kept for a while only."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def _make_images(state: JobState, choice: ModelChoice, folder: Path) -> Generator[JobState, None, None]:
    from cxr.folders.image_folder import ImageFolder

    started_s = time.monotonic()
    with ImageFolder(folder / "images") as writer, contextlib.closing(_generate(state.request, choice)) as events:
        for event in events:
            if isinstance(event, GeneratedImage):
                state = replace(state, images=(*state.images, writer.write(event)), progress=None)
            elif isinstance(event, FailedImage):
                state = replace(state, failures=(*state.failures, event), progress=None)
            else:
                state = replace(state, progress=event)
            state = replace(state, elapsed_s=time.monotonic() - started_s)
            yield state


@on_gpu
def _generate(
    request: GenerationRequest, choice: ModelChoice
) -> Generator[StepProgress | GeneratedImage | FailedImage, None, None]:
    # Takes the choice, not the model: on ZeroGPU the arguments travel to another process.
    from cxr.generate.images import generate

    yield from generate(request, load_model_for(choice), preview_every=PREVIEW_EVERY)


def _pack(state: JobState, folder: Path) -> Path | None:
    from cxr.folders.archive import write_zip

    if not state.images:
        return None
    name = f"chest-xrays_{state.request.seed}_{len(state.images)}.zip"
    return write_zip(folder / name, state.images).path


def _notes(request: GenerationRequest, model: LoadedModel) -> tuple[str, ...]:
    from cxr.prompts.inspection import inspect_prompt

    tokenizer = model.pipeline.tokenizer
    notes = (*model.notes, *inspect_prompt(request.prompt, tokenizer).notes)
    if request.negative_prompt.strip():
        negative_notes = inspect_prompt(request.negative_prompt, tokenizer).notes
        notes += tuple(f"Negative prompt: {note}" for note in negative_notes)
    return notes


def _read_receipts(state: JobState) -> tuple[Receipt, ...]:
    """One receipt for each image of a job; none if this installation has no judge."""
    import numpy as np

    from cxr.images.reading import read_grey
    from cxr.judges.receipt import read_receipt, shipped_judge  # torch takes seconds to import

    shipped = shipped_judge()
    if shipped is None or not state.images:
        return ()
    pixels = np.stack([read_grey(file.path) for file in state.images])
    return tuple(read_receipt(pixels, state.request.prompt, *shipped))
