"""Events of the images tab: widget values -> requests and jobs -> widgets."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from typing import Any

import gradio as gr

from cxr.request.generation_request import GenerationRequest
from cxr.request.settings import API_SETTINGS
from cxr.web.jobs.image_job import ImageState, make_images
from cxr.web.jobs.job import OVER, Job, Waiting
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.table import JobTable
from cxr.web.page import panels
from cxr.web.page.begin_panel import beginning_of
from cxr.web.page.events import STOPPING, errors_for_users, show_job, stop_job
from cxr.web.page.image_form import PLACEHOLDER
from cxr.web.page.stage_data import stage_value
from cxr.web.server.init_upload import PictureReader
from cxr.web.server.limits import BusyError, Limits, find_resolution
from cxr.web.server.visitors import visitor_of

RANDOM_SEED_LIMIT = 2**31  # ten digits are enough to be unique and short enough to be copied by hand
STILL_RUNS = "Images are being made; stop them first, or wait. Nothing you typed is lost."


class ImageEvents:
    """What the events of the images tab do.

    Args:
        choice: which model and LoRA answer.
        limits: what one visitor may ask for.
        jobs: those of all visitors.
    """

    def __init__(self, choice: ModelChoice, limits: Limits, jobs: JobTable) -> None:
        self.choice, self.limits, self.jobs = choice, limits, jobs
        self.reader = PictureReader()

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

    def press(self, asker: gr.Request | None, before: Job | None, *form: Any) -> tuple[Any, ...]:
        """The one button: end the job that runs, or else start one. Arguments and values as of `start`."""
        panel = stop_job(before, panels.panel("Stopped before it began"))
        if panel is None:
            return self.start(asker, before, *form)
        return gr.skip(), gr.skip(), panel, run_button(is_running=panel == STOPPING), *(gr.skip(),) * 4

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
            prompt: of the request; an empty one stands for the example.
            negative_prompt: of the request; may be empty.
            seed: of the first image.
            randomise: take another seed instead.
            settings: the request's other values, in the order of the form, and from what picture it begins.
        Returns:
            Values for (job, seed, then as `show`).
        """
        if prompt == "":
            prompt = PLACEHOLDER
        if randomise:
            seed = secrets.randbelow(RANDOM_SEED_LIMIT)
        with errors_for_users():
            if before is not None and before.is_followed and not before.has_ended:
                raise BusyError(STILL_RUNS)
            if before is not None:
                before.stop()  # the page will never ask for it
            values = (prompt, negative_prompt, seed, *settings)
            plain, begun = values[: len(API_SETTINGS)], values[len(API_SETTINGS) :]
            request = GenerationRequest(
                **dict(zip(API_SETTINGS, plain, strict=True)), **(beginning_of(self.reader, *begun) if begun else {})
            )
            job = self.submit(asker, request)
        waiting = panels.panel("Waiting for the model…", tone="busy")
        idle_zip = gr.DownloadButton(value=None, interactive=False)
        return job, request.seed, waiting, run_button(is_running=True), gr.skip(), idle_zip, None, gr.skip()

    async def run(self, job: Job | None) -> AsyncGenerator[tuple[Any, ...], None]:
        """Show the images of a job as they form. Yields values as `show`."""
        shown: ImageState | None = None

        def show_next(state: ImageState) -> tuple[Any, ...]:
            nonlocal shown
            widgets, shown = self.show(state, shown), state
            return widgets

        async for widgets in show_job(job, show_next, 6):
            yield widgets

    async def resume(self, asker: gr.Request | None, job_id: str) -> AsyncGenerator[tuple[Any, ...], None]:
        """Go on with the job that this page had before it was loaded again. Yields values for (job, then as `show`)."""
        job = self.jobs.return_to(job_id, visitor_of(asker))
        if job is None or not isinstance(job.order, GenerationRequest):
            yield (gr.skip(),) * 7  # a generator that yields nothing would empty the widgets
            return
        yield job, panels.waiting(Waiting(0)), run_button(is_running=True), *(gr.skip(),) * 4
        async for widgets in self.run(job):
            yield job, *widgets

    def show(self, state: ImageState, shown: ImageState | None) -> tuple[Any, ...]:
        """The page for a state; what has not changed is left alone.

        Args:
            state: what is known now.
            shown: what the page shows; None at first.
        Returns:
            Values for (status, button, viewer, ZIP button, facts, model line).
        """
        widgets: list[Any] = [panels.describe_state(state), *(gr.skip(),) * 5]
        is_over = state.stage in OVER
        has_preview = state.progress is not None and state.progress.preview is not None
        if has_preview or is_over or shown is None or len(shown.images) < len(state.images):
            widgets[2] = stage_value(state)
        if is_over:
            widgets[1] = run_button(is_running=False)
            if state.archive:
                widgets[3] = gr.DownloadButton(value=str(state.archive), interactive=True)
            widgets[4] = state.facts
        if state.info and (shown is None or shown.info is None):
            widgets[5] = panels.describe_model(self.choice, state.info)
        return tuple(widgets)


def run_button(*, is_running: bool) -> gr.Button:
    """The button that starts a job, or ends the one that runs: one, so that the keyboard stays where it is."""
    return gr.Button("Stop", variant="stop") if is_running else gr.Button("Generate", variant="primary")
