"""Requests for images on their way into the queue, whoever asks: the page or a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxr.models.presets import prompt_form_of
from cxr.prompts.rewording import with_sent_prompt
from cxr.request.generation_request import GenerationRequest
from cxr.web.jobs.image_job import make_images
from cxr.web.jobs.image_state import ImageJob
from cxr.web.jobs.job import Job
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.table import JobTable
from cxr.web.server.init_upload import PictureReader
from cxr.web.server.limits import Limits, find_resolution
from cxr.web.server.visitors import visitor_of

if TYPE_CHECKING:
    import gradio as gr

RANDOM_SEED_LIMIT = 2**31  # ten digits are enough to be unique and short enough to be copied by hand


class ImageOrders:
    """Puts requests for images of one model into the queue, within the limits for visitors.

    Args:
        choice: which model and LoRA answer.
        limits: what one visitor may ask for.
    """

    def __init__(self, choice: ModelChoice, limits: Limits, jobs: JobTable) -> None:
        self.choice, self.limits, self.jobs = choice, limits, jobs
        self.reader = PictureReader()

    def submit(self, asker: gr.Request | None, request: GenerationRequest) -> ImageJob:
        """Put a request into the queue.

        Raises:
            RequestError: it is too much for this server, or the visitor has too many.
        """
        self.check_limits(request)
        job: ImageJob = Job(request, visitor_of(asker), self.as_read(request).num_steps_in_all)
        return self.jobs.submit(job, make_images(request, self.choice, job, self.limits.job_s))

    def check_limits(self, request: GenerationRequest) -> None:
        """Refuse a request that is too large for this server."""
        self.limits.check_request(self.as_read(request), find_resolution(self.choice.model))

    def as_read(self, request: GenerationRequest) -> GenerationRequest:
        """The request as the model reads it: findings on one side take as many steps again."""
        return with_sent_prompt(request, prompt_form_of(self.choice.model))
