"""One process's share of a job: claims units, makes their images, has them written."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from cxr.dataset.gate import Gate
from cxr.dataset.plan import PlannedImage
from cxr.dataset.progress import Progress
from cxr.dataset.units import Unit, add_row, claim, finished_rows
from cxr.dataset.writer import Writer
from cxr.folders.metadata import image_name
from cxr.generate.images import generate_each, shared_settings
from cxr.generate.model import LoadedModel
from cxr.images.atomic import atomic_file
from cxr.images.png import encode_png
from cxr.request.events import FailedImage, GeneratedImage
from cxr.request.generation_request import GenerationRequest

RETRY_SEEDS = 2**31  # ten digits: short enough for a file name


@dataclass
class _Try:
    """One image on its way: which seed it is at, and why earlier ones were not taken."""

    image: PlannedImage
    rejected: list[dict[str, Any]]

    @property
    def request(self) -> GenerationRequest:
        return dataclasses.replace(self.image.request, seed=seed_of(self.image, len(self.rejected)))


def seed_of(image: PlannedImage, attempt: int) -> int:
    """The seed of an attempt: the planned one, then others that always are the same for the same image.

    Args:
        image: of the plan.
        attempt: from 0.
    """
    if attempt == 0:
        return image.request.seed
    digest = hashlib.sha256(f"{image.index} {image.request.seed} {attempt}".encode()).digest()
    return int.from_bytes(digest[:8]) % RETRY_SEEDS


class Worker:
    """Makes what is missing of a data set, unit by unit.

    Args:
        directory: of the data set.
        model: what to make images with.
        gate: what they have to pass, or None.
        max_attempts: seeds that an image may take.
        progress: told of every image.
        stop: once set, work ends after the image in hand.
    """

    def __init__(
        self,
        directory: Path,
        model: LoadedModel,
        gate: Gate | None,
        max_attempts: int,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        self.directory, self.model, self.gate = directory, model, gate
        self.max_attempts, self.progress, self.stop = max_attempts, progress, stop

    def run(self, units: Sequence[Unit]) -> float:
        """Make what is missing in those units that no other process is at.

        Args:
            units: in the order in which they are gone through.
        Returns:
            Seconds that the model has waited for the disk.
        Raises:
            CxrError: the disk or the model's memory does not suffice.
        """
        with contextlib.ExitStack() as claims, Writer() as writer:
            for unit in units:
                if self.stop.is_set():
                    break
                held = claims.enter_context(contextlib.ExitStack())
                if held.enter_context(claim(unit.log)):
                    self._make(unit, writer)
                # Only when all of the unit is on disk may another process look at it.
                writer.give(held.close)
        return writer.waited_s

    def make_again(self, unit: Unit, index: int, rejected: list[dict[str, Any]]) -> None:
        """Give one finished image another seed, because of what is known only now."""
        image = next(image for image in unit.images if image.index == index)
        with Writer() as writer:
            self._attempt([_Try(image, rejected)], unit, writer)

    def _make(self, unit: Unit, writer: Writer) -> None:
        rows = finished_rows(unit, self.directory)
        self._attempt([_Try(image, []) for image in unit.images if image.index not in rows], unit, writer)

    def _attempt(self, tries: list[_Try], unit: Unit, writer: Writer) -> None:
        while tries and not self.stop.is_set():
            again: list[_Try] = []
            for _, group in groupby(tries, key=lambda one: shared_settings(one.image.request)):
                again += self._group(list(group), unit, writer)
            tries = again

    def _group(self, tries: list[_Try], unit: Unit, writer: Writer) -> Iterator[_Try]:
        """Make images of equal settings; gives back those that need another seed."""
        for event in generate_each([one.request for one in tries], self.model, stop=self.stop):
            if not isinstance(event, (GeneratedImage, FailedImage)):
                continue
            one = tries[event.index]
            fault = event.reason if isinstance(event, FailedImage) else self._fault(event, one.image)
            if not fault:
                assert isinstance(event, GeneratedImage)
                self._write(event, one, unit, writer)
                continue
            one.rejected.append({"seed": event.seed, "reason": fault})
            if len(one.rejected) < self.max_attempts:
                yield one
            else:
                self._give_up(one, unit, writer)

    def _fault(self, event: GeneratedImage, image: PlannedImage) -> str:
        missing = self.gate.missing(event.pixels, image.labels) if self.gate else []
        return f"the gate does not see: {', '.join(missing)}" if missing else ""

    def _write(self, event: GeneratedImage, one: _Try, unit: Unit, writer: Writer) -> None:
        made = dataclasses.replace(event, index=one.image.index)
        name = f"{one.image.split}/{image_name(one.image.index, made.seed)}"
        row = {
            "index": one.image.index,
            "file_name": name,
            "pixel_sha256": hashlib.sha256(made.pixels.tobytes()).hexdigest(),
            "rejected": one.rejected,
            "recipe": made.recipe.values,
        }

        def write() -> None:
            data = encode_png(made)
            path = self.directory / name
            path.parent.mkdir(exist_ok=True)
            with atomic_file(path) as file:
                file.write(data)
            add_row(unit, row | {"sha256": hashlib.sha256(data).hexdigest()})
            self.progress.add(row)

        writer.give(write)

    def _give_up(self, one: _Try, unit: Unit, writer: Writer) -> None:
        row = {"index": one.image.index, "file_name": None, "rejected": one.rejected}

        def write() -> None:
            add_row(unit, row)
            self.progress.add(row)

        writer.give(write)
