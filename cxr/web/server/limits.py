"""What one visitor may ask of this server; set when it is started."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from cxr.models.presets import find_preset, image_size
from cxr.request.errors import ModelError, RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import plural

MAX_QUEUE = 32
MILLION = 1_000_000
BUSY = "Its queue is full and nothing was started. Nothing you typed is lost; try again in a minute."


class BusyError(RequestError):
    """As many requests wait as may."""


@dataclass(frozen=True)
class Limits:
    """What the server allows; 0 is no limit, except for data sets. The defaults are for a machine of one's own.

    Args:
        dataset_images: of one data set; 0 leaves data sets out of the page.
        queue: requests that may wait; others learn that the model is busy.
        pixel_steps: of one request, in millions: images × steps × width × height.
        dataset_pixel_steps: of one data set, in millions.
        jobs_per_client: requests of one visitor that wait or run; a visitor is a session and a network address.
        job_s: seconds of the model that one request may take; what is finished then is kept.
    """

    dataset_images: int = 1_000
    queue: int = MAX_QUEUE
    pixel_steps: int = 0
    dataset_pixel_steps: int = 0
    jobs_per_client: int = 0
    job_s: int = 0

    def check_request(self, request: GenerationRequest, resolution: int | None) -> None:
        """Refuse a request that would take the model for too long.

        Args:
            resolution: height and width of the model's images in pixels, or None when that is not known yet.
        Raises:
            RequestError: it has more pixel-steps than one request may have.
        """
        steps = request.num_steps_in_all // request.num_images  # of an image
        allowed = _affordable_images(self.pixel_steps, steps, resolution)
        if allowed is None or request.num_images <= allowed:
            return
        small = f"at most {plural(allowed, 'image')} of {plural(steps, 'step')}" if allowed else "fewer steps"
        raise RequestError(
            f"{plural(request.num_images, 'image')} of {plural(steps, 'step')} are more than this server makes for "
            f"one request ({self.pixel_steps:,} million pixel-steps); ask for {small}"
        )

    def check_steps(self, num_steps: int, resolution: int | None, *, is_dataset: bool = False) -> None:
        """Refuse a grid or a data set that would take the model for too long.

        Args:
            num_steps: denoising steps of all its images together.
            resolution: as for ``check_request``.
            is_dataset: which has a limit of its own.
        Raises:
            RequestError: it has more pixel-steps than one request, or one data set, may have.
        """
        allowed, what = (self.dataset_pixel_steps, "data set") if is_dataset else (self.pixel_steps, "request")
        if _affordable_images(allowed, num_steps, resolution) == 0:
            raise RequestError(
                f"{num_steps:,} steps in all are more than this server makes for one {what} ({allowed:,} million "
                "pixel-steps); use fewer images or steps"
            )


# For a shared machine with two cores: one request takes it about half a minute.
SPACE_LIMITS = Limits(
    dataset_images=100, queue=MAX_QUEUE, pixel_steps=20, dataset_pixel_steps=100, jobs_per_client=2, job_s=120
)


def default_limits() -> Limits:
    """The default limits."""
    if not os.environ.get("SPACE_ID"):
        return Limits()
    if os.environ.get("SPACES_ZERO_GPU"):
        # There a GPU is lent for seconds, and to another process.
        return Limits(**{**vars(SPACE_LIMITS), "dataset_images": 0})
    return SPACE_LIMITS


def too_many(jobs_per_client: int) -> str:
    """The message for a visitor who has as many jobs as allowed."""
    jobs = "a request" if jobs_per_client == 1 else f"{jobs_per_client} requests"
    return f"you have {jobs} at the model already, as many as this server allows; wait for one to end, or stop it"


def find_resolution(model: str | None) -> int | None:
    """Height and width of a model's images in pixels, without loading it; None when its files do not say."""
    try:
        preset = find_preset(model)
        if preset.resolution:
            return preset.resolution
        if preset.folder is None:
            return None
        configs = (preset.folder / part / "config.json" for part in ("unet", "vae"))
        return image_size(*(json.loads(config.read_text(encoding="utf-8")) for config in configs))[0]
    except (ModelError, OSError, ValueError, KeyError, TypeError):
        return None  # loading the model will say what is wrong with it


def _affordable_images(millions: int, num_inference_steps: int, resolution: int | None) -> int | None:
    """How many images the budget pays for; None if there is no limit."""
    if not millions or not resolution:
        return None
    return millions * MILLION // (num_inference_steps * resolution * resolution)
