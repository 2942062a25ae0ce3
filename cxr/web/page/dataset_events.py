"""Events of the data set tab and the endpoint ``/dataset``: widget values -> plans and jobs -> widgets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gradio as gr

from cxr.dataset.cohort import KEYS
from cxr.dataset.plan import Plan
from cxr.generate.prompt_table import MAX_TOTAL_IMAGES
from cxr.web.jobs.dataset_job import DEFAULT_MAX_ATTEMPTS, DatasetOrder, DatasetState, make_dataset, new_order
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.pace import Pace
from cxr.web.jobs.plan_text import FIELDS, NAME, SPLITS, fields_of_text, plan_of_fields, plan_of_text, text_of_file
from cxr.web.jobs.table import OVER, Job, JobTable
from cxr.web.page import dataset_panels, panels
from cxr.web.page.dataset_form import ROWS, SHARES, TABLE, TEXT
from cxr.web.page.events import buttons, errors_for_users, show_job, stop_job
from cxr.web.page.image_form import DEFAULTS
from cxr.web.server.limits import Limits, find_resolution
from cxr.web.server.visitors import Visitor, visitor_of

PLANS_AT_ONCE = 2  # that are read, beside the jobs of the model


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
        self.readers = asyncio.Semaphore(PLANS_AT_ONCE)

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
        job = Job(order, visitor)
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
        return stop_job(job, dataset_panels.describe_stopped(job.state if job else None))

    async def dataset(
        self,
        plan: str,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        gate: bool = False,
        asker: gr.Request | None = None,
    ) -> AsyncGenerator[tuple[dict[str, Any], str | None, dict[str, Any] | None], None]:
        """Make a labelled data set of synthetic chest radiographs. Not for diagnosis.

        While it is made, its progress arrives about twice a second; the last result also has the ZIP and the facts.
        Cancelling ends it within one denoising step.

        Args:
            plan: YAML or CSV, as ``python -m cxr dataset --help`` describes it; its splits are train, validation, test.
            max_attempts: seeds that an image may take, 1 to 100.
            gate: whether images in which a small network does not see what was asked are made again.
            asker: filled in by gradio; who asks.
        Returns:
            How far it is: finished, failed, rejected, total, elapsed_s, remaining_s, stage; the path of a ZIP with
            images, metadata, label tables, card and manifest; a dictionary of facts: counts, failures, pass rates,
            seconds, model, adapter.
        """
        visitor = visitor_of(asker)
        with errors_for_users(on_page=False):
            self.jobs.check_room(visitor)  # before the plan is read, and there is a folder
            async with self.readers:
                checked = await asyncio.to_thread(lambda: self.check_limits(plan_of_text(plan, self.max_images)))
            job = self.submit(new_order(checked, gate, max_attempts, is_kept=False), visitor)
            async with contextlib.aclosing(job.follow()) as states:
                async for state in states:
                    yield _progress(state), str(state.archive) if state.archive else None, state.facts


def _progress(state: DatasetState) -> dict[str, Any]:
    progress = asdict(state.progress) if state.progress else {"total": state.total}
    progress.pop("manifest", None)
    return progress | {"stage": state.stage}
