"""Events of the images tab: widget values -> requests and jobs -> widgets."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import gradio as gr

from cxr.request.generation_request import GenerationRequest
from cxr.request.settings import API_SETTINGS
from cxr.web.jobs.image_job import ImageState, make_images
from cxr.web.jobs.job import OVER, Job, Waiting
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.table import JobTable
from cxr.web.page import panels
from cxr.web.page.events import buttons, errors_for_users, show_job, stop_job
from cxr.web.page.examples import Example
from cxr.web.page.gallery import Previews, gallery_items, grid_shape
from cxr.web.page.image_form import values_of
from cxr.web.page.receipt_table import describe_receipts
from cxr.web.server.limits import Limits, find_resolution
from cxr.web.server.visitors import visitor_of

RANDOM_SEED_LIMIT = 2**31  # ten digits are enough to be unique and short enough to be copied by hand


class ImageEvents:
    """What the events of the images tab do.

    Args:
        choice: which model and LoRA answer.
        examples: the shipped pictures, in the order in which they are shown.
        limits: what one visitor may ask for.
        jobs: those of all visitors.
    """

    def __init__(self, choice: ModelChoice, examples: Sequence[Example], limits: Limits, jobs: JobTable) -> None:
        self.choice, self.examples, self.limits, self.jobs = choice, examples, limits, jobs

    def submit(self, asker: gr.Request | None, request: GenerationRequest) -> Job:
        """Put a request into the queue.

        Raises:
            RequestError: it is too much for this server, or the visitor has too many.
        """
        self.check_limits(request)
        job = Job(request, visitor_of(asker), request.num_images * request.num_inference_steps)
        return self.jobs.submit(job, make_images(request, self.choice, job, self.limits.job_s))

    def check_limits(self, request: GenerationRequest) -> None:
        """Refuse a request that is too much for this server."""
        self.limits.check_request(request, find_resolution(self.choice.model))

    def start(
        self,
        asker: gr.Request | None,
        before: Job | None,
        prompt: str,
        negative_prompt: str,
        seed: int,
        randomise: bool,
        *settings: Any,
    ) -> tuple[Any, ...]:
        """Check what was typed, start a job and get the page ready; a mistake changes nothing.

        Args:
            asker: who asks.
            before: the job that the page had until now.
            prompt: of the request.
            negative_prompt: of the request; may be empty.
            seed: of the first image.
            randomise: take another seed instead.
            settings: the request's other values, in the order of the form.
        Returns:
            Values for (job, seed, then as `show`).
        """
        if randomise:
            seed = secrets.randbelow(RANDOM_SEED_LIMIT)
        if before is not None and not before.is_followed:
            before.stop()  # the page will never ask for it
        with errors_for_users():
            values = (prompt, negative_prompt, seed, *settings)
            request = GenerationRequest(**dict(zip(API_SETTINGS, values, strict=True)))
            job = self.submit(asker, request)
        waiting = panels.panel("Waiting for the model…", tone="busy")
        columns, rows = grid_shape(request.num_images)
        gallery = gr.Gallery(value=None, columns=columns, rows=rows, selected_index=None)
        idle_zip, no_receipt = gr.DownloadButton(value=None, interactive=False), gr.HTML("", visible=False)
        widgets = waiting, *buttons(is_running=True), gallery, idle_zip, None, gr.skip(), no_receipt
        return job, request.seed, *widgets

    async def run(self, job: Job | None) -> AsyncGenerator[tuple[Any, ...], None]:
        """Show the images of a job as they form. Yields values as `show`."""
        previews = Previews()
        shown: ImageState | None = None

        def show_next(state: ImageState) -> tuple[Any, ...]:
            nonlocal shown
            widgets, shown = self.show(state, shown, previews), state
            return widgets

        try:
            async for widgets in show_job(job, show_next, 8):
                yield widgets
        finally:
            previews.remove()

    async def resume(self, asker: gr.Request | None, job_id: str) -> AsyncGenerator[tuple[Any, ...], None]:
        """Go on with the job that this page had before it was loaded again. Yields values for (job, then as `show`)."""
        job = self.jobs.return_to(job_id, visitor_of(asker))
        if job is None or not isinstance(job.order, GenerationRequest):
            return
        columns, rows = grid_shape(job.order.num_images)
        shape = gr.Gallery(columns=columns, rows=rows)
        yield job, panels.waiting(Waiting(0)), *buttons(is_running=True), shape, *(gr.skip(),) * 4
        async for widgets in self.run(job):
            yield job, *widgets

    def show(self, state: ImageState, shown: ImageState | None, previews: Previews) -> tuple[Any, ...]:
        """The page for a state; what has not changed is left alone.

        Args:
            state: what is known now.
            shown: what the page shows; None at first.
            previews: of this job.
        Returns:
            Values for (status, generate button, stop button, gallery, ZIP button, facts, model line, receipt).
        """
        widgets: list[Any] = [panels.describe_state(state), *(gr.skip(),) * 7]
        forming, is_over = previews.items(state), state.stage in OVER
        if forming or is_over or shown is None or len(shown.images) < len(state.images):
            widgets[3] = gallery_items(state) + forming
        if is_over:
            widgets[1:3] = buttons(is_running=False)
            if state.archive:
                widgets[4] = gr.DownloadButton(value=str(state.archive), interactive=True)
            widgets[5] = state.facts
            if state.receipts:
                widgets[7] = gr.HTML(describe_receipts(state), visible=True)
        if state.info and (shown is None or shown.info is None):
            widgets[6] = panels.describe_model(self.choice, state.info)
        return tuple(widgets)

    def stop(self, job: Job | None) -> tuple[Any, ...]:
        """Ask a job to end. Returns values for (status, generate button, stop button)."""
        return stop_job(job, panels.panel("Stopped before it began"))

    def fill_from_example(self, event: gr.SelectData) -> tuple[Any, ...]:
        """Fill the whole form with the recipe of the picture that was clicked."""
        return values_of(self.examples[event.index].recipe)
