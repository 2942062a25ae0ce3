"""Events of the data set tab: widget values -> plans and jobs -> widgets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from cxr.dataset.cohort import KEYS
from cxr.dataset.plan import Plan
from cxr.generate.prompt_table import MAX_TOTAL_IMAGES
from cxr.request.errors import CxrError
from cxr.request.settings import LABELS
from cxr.web.jobs.dataset_job import DatasetOrder, DatasetState, make_dataset, new_order
from cxr.web.jobs.job import OVER, Job, Waiting
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.pace import Pace
from cxr.web.jobs.plan_cells import find_wrong_cells
from cxr.web.jobs.plan_text import (
    FIELDS,
    NAME,
    SPLITS,
    Rows,
    fields_of_text,
    plan_of_fields,
    plan_of_text,
    text_of_fields,
    text_of_file,
)
from cxr.web.jobs.table import JobTable
from cxr.web.page import dataset_panels, panels
from cxr.web.page.dataset_form import ROWS, SHARES, TABLE, TEXT
from cxr.web.page.events import STOPPING, as_sentence, buttons, errors_for_users, show_job, stop_job
from cxr.web.page.image_form import DEFAULTS
from cxr.web.server.limits import Limits, find_resolution
from cxr.web.server.visitors import Visitor, visitor_of

CHECK, MAKE = 3, 4  # steps
STAYS_TEXT = "The plan stays text"
NOT_IN_THE_TABLE = "It has parts that the table cannot hold, such as prompts, a grid or a negative prompt."
RIGHT = {TABLE: "Nothing is wrong with this table.", TEXT: "Nothing is wrong with this text."}


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

    def fill(self, path: str, rows: Any) -> tuple[Any, ...]:
        """Fill the table and the fields with an uploaded plan, or the text if they cannot hold it.

        Args:
            path: of the upload.
            rows: of the table as it is.
        Returns:
            Values for the widgets of ``DatasetForm.filled``.
        """
        with errors_for_users():
            text = text_of_file(Path(path))
            fields = fields_of_text(text, self.max_images)
        return _text_only(text, rows) if fields is None else _in_fields(fields)

    def turn(self, kind: str, rows: Any, text: str, name: str, seed: int, *numbers: Any) -> tuple[Any, ...]:
        """Write the plan in the other way, so that table and text are always the same one.

        Args:
            kind: the way that was just chosen.
            rows: of the table.
            text: of the plan, as it was left.
            name: of the data set.
            seed: of the first image.
            numbers: settings and shares; all of it are the values of ``DatasetForm.filled``.
        Returns:
            Values for the widgets of ``DatasetForm.filled``; a text that the table cannot hold stays text.
        """
        if kind == TEXT:
            return _text_only(text_of_fields(rows, name, seed, numbers[: len(FIELDS)], numbers[len(FIELDS) :]), rows)
        if not str(text or "").strip():
            return TABLE, *_text_only(text, rows)[1:]
        try:
            fields = fields_of_text(text, self.max_images)
            said = NOT_IN_THE_TABLE
        except CxrError as error:
            fields, said = None, f"The plan stays text, as it cannot be read: {error.described(LABELS)}"
        if fields is not None:
            return _in_fields(fields)
        gr.Warning(escape(said, quote=False), title=STAYS_TEXT)
        return _text_only(text, rows)

    def describe(self, kind: str, rows: Any, *values: Any) -> tuple[str, str]:
        """Say what the plan comes to while it is being written. Returns values for (counts, what is wrong)."""
        try:
            plan = self.check_limits(self.read_form(kind, rows, *values))
        except CxrError as error:
            wrong = [*find_wrong_cells(rows)] if kind == TABLE else []
            said = list(dict.fromkeys([one.problem for one in wrong] or [error.described(LABELS)]))
            marks = [(one.row, _column_of(rows[one.row], one.column)) for one in wrong]
            sentences = [as_sentence(problem) for problem in said]
            return dataset_panels.NO_PLAN, dataset_panels.describe_problems(sentences, marks)
        return self.describe_plan(plan), dataset_panels.describe_problems([], right=RIGHT[kind])

    def check(self, *form: Any) -> tuple[Any, ...]:
        """Say what would be made. Returns values for (plan, its counts, what the step shows, the steps)."""
        *plan_values, gate = form
        with errors_for_users():
            plan = self.check_limits(self.read_form(*plan_values))
        said = dataset_panels.describe_check(plan, self._estimate(plan, dataset_panels.MEASURING), gate is True)
        return plan, self.describe_plan(plan), said, gr.Walkthrough(selected=CHECK)

    async def measure(self, asker: gr.Request | None, plan: Plan, gate: object) -> tuple[str, str]:
        """Say how long the plan takes; asks the model if it has not made such images before.

        Returns:
            Values for (counts, what the step "Check" shows).
        """
        if self.pace.known(plan) is None:
            with errors_for_users():
                job = self.jobs.submit(Job(plan, visitor_of(asker)), self.pace.measure(plan, self.choice))
                async for _ in job.follow():
                    pass
        return self.describe_plan(plan), dataset_panels.describe_check(plan, self._estimate(plan), gate is True)

    def describe_plan(self, plan: Plan) -> str:
        """A plan in numbers, with time and size as far as they are known."""
        return dataset_panels.describe_plan(plan, self._estimate(plan))

    def _estimate(self, plan: Plan, unknown: str = "") -> str:
        known = self.pace.known(plan)
        return dataset_panels.describe_estimate(known) if known else unknown

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
        waiting = panels.panel("Waiting for the model…", tone="busy")
        nothing = gr.DownloadButton(value=None, interactive=False), "", gr.Image(value=None, visible=False), None
        return *begun, waiting, *buttons(is_running=True), *nothing

    async def run(self, job: Job | None) -> AsyncGenerator[tuple[Any, ...], None]:
        """Show how far a job is. Yields values as `show`."""
        shown: tuple[Path, ...] = ()

        def show_next(state: DatasetState) -> tuple[Any, ...]:
            nonlocal shown
            before, shown = shown, state.newest
            return self.show(state, before)

        async for widgets in show_job(job, show_next, 7):
            yield widgets

    async def resume(self, asker: gr.Request | None, job_id: str) -> AsyncGenerator[tuple[Any, ...], None]:
        """Go on with the job that this page had before it was loaded again.

        Yields:
            Values for (job, counts, the steps, then as `show`).
        """
        job = self.jobs.return_to(job_id, visitor_of(asker))
        if job is None or not isinstance(job.order, DatasetOrder):
            yield (gr.skip(),) * 10  # a generator that yields nothing would empty the widgets
            return
        counts, steps = self.describe_plan(job.order.plan), gr.Walkthrough(selected=MAKE)
        yield job, counts, steps, panels.waiting(Waiting(0)), *buttons(is_running=True), *(gr.skip(),) * 4
        async for widgets in self.run(job):
            yield job, gr.skip(), gr.skip(), *widgets

    def show(self, state: DatasetState, shown: Sequence[Path] = ()) -> tuple[Any, ...]:
        """The page for a state; what has not changed is left alone.

        Args:
            state: what is known now.
            shown: the newest images that the page shows.
        Returns:
            Values for (status, make button, stop button, ZIP button, newest images, samples, facts).
        """
        archive, pictures, results = gr.skip(), gr.skip(), (gr.skip(), gr.skip())
        if state.archive:
            archive = gr.DownloadButton(value=str(state.archive), interactive=True)
        if state.newest and state.newest != shown:
            pictures = dataset_panels.show_pictures(state.newest)
        if state.stage == "finished":
            results = gr.Image(value=str(state.samples), visible=True), state.facts
        start_stop = buttons(is_running=False) if state.stage in OVER else (gr.skip(), gr.skip())
        return dataset_panels.describe_state(state), *start_stop, archive, pictures, *results

    def stop(self, job: Job | None) -> tuple[Any, ...]:
        """Ask a job to end. Returns values for (status, make button, stop button)."""
        panel = stop_job(job, dataset_panels.describe_stopped(job.state if job else None))
        if panel is None:
            return (gr.skip(),) * 3
        return panel, *((gr.skip(), gr.Button(interactive=False)) if panel == STOPPING else buttons(is_running=False))


def _text_only(text: str, rows: Any) -> tuple[Any, ...]:
    """Values for ``DatasetForm.filled`` of a plan that is text; the table stays as it is.

    Told to skip a widget, gradio builds it anew, and the table would forget how its values are read.
    """
    table = [[*row.values()] for row in rows]
    return TEXT, table, text, *(gr.skip(),) * (2 + len(FIELDS) + len(SPLITS))


def _in_fields(fields: tuple[Rows, str, int, list[Any], list[float]]) -> tuple[Any, ...]:
    """Values for ``DatasetForm.filled`` of a plan that the table and the fields hold."""
    rows, name, seed, settings, shares = fields
    return TABLE, rows, gr.skip(), name, seed, *settings, *shares


def _column_of(row: Mapping[str, Any], column: str) -> int:
    """Place of a column in the table, from 0; the first for one that is missing."""
    names = [str(key).strip().lower() for key in row]
    return names.index(column) if column in names else 0
