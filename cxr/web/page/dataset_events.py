"""Events of a data set that is made: plan -> job -> widgets."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import gradio as gr

from cxr.dataset.plan import Plan
from cxr.web.jobs.dataset_job import make_dataset
from cxr.web.jobs.dataset_order import DatasetJob, DatasetOrder, DatasetState, new_order
from cxr.web.jobs.job import OVER, Job
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.pace import Measured
from cxr.web.jobs.table import JobTable
from cxr.web.page import dataset_panels, panels
from cxr.web.page.plan_events import PlanEvents
from cxr.web.page.shared_events import Values, buttons, errors_for_users, show_job, show_stop
from cxr.web.server.limits import Limits
from cxr.web.server.visitors import Visitor, visitor_of

MAKE = 4  # step


class DatasetEvents(PlanEvents):
    """What the events of the data set tab do up to its report.

    Args:
        choice: which model and LoRA answer.
        limits: what one visitor may ask for.
    """

    def __init__(self, choice: ModelChoice, limits: Limits, jobs: JobTable) -> None:
        super().__init__(choice, limits)
        self.jobs = jobs

    async def measure(self, asker: gr.Request | None, plan: Plan, gate: object) -> tuple[str, str]:
        """Say how long the plan takes; asks the model if it has not made such images before.

        Returns:
            Values for (counts, what the step "Check" shows).
        """
        if self.pace.known(plan, self.form) is None:
            with errors_for_users():
                job: Job[Plan, Measured] = Job(plan, visitor_of(asker))
                self.jobs.submit(job, self.pace.measure(plan, self.choice))
                async for _ in job.follow():
                    pass
        return self.describe_plan(plan), dataset_panels.describe_check(plan, self._estimate(plan), gate is True)

    def submit(self, order: DatasetOrder, visitor: Visitor) -> DatasetJob:
        """Put a data set into the queue.

        Raises:
            RequestError: the visitor has too many jobs, or there are too many.
        """
        job: DatasetJob = Job(order, visitor, order.plan.num_steps(self.form))
        return self.jobs.submit(job, make_dataset(order, self.choice, job))

    def start(self, asker: gr.Request | None, before: DatasetJob | None, *form: Any) -> Values:
        """Check what was typed, start a job and get the page ready; a mistake changes nothing.

        Args:
            before: the job that the page had until now; if it is for the same data set, it is continued.
            form: values of ``DatasetForm``.
        Returns:
            Values for (job, counts, the steps, then as `show`).
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
        begun = job, self.describe_plan(plan), gr.Walkthrough(selected=MAKE)
        nothing = gr.DownloadButton(value=None, interactive=False), "", gr.Image(value=None, visible=False), None
        return *begun, panels.WAITING, *buttons(is_running=True), *nothing

    async def run(self, job: DatasetJob | None) -> AsyncGenerator[Values, None]:
        """Show how far a job is. Yields values as `show`."""
        async for widgets in show_job(job, self.show, 7):
            yield widgets

    async def resume(self, asker: gr.Request | None, job_id: str) -> AsyncGenerator[Values, None]:
        """Continue the job that this page had before it was reloaded.

        Yields:
            Values for (job, counts, the steps, then as `show`).
        """
        job = self.jobs.return_to(job_id, visitor_of(asker))
        if job is None or not isinstance(job.order, DatasetOrder):
            yield (gr.skip(),) * 10  # a generator that yields nothing would empty the widgets
            return
        counts, steps = self.describe_plan(job.order.plan), gr.Walkthrough(selected=MAKE)
        yield job, counts, steps, panels.WAITING, *buttons(is_running=True), *(gr.skip(),) * 4
        async for widgets in self.run(job):
            yield job, gr.skip(), gr.skip(), *widgets

    def show(self, state: DatasetState, shown: DatasetState | None) -> Values:
        """The page for a state; what has not changed is left alone.

        Args:
            state: what is known now.
            shown: what the page shows; None at first.
        Returns:
            Values for (status, make button, stop button, ZIP button, newest images, samples, facts).
        """
        archive, pictures, results = gr.skip(), gr.skip(), (gr.skip(), gr.skip())
        if state.archive:
            archive = gr.DownloadButton(value=str(state.archive), interactive=True)
        if state.newest and (shown is None or state.newest != shown.newest):
            pictures = dataset_panels.show_pictures(state.newest)
        if state.stage == "finished":
            results = gr.Image(value=str(state.samples), visible=True), state.facts
        start_stop = buttons(is_running=False) if state.stage in OVER else (gr.skip(), gr.skip())
        return dataset_panels.describe_state(state), *start_stop, archive, pictures, *results

    def stop(self, job: DatasetJob | None) -> Values:
        """Ask a job to end. Returns values for (status, make button, stop button)."""
        return show_stop(job, dataset_panels.describe_stopped(job.state if job else None))
