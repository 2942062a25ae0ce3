"""One process's share of the work: missing images are made and written, store by store.

A store is a place for images with a memory of what is there: a folder of ``generate``, or some neighbouring images of a
data set, of which each process takes those that no other has.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from cxr.generate.images import generate_each
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.planned_image import NOT_SEEN, ImageStore, PlannedImage, Rejection, seed_of
from cxr.generate.progress import Progress
from cxr.labels.vocabulary import PromptLabels
from cxr.request.events import FailedImage, GeneratedImage, GreyLevels, StepProgress
from cxr.request.generation_request import GenerationRequest

MAX_WAITING = 16  # images; a slow disk then slows the model down instead of filling the memory


class Gate(Protocol):
    """What images have to pass."""

    def missing(self, pixels: GreyLevels, labels: PromptLabels) -> Sequence[str]:
        """What was asked for and is not seen in an image [H, W]."""


@dataclass
class _Attempt:
    """One image in progress: which seed it is at, and why earlier ones were rejected."""

    image: PlannedImage
    rejected: tuple[Rejection, ...] = ()

    @property
    def request(self) -> GenerationRequest:
        return dataclasses.replace(self.image.request, seed=seed_of(self.image, len(self.rejected)))


class Worker:
    """Makes what is missing, store by store.

    Args:
        model: what to make images with.
        progress: counts every image.
        stop: once set, work ends within one denoising step.
        gate: what images have to pass, or None; those of a pair pass none.
        max_attempts: seeds that an image may take; one of a pair has its own seed alone.
    """

    def __init__(
        self,
        model: LoadedModel,
        progress: Progress,
        stop: threading.Event,
        gate: Gate | None = None,
        max_attempts: int = 1,
    ) -> None:
        self.model, self.progress, self.stop = model, progress, stop
        self.gate, self.max_attempts = gate, max_attempts

    def run(self, stores: Sequence[ImageStore]) -> None:
        """Make what is missing in those stores that no other process is working on.

        Args:
            stores: in the order in which they are gone through.
        Raises:
            CxrError: there is not enough room on the disk or in memory.
        """
        with contextlib.ExitStack() as claims, BackgroundWriter() as writer:
            for store in stores:
                if self.stop.is_set():
                    break
                claim = claims.enter_context(contextlib.ExitStack())
                if claim.enter_context(store.claim()):
                    self._make([_Attempt(image) for image in store.missing()], store, writer)
                # Only when all of it is on disk may another process look at it.
                writer.submit(claim.close)
                self.progress.waited_s = writer.waited_s

    def make_again(self, store: ImageStore, image: PlannedImage, rejected: tuple[Rejection, ...]) -> None:
        """Give one finished image another seed, for a reason that is known only now."""
        with BackgroundWriter() as writer:
            self._make([_Attempt(image, rejected)], store, writer)

    def _make(self, attempts: list[_Attempt], store: ImageStore, writer: BackgroundWriter) -> None:
        while attempts and not self.stop.is_set():
            again: list[_Attempt] = []
            for _, group in groupby(attempts, key=lambda one: one.image.request.shared_settings):
                again += self._make_group(list(group), store, writer)
            attempts = again

    def _make_group(self, attempts: list[_Attempt], store: ImageStore, writer: BackgroundWriter) -> Iterator[_Attempt]:
        """Make images of equal settings; gives back those that need another seed."""
        num_settled = 0
        for event in generate_each([one.request for one in attempts], self.model, stop=self.stop):
            if isinstance(event, StepProgress):
                self.progress.show_steps(event.fraction * len(attempts) - num_settled)
                continue
            num_settled += 1
            one = attempts[event.index]
            rejection = self._rejection(event, one.image)
            if rejection is not None:
                one.rejected += (rejection,)
            # Another seed would part the two images of a pair.
            if rejection is None or one.image.pair_role or len(one.rejected) >= self.max_attempts:
                writer.submit(self._settling(one, store, None if rejection else event))
            else:
                yield one

    def _rejection(self, event: GeneratedImage | FailedImage, image: PlannedImage) -> Rejection | None:
        if isinstance(event, FailedImage):
            return Rejection(event.seed, event.reason)
        missing = self.gate.missing(event.pixels, image.labels) if self.gate and not image.pair_role else ()
        return Rejection(event.seed, f"{NOT_SEEN}: {', '.join(missing)}", "gate") if missing else None

    def _settling(
        self, one: _Attempt, store: ImageStore, event: GeneratedImage | FailedImage | None
    ) -> Callable[[], None]:
        def settle() -> None:
            if isinstance(event, GeneratedImage):
                store.write(one.image, dataclasses.replace(event, index=one.image.index), one.rejected)
            else:
                store.give_up(one.image, one.rejected)
            self.progress.add(finished=event is not None, rejected=len(one.rejected))

        return settle


class BackgroundWriter:
    """One thread that does what is submitted, in order; the first error ends it and is raised at the next submission.

    Used as a context manager it waits for all that was submitted.

    Attributes:
        waited_s: how long the submitter has had to wait because the queue was full.
    """

    def __init__(self) -> None:
        self.waited_s = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def submit(self, task: Callable[[], None]) -> None:
        """Submit a task, to be done after those before it.

        Raises:
            BaseException: what an earlier task has raised.
        """
        self._waiting.append(self._thread.submit(self._do, task))
        began = time.perf_counter()
        while self._waiting and (self._waiting[0].done() or len(self._waiting) > MAX_WAITING):
            self._waiting.popleft().result()
        self.waited_s += time.perf_counter() - began

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, *error: object) -> None:
        """Wait until everything is done."""
        self._thread.shutdown()
        if error[0] is None:
            for task in self._waiting:
                task.result()

    def _do(self, task: Callable[[], None]) -> None:
        if self._failed:
            return  # what follows may rely on what failed
        self._failed = True
        task()
        self._failed = False
