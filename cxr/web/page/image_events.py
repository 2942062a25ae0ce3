"""Events of the images tab: widget values -> requests and jobs -> widgets."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import gradio as gr

from cxr.request.generation_request import GenerationRequest
from cxr.request.settings import API_SETTINGS
from cxr.web.jobs.image_orders import RANDOM_SEED_LIMIT, ImageOrders
from cxr.web.jobs.image_state import ImageJob, ImageState
from cxr.web.jobs.job import OVER
from cxr.web.page import panels
from cxr.web.page.begin_panel import beginning_values
from cxr.web.page.image_form import PLACEHOLDER
from cxr.web.page.page_jobs import MAX_KEPT, PageJobs, describe_queue
from cxr.web.page.picture_events import twin_values
from cxr.web.page.shared_events import Values, errors_for_users, sent_with, show_job, stop_job
from cxr.web.page.stage_data import stage_value
from cxr.web.server.visitors import visitor_of

NUM_WIDGETS = 6  # that show a job


class ImageEvents(ImageOrders):
    """What the events of the images tab do."""

    def press(self, asker: gr.Request | None, mine: PageJobs | None, *form: Any) -> Values:
        """The one button: end the job that runs, or else start one. Arguments and values as of `start`."""
        running = mine.unended[0] if mine and mine.unended else None
        panel = stop_job(running, panels.NEVER_BEGUN)
        if panel is None:
            return self.start(asker, mine, *form)
        button = run_button(is_running=bool(mine and mine.unended))
        return gr.skip(), gr.skip(), panel, button, *(gr.skip(),) * 4, describe_queue(mine, self.jobs)

    def start(
        self,
        asker: gr.Request | None,
        mine: PageJobs | None,
        prompt: str,
        negative_prompt: str,
        seed: int,
        randomise: bool,
        *settings: Any,
    ) -> Values:
        """Check what was typed and start a job, behind those that the page has; a mistake changes nothing.

        Args:
            mine: the jobs of the page; None if it had none yet.
            prompt: of the request; an empty one stands for the example.
            negative_prompt: of the request; may be empty.
            seed: of the first image.
            randomise: take another seed instead.
            settings: the request's other values, in the order of the form, and from what picture it begins.
        Returns:
            Values for (jobs of the page, seed, then as `run`).
        """
        if prompt == "":
            prompt = PLACEHOLDER
        if randomise:
            seed = secrets.randbelow(RANDOM_SEED_LIMIT)
        with errors_for_users():
            values = (prompt, negative_prompt, seed, *settings)
            plain, begun = values[: len(API_SETTINGS)], values[len(API_SETTINGS) :]
            request = GenerationRequest(
                **dict(zip(API_SETTINGS, plain, strict=True)),
                **(beginning_values(self.reader, *begun) if begun else {}),
            )
            job = self.submit(asker, request)
        mine = mine or PageJobs()
        is_first = not mine.unended
        mine.add(job)
        if not is_first:  # what runs is shown on
            return mine, request.seed, *(gr.skip(),) * 6, describe_queue(mine, self.jobs)
        idle_zip = gr.DownloadButton(value=None, interactive=False)
        return mine, request.seed, panels.WAITING, run_button(is_running=True), gr.skip(), idle_zip, None, gr.skip(), ""

    def start_twin(
        self, asker: gr.Request | None, mine: PageJobs | None, sent: Mapping[str, str], event: gr.EventData
    ) -> Values:
        """Start the job that makes the twin of a picture; the form stays as it is. Returns values as `start`.

        Args:
            sent: pictures that the page has sent, as of ``BeginPanel``.
            event: as of `twin_values`.
        """
        *plain, region, strength = twin_values(event)
        jobs, _, *shown = self.start(asker, mine, *plain, sent, region, strength)
        return jobs, gr.skip(), *shown

    async def run(self, mine: PageJobs | None) -> AsyncGenerator[Values, None]:
        """Show the jobs of a page one after the other, as their images form.

        Yields:
            Values as `show`, and for the list of what waits.
        Raises:
            Exception: what the first job ended with that failed, once all have been shown.
        """
        if mine is None or mine.is_followed or mine.next_job() is None:
            # An answer to "Stop" may have come after the end, so the end is shown again.
            job = mine.last_shown if mine and not mine.is_followed else None
            async for widgets in show_job(job, self.show, NUM_WIDGETS):
                yield *widgets, gr.skip()
            return
        errors: list[Exception] = []
        mine.is_followed = True
        try:
            while (job := mine.next_job()) is not None:
                try:
                    async with contextlib.aclosing(self._follow(job, mine)) as shown:
                        async for widgets in shown:
                            yield widgets
                except Exception as error:  # the others are shown before it is said
                    errors.append(error)
                mine.num_shown += 1
        finally:
            mine.is_followed = False
        if errors:
            raise errors[0]

    async def _follow(self, job: ImageJob, mine: PageJobs) -> AsyncGenerator[Values, None]:
        """Show one job to its end. Yields values as `run`."""
        queue: str | None = None
        async with contextlib.aclosing(show_job(job, self.show, NUM_WIDGETS)) as states:
            async for widgets in states:
                before, queue = queue, describe_queue(mine, self.jobs)
                # The next one is shown at once, and the button ends it.
                button = run_button(is_running=True) if job.has_ended and mine.unended else widgets[1]
                yield widgets[0], button, *widgets[2:], gr.skip() if queue == before else queue

    async def resume(self, asker: gr.Request | None, job_ids: str) -> AsyncGenerator[Values, None]:
        """Continue the jobs that this page had before it was reloaded.

        Yields:
            Values for (jobs of the page, then as `run`).
        """
        found = [self.jobs.return_to(job_id, visitor_of(asker)) for job_id in str(job_ids).split(",")[:MAX_KEPT]]
        mine = PageJobs([job for job in found if job is not None and isinstance(job.order, GenerationRequest)])
        if not mine.jobs:
            yield (gr.skip(),) * (NUM_WIDGETS + 2)  # a generator that yields nothing would empty the widgets
            return
        yield mine, panels.WAITING, run_button(is_running=True), *(gr.skip(),) * (NUM_WIDGETS - 1)
        async for widgets in self.run(mine):
            yield mine, *widgets

    def cancel(self, mine: PageJobs | None, event: gr.EventData) -> str:
        """Take one of the page's requests out of the queue. Returns the list of what waits.

        Args:
            event: holds ``id``, of the job.
        """
        if mine and (job := mine.find_waiting(sent_with(event, "id"))) is not None:
            job.stop()
        return describe_queue(mine, self.jobs)

    def show(self, state: ImageState, shown: ImageState | None) -> Values:
        """The page for a state; what has not changed is left alone.

        Args:
            state: what is known now.
            shown: what the page shows; None at first.
        Returns:
            Values for (status, button, viewer, ZIP button, facts, model line).
        """
        # The viewer's value goes to the browser as what has changed in it; after a skip all of it would go again.
        widgets: list[object] = [panels.describe_state(state), gr.skip(), stage_value(state), *(gr.skip(),) * 3]
        is_over = state.stage in OVER
        if is_over:
            widgets[1] = run_button(is_running=False)
            if state.archive:
                widgets[3] = gr.DownloadButton(value=str(state.archive), interactive=True)
            widgets[4] = state.facts
        if state.info and (shown is None or shown.info is None):
            widgets[5] = panels.describe_model(self.choice, state.info)
        return tuple(widgets)


def run_button(*, is_running: bool, label: str = "Generate") -> gr.Button:
    """The button that starts a job, or ends the one that runs: one, so that the keyboard stays where it is."""
    return gr.Button("Stop", variant="stop") if is_running else gr.Button(label, variant="primary")
