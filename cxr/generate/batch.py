"""Jobs -> a folder of images, with progress on the terminal: what ``python -m cxr generate`` does."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from cxr.folders.image_folder import ImageFolder
from cxr.generate.prompt_table import Job, remaining_jobs
from cxr.prompts.inspection import inspect_prompt
from cxr.request.events import ExportedFile, FailedImage, GeneratedImage, StepProgress
from cxr.request.messages import say

if TYPE_CHECKING:
    from cxr.generate.model import LoadedModel

SOME_FAILED = 1


@dataclass
class StopSignal:
    """Whether the user has asked to stop, and by which signal."""

    event: threading.Event = field(default_factory=threading.Event)
    number: int = 0


def run_batch(jobs: Sequence[Job], output: str | Path, model_name: str, adapter: str) -> int:
    """Make what is missing of the jobs' images.

    Args:
        jobs: the requests and the numbers of their images.
        output: the folder to write to or to continue.
        model_name: as ``load_model`` takes it.
        adapter: as ``load_model`` takes it.
    Returns:
        0 when all images are there, 1 when the model failed to make some, 128 + signal when stopped.
    Raises:
        CxrError: the model, the LoRA or the folder cannot be used.
    """
    with ImageFolder(output) as folder:
        from cxr.generate.images import recipe_for
        from cxr.generate.model import get_model

        model = get_model(model_name, adapter)
        _say_notes(jobs, model)

        def is_done(job: Job, k: int) -> bool:
            recipe = recipe_for(job.request, model, job.request.seeds[k])
            return folder.completed(job.first_index + k, recipe) is not None

        remaining = remaining_jobs(jobs, is_done)
        with stop_on_signals() as stop:
            return _run(jobs, remaining, folder, model, stop)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopSignal]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop; a second one ends the program at once."""
    stop = StopSignal()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.event.is_set():
            raise KeyboardInterrupt
        stop.number = number
        stop.event.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return
    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _run(
    jobs: Sequence[Job], remaining: Sequence[Job], folder: ImageFolder, model: LoadedModel, stop: StopSignal
) -> int:
    began = time.monotonic()
    total = sum(job.request.num_images for job in jobs)
    before = finished = total - sum(job.request.num_images for job in remaining)
    failed = 0
    with _progress_bar(remaining) as bar:
        for job in remaining:
            bar.set_description_str(f"{finished} of {total} images", refresh=False)
            for event in _make(job, folder, model, stop, bar):
                finished += isinstance(event, ExportedFile)
                failed += isinstance(event, FailedImage)
                bar.set_description_str(f"{finished} of {total} images", refresh=False)
            if stop.event.is_set():
                break
    facts = f"{finished} of {total} images in {folder.directory}, {finished - before} new"
    facts += f", {time.monotonic() - began:.1f} s" + (f", {failed} failed" if failed else "")
    if stop.event.is_set() and finished + failed < total:
        say(sys.stdout, f"stopped: {facts}; the same command continues")
        return 128 + stop.number
    say(sys.stdout, facts)
    return SOME_FAILED if failed else 0


def _make(
    job: Job, folder: ImageFolder, model: LoadedModel, stop: StopSignal, bar: Any
) -> Iterator[ExportedFile | FailedImage]:
    """Write one job's images into the folder; the bar counts denoising steps."""
    from cxr.generate.images import generate

    before = bar.n
    for event in generate(job.request, model, stop=stop.event):
        if isinstance(event, StepProgress):
            bar.update(before + round(event.fraction * _steps(job)) - bar.n)
        elif isinstance(event, GeneratedImage):
            yield folder.write(dataclasses.replace(event, index=job.first_index + event.index))
        else:
            bar.clear()
            say(sys.stderr, f"image {job.first_index + event.index} with seed {event.seed} failed: {event.reason}")
            yield event


def _progress_bar(remaining: Sequence[Job]) -> Any:
    return tqdm(
        total=sum(map(_steps, remaining)),
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left",
        disable=None,  # only on a terminal, so that logs stay short
        dynamic_ncols=True,
        file=sys.stderr,
    )


def _steps(job: Job) -> int:
    return job.request.num_images * job.request.num_inference_steps


def _say_notes(jobs: Sequence[Job], model: LoadedModel) -> None:
    """Say which words the model does not know and what it will not read, once for each text."""
    for note in model.notes:
        say(sys.stderr, f"note: {note}")
    said = set()
    for job in jobs:
        for name, text in (("prompt", job.request.prompt), ("negative prompt", job.request.negative_prompt)):
            if text in said:
                continue
            said.add(text)
            for note in inspect_prompt(text, model.pipeline.tokenizer).notes:
                where = ", ".join(part for part in (job.source, name) if part)
                say(sys.stderr, f"note on {where}: {note}")
