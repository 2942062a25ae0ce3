"""Requests -> a folder of images without splits: what ``python -m cxr generate`` does."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxr.folders.image_folder import ImageFolder
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import get_model, load_model
from cxr.generate.planned_image import ImageStore, PlannedImage, Rejection, single_images
from cxr.generate.progress import SOME_FAILED, Progress
from cxr.generate.recipes import recipe_for
from cxr.generate.stop_signal import StopSignal, stop_on_signals
from cxr.generate.worker import Worker
from cxr.models.devices import DTYPES, choose_device
from cxr.prompts.inspection import notes_on
from cxr.prompts.rewording import describe_sent, with_sent_prompt
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import say
from cxr.request.recipe import PYTORCH


def generate_into_folder(
    requests: Sequence[GenerationRequest],
    output: str | Path,
    model_name: str,
    adapter: str,
    sources: Sequence[str] = (),
) -> int:
    """Make what is missing of the requests' images; they are numbered in the order of the requests.

    Args:
        output: the folder to write to or to continue.
        model_name: as ``load_model`` takes it.
        adapter: as ``load_model`` takes it.
        sources: where each request stands, "row 3" for example; empty if they were given directly.
    Returns:
        0 when all images are there, 1 when the model failed to make some, 128 + signal when stopped.
    Raises:
        CxrError: the model, the LoRA or the folder cannot be used.
    """
    with ImageFolder(output) as folder:
        model = get_model(model_name, adapter)
        begun = _begun_with(folder)
        here = {"weight_dtype": model.info.weight_dtype, "micro_batch_size": model.micro_batch_size}
        if begun not in ({}, here | {"engine": model.info.engine}):
            model = load_model(model_name, adapter, **begun)
        requests = [_as_begun(request, folder) for request in requests]
        _say_notes(requests, sources or [""] * len(requests), model)
        images = [PlannedImage(index, request) for index, request in enumerate(single_images(requests))]
        with stop_on_signals() as stop:
            return _make(images, folder, model, stop)


def _begun_with(folder: ImageFolder) -> dict[str, Any]:
    """Number format, batch size and engine of the images that are there, so that the rest has the same last bits.

    Nothing for an empty folder, and on another device, where the bits are others anyway.
    """
    device = choose_device().type
    rows = [file.metadata for file in folder.files if file.metadata["device"] == device]
    if not rows:
        return {}
    names = ("weight_dtype", "micro_batch_size", "engine")
    # Of most images: one whose values leave a small format is made in float32, in a full memory batches are smaller.
    begun = {name: Counter(row.get(name, PYTORCH) for row in rows).most_common(1)[0][0] for name in names}
    return begun if begun["weight_dtype"] in DTYPES[device] else {}


def _as_begun(request: GenerationRequest, folder: ImageFolder) -> GenerationRequest:
    """A folder begun without rewording, as versions without it did, continues without it."""
    begun_without = any(not file.metadata["reword"] for file in folder.files)
    return replace(request, reword=False) if begun_without else request


class _FlatStore(ImageStore):
    """A folder of images that this process has locked."""

    def __init__(self, images: Sequence[PlannedImage], folder: ImageFolder, model: LoadedModel) -> None:
        self.folder = folder
        self.left = [
            image
            for image in images
            if folder.completed(image.index, recipe_for(image.request, model, image.request.seed)) is None
        ]
        self.progress = Progress(len(images), {"finished": len(images) - len(self.left)})

    def missing(self) -> Sequence[PlannedImage]:
        return self.left

    def write(self, image: PlannedImage, made: GeneratedImage, rejected: tuple[Rejection, ...]) -> None:
        self.folder.write(made)

    def give_up(self, image: PlannedImage, rejected: tuple[Rejection, ...]) -> None:
        self.progress.say(f"image {image.index} with seed {rejected[-1].seed} failed: {rejected[-1].reason}")


def _make(images: Sequence[PlannedImage], folder: ImageFolder, model: LoadedModel, stop: StopSignal) -> int:
    began, store = time.monotonic(), _FlatStore(images, folder, model)
    with store.progress as progress:
        Worker(model, progress, stop.event).run([store])
    finished, failed = progress.counts["finished"], progress.counts["failed"]
    new = finished - len(images) + len(store.left)
    facts = f"{finished} of {len(images)} images in {folder.directory}, {new} new"
    facts += f", {time.monotonic() - began:.1f} s" + (f", {failed} failed" if failed else "")
    if stop.event.is_set() and finished + failed < len(images):
        say(sys.stdout, f"stopped: {facts}; the same command continues")
        return 128 + stop.number
    say(sys.stdout, facts)
    return SOME_FAILED if failed else 0


def _say_notes(requests: Sequence[GenerationRequest], sources: Sequence[str], model: LoadedModel) -> None:
    """Say what the model reads in place of a prompt, and which words it ignores or does not know, once each."""
    for note in model.notes:
        say(sys.stderr, f"note: {note}")
    said = set()
    for request, source in zip(requests, sources, strict=True):
        sent = with_sent_prompt(request, model.prompt_form)
        for name, notes in notes_on(sent, model.pipeline.tokenizer).items():
            text = describe_sent(sent) if name == "prompt" else sent.negative_prompt
            if (text, notes) in said:
                continue
            said.add((text, notes))
            where = ", ".join(part for part in (source, name.replace("_", " ")) if part)
            if name == "prompt" and sent.model_prompt != request.prompt:
                say(sys.stderr, f"note on {where}: sent to the model: {text}")
            for note in notes:
                say(sys.stderr, f"note on {where}: {note}")
