"""Events of the data set tab: widget values -> plans and jobs -> widgets."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from cxr.dataset.cohort import KEYS
from cxr.dataset.plan import Plan
from cxr.generate.prompt_table import MAX_TOTAL_IMAGES
from cxr.web.jobs.dataset_job import DatasetOrder, DatasetState, make_dataset, new_order
from cxr.web.jobs.job import OVER, Job, Waiting
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.pace import Pace
from cxr.web.jobs.plan_text import FIELDS, NAME, SPLITS, fields_of_text, plan_of_fields, plan_of_text, text_of_file
from cxr.web.jobs.table import JobTable
from cxr.web.page import dataset_panels, panels
from cxr.web.page.dataset_form import ROWS, SHARES, TABLE, TEXT
from cxr.web.page.events import STOPPING, buttons, errors_for_users, show_job, stop_job
from cxr.web.page.image_form import DEFAULTS
from cxr.web.server.limits import Limits, find_resolution
from cxr.web.server.visitors import Visitor, visitor_of


class DatasetEvents:
    """What the events of the data set tab do.

    Args:
        choice: which model and LoRA answer.
        limits: what one visitor may ask for.
        jobs: those of all visitors.
    """

    def __init__(self, choice: ModelChoice, limits: Limits, jobs: JobTable) -> None:
        self.choice, self.limits, self.jobs = choice, limits, jobs
        self.max_images = limits.dataset_images
        self.pace = Pace()

    def read_form(self, kind: str, rows: Any, text: str, name: str, seed: int, *numbers: Any) -> Plan:
        """The plan of the form, whose values come in the order of ``DatasetForm``, the gate left out."""
        if kind == TEXT:
            return plan_of_text(text, self.max_images)
        return plan_of_fields(rows, name, seed, numbers[: len(FIELDS)], numbers[len(FIELDS) :], self.max_images)

    def check_limits(self, plan: Plan) -> Plan:
        """The same plan, if it is not too much for this server."""
        num_steps = sum(image.request.num_inference_steps for image in plan.images)
        self.limits.check_dataset(num_steps, find_resolution(self.choice.model))
        return plan

    def default_plan(self) -> Plan:
        """The plan that the form holds when the page opens."""
        table = [dict(zip(KEYS, row, strict=True)) for row in ROWS]
        settings: list[Any] = [DEFAULTS[name] for name in FIELDS]
        return plan_of_fields(table, NAME, 0, settings, SHARES, MAX_TOTAL_IMAGES)

    def fill(self, path: str) -> tuple[Any, ...]:
        """Fill the table and the fields with an uploaded plan, or the text if they cannot hold it.

        Returns:
            Values for the widgets of ``DatasetForm.filled``.
        """
        with errors_for_users():
            text = text_of_file(Path(path))
            fields = fields_of_text(text, self.max_images)
        if fields is None:
            return TEXT, gr.skip(), text, *(gr.skip(),) * (2 + len(FIELDS) + len(SPLITS))
        rows, name, seed, settings, shares = fields
        return TABLE, rows, gr.skip(), name, seed, *settings, *shares

    def check(self, *form: Any) -> tuple[Any, ...]:
        """Say what the plan comes to. Returns values for (plan, its description)."""
        with errors_for_users():
            plan = self.read_form(*form[:-1])
        return plan, self._describe(plan, dataset_panels.MEASURING)

    async def measure(self, asker: gr.Request | None, plan: Plan) -> str:
        """Say how long the plan takes; asks the model if it has not made such images before."""
        if self.pace.known(plan) is None:
            with errors_for_users():
                job = self.jobs.submit(Job(plan, visitor_of(asker)), self.pace.measure(plan, self.choice))
                async for _ in job.follow():
                    pass
            return dataset_panels.describe_plan(plan, dataset_panels.describe_estimate(job.state.estimate))
        return self._describe(plan)

    def _describe(self, plan: Plan, unknown: str = "") -> str:
        known = self.pace.known(plan)
        return dataset_panels.describe_plan(plan, dataset_panels.describe_estimate(known) if known else unknown)

    def submit(self, order: DatasetOrder, visitor: Visitor) -> Job:
        """Put a data set into the queue.

        Raises:
            RequestError: the visitor has too many jobs, or there are too many.
        """
        job = Job(order, visitor, sum(image.request.num_inference_steps for image in order.plan.images))
        return self.jobs.submit(job, make_dataset(order, self.choice, job))

    def start(self, asker: gr.Request | None, before: Job | None, *form: Any) -> tuple[Any, ...]:
        """Check what was typed, start a job and get the page ready; a mistake changes nothing.

        Args:
            asker: who asks.
            before: the job that the page had until now; one for the same data set is gone on with.
            form: values of ``DatasetForm``.
        Returns:
            Values for (job, plan, then as `show`).
        """
        *plan_values, gate = form
        visitor = visitor_of(asker)
        with errors_for_users():
            plan = self.check_limits(self.read_form(*plan_values))
            self.jobs.check_room(visitor)  # before there is a folder
            if before is not None and before.order.is_for(plan, gate):
                order = replace(before.order, seconds=before.state.seconds if before.state else before.order.seconds)
            else:
                order = new_order(plan, gate)
            job = self.submit(order, visitor)
        waiting = panels.panel("Waiting for the model…", tone="busy")
        nothing = gr.DownloadButton(value=None, interactive=False), gr.Image(value=None, visible=False), None
        return job, self._describe(plan), waiting, *buttons(is_running=True), *nothing

    async def run(self, job: Job | None) -> AsyncGenerator[tuple[Any, ...], None]:
        """Show how far a job is. Yields values as `show`."""
        async for widgets in show_job(job, self.show, 6):
            yield widgets

    async def resume(self, asker: gr.Request | None, job_id: str) -> AsyncGenerator[tuple[Any, ...], None]:
        """Go on with the job that this page had before it was loaded again. Yields values for (job, then as `show`)."""
        job = self.jobs.return_to(job_id, visitor_of(asker))
        if job is None or not isinstance(job.order, DatasetOrder):
            yield (gr.skip(),) * 7  # a generator that yields nothing would empty the widgets
            return
        yield job, panels.waiting(Waiting(0)), *buttons(is_running=True), *(gr.skip(),) * 3
        async for widgets in self.run(job):
            yield job, *widgets

    def show(self, state: DatasetState) -> tuple[Any, ...]:
        """The page for a state; what has not changed is left alone.

        Returns:
            Values for (status, make button, stop button, ZIP button, samples, facts).
        """
        results: tuple[Any, ...] = (gr.skip(),) * 3
        if state.stage == "finished":
            archive = gr.DownloadButton(value=str(state.archive), interactive=True)
            results = archive, gr.Image(value=str(state.samples), visible=True), state.facts
        start_stop = buttons(is_running=False) if state.stage in OVER else (gr.skip(), gr.skip())
        return dataset_panels.describe_state(state), *start_stop, *results

    def stop(self, job: Job | None) -> tuple[Any, ...]:
        """Ask a job to end. Returns values for (status, make button, stop button)."""
        panel = stop_job(job, dataset_panels.describe_stopped(job.state if job else None))
        if panel is None:
            return (gr.skip(),) * 3
        return panel, *((gr.skip(), gr.Button(interactive=False)) if panel == STOPPING else buttons(is_running=False))
