"""What is known about a request for images, and the part of it that is for programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from cxr.prompts.rewording import describe_sent
from cxr.request.events import ExportedFile, FailedImage, StepProgress
from cxr.request.generation_request import GenerationRequest
from cxr.request.model_info import ModelInfo
from cxr.request.notices import DERIVED_NOTICE, SYNTHETIC_NOTICE
from cxr.request.recipe import BEGINNING_IN_RECIPES
from cxr.request.settings import API_SETTINGS, REGION, SHARED, ImageSettings
from cxr.web.jobs.job import Facts, Job

if TYPE_CHECKING:
    from cxr.judges.receipt import Receipt

# Settings that the facts repeat: those that the caller chose for all images.
REPORTED = tuple(name for name in API_SETTINGS if name in SHARED and name != "num_images")

Stage = Literal["loading", "running", "stopped", "finished"]


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
    def facts(self) -> Facts:
        """The part of the result that is not a picture, for programs."""
        more: Facts = {"receipt": [receipt.facts() for receipt in self.receipts]} if self.receipts else {}
        more |= derived_facts(self.request) | region_facts(self.request)
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


def derived_facts(request: GenerationRequest) -> Facts:
    """Facts about images that begin from a picture; empty for others."""
    if request.init_image is None:
        return {}
    begun = {name: getattr(request, name) for name in BEGINNING_IN_RECIPES}
    return begun | {"init_image_sha256": request.init_image.sha256, "notice": DERIVED_NOTICE}


def region_facts(settings: ImageSettings) -> Facts:
    """Facts about images made in a region of a picture beside them, as findings on one side are; else empty."""
    return {name: getattr(settings, name) for name in REGION} if settings.surrounding_prompt else {}


def sent_note(request: GenerationRequest) -> str:
    """Says what the model gets in place of the prompt."""
    return f"Sent to the model: {describe_sent(request)}"
