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

from cxr.errors import GenerationError, HubUnreachableError, ModelError, OutputError
from cxr.presets import PRESETS, find_preset, request_defaults
from cxr.schema import (
    SYNTHETIC_NOTICE,
    ExportedFile,
    FailedImage,
    GeneratedImage,
    GenerationRequest,
    ModelInfo,
    StepProgress,
)
from cxr.ui.spaces_gpu import on_gpu

if TYPE_CHECKING:
    from cxr.evaluate.receipt import Receipt
    from cxr.models import LoadedModel

PREVIEW_EVERY = 2  # denoising steps
RETRY_AFTER_S = 60.0
STAND_IN = "The Hub cannot be reached; the embedded demo model answers."

Stage = Literal["loading", "running", "stopped", "finished"]


@dataclass(frozen=True)
class ModelChoice:
    """Which base model and LoRA the page was started with, as ``load_model`` takes them."""

    model: str | None = None
    adapter: str | None = "default"

    @property
    def defaults(self) -> dict[str, Any]:
        """Values that the model is used with; empty for the program's own, and for a model that is not there."""
        try:
            return request_defaults(self.model)
        except ModelError:
            return {}


_resting_until_s: dict[ModelChoice, float] = {}


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
            "adapter_weight": self.request.adapter_weight,
            "num_inference_steps": self.request.num_inference_steps,
            "guidance_scale": self.request.guidance_scale,
            "guidance_stop": self.request.guidance_stop,
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


def load_model_for(choice: ModelChoice) -> LoadedModel:
    """Load the model, or return the one that is loaded already."""
    from cxr.models import get_model  # torch takes seconds to import, and the page should be up before that

    return get_model(choice.model, choice.adapter)


def answering(choice: ModelChoice) -> ModelChoice:
    """The choice itself, loaded, or that of the embedded model while the Hub cannot be reached.

    The Hub is not asked again before `RETRY_AFTER_S` have passed, so that nobody waits for it at each image.

    Raises:
        CxrError: the model cannot be loaded for another reason.
    """
    if known_to_answer(choice) != choice:
        return ModelChoice()
    try:
        load_model_for(choice)
    except HubUnreachableError:
        _resting_until_s[choice] = time.monotonic() + RETRY_AFTER_S
        return ModelChoice()
    return choice


def known_to_answer(choice: ModelChoice) -> ModelChoice:
    """As ``answering``, by what is known already: it waits for nothing."""
    return ModelChoice() if time.monotonic() < _resting_until_s.get(choice, 0.0) else choice


def is_stand_in(choice: ModelChoice, info: ModelInfo) -> bool:
    """Whether the embedded model answers for one that the Hub would have to send."""
    return info.model == PRESETS["embedded"].name and bool(find_preset(choice.model).hub_id)


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
    from cxr.export.folder import ImageFolder

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
    from cxr.generate import generate

    yield from generate(request, load_model_for(choice), preview_every=PREVIEW_EVERY)


def _pack(state: JobState, folder: Path) -> Path | None:
    from cxr.export.archive import write_zip

    if not state.images:
        return None
    name = f"chest-xrays_{state.request.seed}_{len(state.images)}.zip"
    return write_zip(folder / name, state.images).path


def _notes(request: GenerationRequest, model: LoadedModel) -> tuple[str, ...]:
    from cxr.prompts import inspect_prompt

    tokenizer = model.pipeline.tokenizer
    notes = (*model.notes, *inspect_prompt(request.prompt, tokenizer).notes)
    if request.negative_prompt.strip():
        negative_notes = inspect_prompt(request.negative_prompt, tokenizer).notes
        notes += tuple(f"Negative prompt: {note}" for note in negative_notes)
    return notes


def _read_receipts(state: JobState) -> tuple[Receipt, ...]:
    """One receipt for each image of a job; none if this installation has no judge."""
    import numpy as np

    from cxr.data import read_grey
    from cxr.evaluate.receipt import read_receipt, shipped_judge  # torch takes seconds to import

    shipped = shipped_judge()
    if shipped is None or not state.images:
        return ()
    pixels = np.stack([read_grey(file.path) for file in state.images])
    return tuple(read_receipt(pixels, state.request.prompt, *shipped))
