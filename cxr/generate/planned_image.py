"""Images that are still to be made: the seeds that they may be made from, and the stores that they go into."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from cxr.labels.vocabulary import UNKNOWN, PromptLabels
from cxr.prompts.rewording import with_sent_prompt
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest

RETRY_SEEDS = 2**31  # ten digits: short enough for a file name
FACTUAL, COUNTERFACTUAL = "factual", "counterfactual"
# Reasons that stand for a kind in tables; the first is followed by ":" and what is not seen.
NOT_SEEN, SEEN_BEFORE = "the gate does not see", "the same picture as an earlier image"


@dataclass(frozen=True)
class PlannedImage:
    """One image of a folder or a data set.

    Args:
        index: number in the folder, from 0.
        request: for this image alone; its seed is the image's.
        labels: what the prompt asks for.
        patient_id: synthetic; images of one id are in one split.
        split: "train" or another name from the plan; empty in a folder without splits.
        complete: whether findings that are not asked for shall not be there, as in a cohort; a prompt in free words is
            silent on them.
        pair_role: `FACTUAL` or `COUNTERFACTUAL` for the two images of one patient and one seed; else empty.
    """

    index: int
    request: GenerationRequest
    labels: PromptLabels = UNKNOWN
    patient_id: str = ""
    split: str = ""
    complete: bool = False
    pair_role: str = ""

    def as_read(self, form: str) -> GenerationRequest:
        """The request, with the region that a side is to a model that reads prompts in that form."""
        return with_sent_prompt(self.request, form) if self.labels.sides else self.request  # parsing takes its time


@dataclass(frozen=True)
class Rejection:
    """One seed whose image was not taken.

    Args:
        seed: what was tried.
        kind: "failed": the model gave no image; "gate": it does not show what was asked; "duplicate": it is pixel for
            pixel an earlier one.
    """

    seed: int
    reason: str
    kind: Literal["failed", "gate", "duplicate"] = "failed"


class ImageStore(Protocol):
    """A place for images, which remembers what is there."""

    def claim(self) -> AbstractContextManager[bool]:
        """Keep other processes out; False if one of them is working on it. By default there are no others."""
        return contextlib.nullcontext(True)

    def missing(self) -> Sequence[PlannedImage]:
        """What is not there, or not whole."""

    def write(self, image: PlannedImage, made: GeneratedImage, rejected: tuple[Rejection, ...]) -> None:
        """Keep one image; once this returns, it is safe on disk."""

    def give_up(self, image: PlannedImage, rejected: tuple[Rejection, ...]) -> None:
        """Note that none of the seeds has given the image."""


def rejection_of(seed: int, reason: str) -> Rejection:
    """One as tables have it, and logs of version 0.6.0: without a kind, which the reason then stands for."""
    kinds: dict[str, Literal["gate", "duplicate"]] = {NOT_SEEN: "gate", SEEN_BEFORE: "duplicate"}
    return Rejection(seed, reason, kinds.get(reason.partition(":")[0], "failed"))


def single_images(requests: Iterable[GenerationRequest]) -> Iterator[GenerationRequest]:
    """A request for each image that the requests ask for, in their order."""
    for request in requests:
        for k in range(request.num_images):
            yield request.part(k, k + 1)


def seed_of(image: PlannedImage, attempt: int) -> int:
    """The seed of an attempt: the planned one, then others that always are the same for the same image.

    Args:
        attempt: from 0.
    """
    if attempt == 0:
        return image.request.seed
    digest = hashlib.sha256(f"{image.index} {image.request.seed} {attempt}".encode()).digest()
    return int.from_bytes(digest[:8]) % RETRY_SEEDS
