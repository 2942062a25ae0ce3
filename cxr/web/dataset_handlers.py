"""Events of the data set tab and the endpoint ``/dataset``: widget values -> plans and jobs -> widgets."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import AsyncGenerator, Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr

from cxr.dataset.cohort import KEYS
from cxr.dataset.plan import Plan
from cxr.generate.prompt_table import MAX_TOTAL_IMAGES
from cxr.web import clients, dataset_status, status
from cxr.web.dataset_form import ROWS, SHARES, TABLE, TEXT
from cxr.web.dataset_jobs import MAX_ATTEMPTS, DatasetJob, DatasetState, new_job, run_turn
from cxr.web.dataset_text import FIELDS, NAME, SPLITS, fields_of_text, plan_of_fields, plan_of_text, text_of_file
from cxr.web.dataset_time import Pace
from cxr.web.events import MODEL_QUEUE
from cxr.web.form import DEFAULTS
from cxr.web.handlers import BUSY, CRASHED, FAILED, errors_for_users, tell_errors
from cxr.web.limits import Limits, find_resolution
from cxr.web.model_choice import ModelChoice, load_model_for
from cxr.web.threads import iterate_in_thread, watch_client, watch_queue

TURNS = 2**31
KEPT = "Its queue is full. What is finished is kept; try again in a minute, and it goes on."


class DatasetHandlers:
    """What the events of the data set tab do.

    Args:
        choice: which model and LoRA answer.
        most: images of one data set.
        limits: what else one visitor may ask for.
    """

    def __init__(self, choice: ModelChoice, most: int, limits: Limits = Limits()) -> None:  # noqa: B008  it is frozen
        self.choice, self.most, self.limits = choice, most, limits
        self.pace = Pace()

    def read_form(self, kind: str, rows: Any, text: str, name: str, seed: int, *numbers: Any) -> Plan:
        """The plan of the form, whose values come in the order of ``DatasetForm``, the gate left out."""
        if kind == TEXT:
            return plan_of_text(text, self.most)
        return plan_of_fields(rows, name, seed, numbers[: len(FIELDS)], numbers[len(FIELDS) :], self.most)

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
            fields = fields_of_text(text, self.most)
        if fields is None:
            return TEXT, gr.skip(), text, *(gr.skip(),) * (2 + len(FIELDS) + len(SPLITS))
        rows, name, seed, settings, shares = fields
        return TABLE, rows, gr.skip(), name, seed, *settings, *shares

    def check(self, *form: Any) -> tuple[Any, ...]:
        """Say what the plan comes to. Returns values for (plan, its description)."""
        with errors_for_users():
            plan = self.read_form(*form[:-1])
        known = self.pace.known(plan)
        said = dataset_status.describe_estimate(known) if known else dataset_status.MEASURING
        return plan, dataset_status.describe_plan(plan, said)

    def measure(self, plan: Plan) -> str:
        """Say how long the plan takes; asks the model if it has not made such images before."""
        with errors_for_users():
            taken = self.pace.known(plan) or self.pace.measure(plan, load_model_for(self.choice))
        return dataset_status.describe_plan(plan, dataset_status.describe_estimate(taken))

    def start(self, job: DatasetJob | None, *form: Any) -> tuple[Any, ...]:
        """Check what was typed and get the page ready; a mistake is said before anything on the page changes.

        Returns:
            Values for (job, turn, status, plan, ZIP button, samples, facts, make button, stop button).
        """
        *given, gate = form
        with errors_for_users():
            plan = self.check_limits(self.read_form(*given))
            clients.refuse_if_busy(self.limits.jobs_per_client)
            if job is not None and job.is_for(plan, gate, MAX_ATTEMPTS):
                job = DatasetJob(plan, gate, MAX_ATTEMPTS, job.folder, seconds=job.seconds)
            else:
                job = new_job(plan, gate)
        known = self.pace.known(plan)
        summary = dataset_status.describe_plan(plan, dataset_status.describe_estimate(known) if known else "")
        waiting = status.panel("Waiting for the model…", tone="busy")
        nothing = gr.DownloadButton(value=None, interactive=False), gr.Image(value=None, visible=False), None
        buttons = gr.Button(interactive=False), gr.Button(interactive=True)
        return job, secrets.randbelow(TURNS), waiting, summary, *nothing, *buttons

    def run(self, job: DatasetJob) -> Generator[tuple[Any, ...], None, None]:
        """Go on with a job for one turn.

        Yields:
            Values for (status, ZIP button, samples, facts, turn).
        """
        if not job.due or job.stop.is_set():
            yield (gr.skip(),) * 5
            return
        job.due, job.running = False, True
        try:
            yield from tell_errors(job, self._updates(job))
        finally:
            job.running = False

    def _updates(self, job: DatasetJob) -> Generator[tuple[Any, ...], None, None]:
        with contextlib.closing(run_turn(job, self.choice, watch_queue(MODEL_QUEUE))) as states:
            for state in states:
                job.last_state = state
                job.due = state.stage == "waiting"
                yield *self._show(state), secrets.randbelow(TURNS) if job.due else gr.skip()

    def _show(self, state: DatasetState) -> tuple[Any, ...]:
        if state.stage != "finished":
            return dataset_status.describe_state(state), *(gr.skip(),) * 3
        archive = gr.DownloadButton(value=str(state.archive), interactive=True)
        samples = gr.Image(value=str(state.samples), visible=True)
        return dataset_status.describe_state(state), archive, samples, state.facts

    def stop(self, job: DatasetJob | None) -> tuple[Any, ...]:
        """Ask a job to end. Returns values for (status, make button, stop button)."""
        if job is None:
            return (gr.skip(),) * 3
        job.end()
        if job.running:
            return status.panel("Stopping…", tone="busy"), gr.skip(), gr.Button(interactive=False)
        clients.leave_queue(self.run)
        return (
            dataset_status.describe_stopped(job.last_state),
            gr.Button(interactive=True),
            gr.Button(interactive=False),
        )

    def settle(self, job: DatasetJob | None) -> tuple[Any, ...]:
        """Give the buttons back after the last turn. Returns values for (make button, stop button)."""
        if job is not None and job.due and not job.stop.is_set():
            return gr.skip(), gr.skip()
        return gr.Button(interactive=True), gr.Button(interactive=False)

    def give_up(self, job: DatasetJob | None) -> tuple[Any, ...]:
        """After a turn that broke or never came. Returns values for (status, make button, stop button)."""
        said: Any = gr.skip()
        if job is not None and job.crashed:
            said = status.panel(FAILED, tone="bad", notes=[CRASHED])
        elif job is not None and job.due:
            note = KEPT if job.last_state else BUSY
            said = status.panel("The model is busy", tone="bad", notes=[note])
        return said, gr.Button(interactive=True), gr.Button(interactive=False)

    async def dataset(
        self, plan: str, max_attempts: int = MAX_ATTEMPTS, gate: bool = False
    ) -> AsyncGenerator[tuple[dict[str, Any], str | None, dict[str, Any] | None], None]:
        """Make a labelled data set of synthetic chest radiographs. Not for diagnosis.

        While it is made, its progress arrives about twice a second; the last result also has the ZIP and the facts.
        Cancelling ends it within one denoising step.

        Args:
            plan: YAML or CSV, as ``python -m cxr dataset --help`` describes it; its splits are train, validation, test.
            max_attempts: seeds that an image may take, 1 to 100.
            gate: whether images in which a small network does not see what was asked are made again.
        Returns:
            How far it is: finished, failed, rejected, total, elapsed_s, remaining_s, stage; the path of a ZIP with
            images, metadata, label tables, card and manifest; a dictionary of facts: counts, failures, pass rates,
            seconds, model, adapter.
        """
        with errors_for_users(on_page=False):
            job = new_job(self.check_limits(plan_of_text(plan, self.most)), gate, max_attempts)
            states = iterate_in_thread(run_turn(job, self.choice), watch_client())
            try:
                async with contextlib.aclosing(states):
                    async for state in states:
                        yield _told(state), str(state.archive) if state.archive else None, state.facts
            finally:
                # The ZIP holds all of it, and nobody can go on with it.
                shutil.rmtree(job.folder / "set", ignore_errors=True)


def _told(state: DatasetState) -> dict[str, Any]:
    progress = asdict(state.progress) if state.progress else {"total": state.total}
    progress.pop("manifest", None)
    return progress | {"stage": state.stage}
