"""Events of the grid tab: widget values -> a plan and a job -> the sheet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

import gradio as gr

from cxr.dataset.plan import Plan
from cxr.models.presets import prompt_form_of
from cxr.request.errors import CxrError, RequestError
from cxr.request.messages import as_sentence, duration, plural
from cxr.request.setting import parse_number
from cxr.request.settings import GRID_AXES, LABELS, SETTINGS
from cxr.web.jobs.grid_job import GridJob, GridState, make_grid
from cxr.web.jobs.image_orders import ImageOrders
from cxr.web.jobs.job import OVER, Job
from cxr.web.page import panels
from cxr.web.page.image_events import run_button
from cxr.web.page.shared_events import STOPPING, Values, errors_for_users, show_job, stop_job
from cxr.web.server.limits import find_resolution
from cxr.web.server.visitors import visitor_of

MAKE = "Make the sheet"
EXAMPLE = "A {30|80}-year-old man with {no findings|a pleural effusion}, PA view"


class GridEvents:
    """What the events of the grid tab do.

    Args:
        images: their model, limits and jobs are those of grids, too.
    """

    def __init__(self, images: ImageOrders) -> None:
        self.choice, self.limits, self.jobs = images.choice, images.limits, images.jobs
        self.form = prompt_form_of(self.choice.model)

    def plan(self, prompt: str, values: Mapping[str, Sequence[object]]) -> Plan:
        """The plan of a grid that this server makes.

        Args:
            prompt: may hold alternatives.
            values: of each setting of `GRID_AXES`; those of none are the usual one.
        Raises:
            RequestError: a value is not allowed, or it is too much for this server.
        """
        from cxr.dataset.grid import build_grid  # torch takes seconds to import

        plan = build_grid(prompt, values, self.choice.defaults)
        self.limits.check_steps(plan.num_steps(self.form), find_resolution(self.choice.model))
        return plan

    def submit(self, asker: gr.Request | None, plan: Plan) -> GridJob:
        """Put a grid into the queue.

        Raises:
            RequestError: the visitor has too many jobs, or there are too many.
        """
        job: GridJob = Job(plan, visitor_of(asker), plan.num_steps(self.form))
        return self.jobs.submit(job, make_grid(plan, self.choice, job, self.limits.job_s))

    def describe(self, plan: Plan) -> str:
        """A grid in numbers: images, steps, size of the sheet, and the time where something was made before."""
        from cxr.dataset.grid import describe_grid

        return describe_grid(plan, self.form, find_resolution(self.choice.model), self.jobs.step_s)

    async def describe_form(self, prompt: str, *texts: str) -> str:
        """Say what the form would make while it is typed, or what is wrong with it; as HTML."""
        try:
            plan = await asyncio.to_thread(lambda: self.plan(prompt, axes_of_fields(texts)))
            return panels.hint(f"{as_sentence(self.describe(plan))}.")
        except CxrError as error:
            return panels.hint(as_sentence(error.described(LABELS)), is_bad=True)

    def press(self, asker: gr.Request | None, before: GridJob | None, prompt: str, *texts: str) -> Values:
        """The one button: end the job that runs, or else start one.

        Returns:
            Values for (job, then as `show`).
        """
        if panel := stop_job(before, panels.NEVER_BEGUN):
            return gr.skip(), panel, run_button(is_running=panel == STOPPING, label=MAKE), *(gr.skip(),) * 3
        with errors_for_users():
            job = self.submit(asker, self.plan(prompt, axes_of_fields(texts)))
        return job, panels.WAITING, run_button(is_running=True), *(gr.skip(),) * 3

    async def run(self, job: GridJob | None) -> AsyncGenerator[Values, None]:
        """Show how far a job is. Yields values as `show`."""
        async for widgets in show_job(job, self.show, 5):
            yield widgets

    async def resume(self, asker: gr.Request | None, job_id: str) -> AsyncGenerator[Values, None]:
        """Continue the job that this page had before it was reloaded. Yields values for (job, then as `show`)."""
        job = self.jobs.return_to(job_id, visitor_of(asker))
        if job is None or not isinstance(job.state, GridState | None) or not isinstance(job.order, Plan):
            yield (gr.skip(),) * 6  # a generator that yields nothing would empty the widgets
            return
        yield job, panels.WAITING, run_button(is_running=True), *(gr.skip(),) * 3
        async for widgets in self.run(job):
            yield job, *widgets

    def show(self, state: GridState, _: GridState | None) -> Values:
        """The page for a state, whatever it shows. Returns values for (status, button, sheet, ZIP button, facts)."""
        results: Values = (gr.skip(),) * 3
        if state.stage in OVER:
            sheet = gr.Image(str(state.sheet), visible=True) if state.sheet else gr.skip()
            archive = gr.DownloadButton(value=str(state.archive), interactive=True) if state.archive else gr.skip()
            results = sheet, archive, state.facts
        return describe_state(state), run_button(is_running=state.stage not in OVER, label=MAKE), *results


def axes_of_fields(texts: Sequence[str]) -> dict[str, list[float]]:
    """Values of each setting of `GRID_AXES`, from numbers that are separated by commas.

    Raises:
        RequestError: a text holds something else.
    """
    axes: dict[str, list[float]] = {}
    for name, text in zip(GRID_AXES, texts, strict=True):
        try:
            axes[name] = [parse_number(value) for value in str(text).split(",") if value.strip()]
        except ValueError as error:
            raise RequestError(f"is “{text[:40]}”; use numbers separated by commas", field=name) from error
    return axes


def usual(name: str, defaults: Mapping[str, float]) -> str:
    """What the field of a setting holds when the page opens."""
    value = defaults.get(name, SETTINGS[name].default)
    return "1, 3" if name == "guidance_scale" and not defaults else f"{value:g}"


def describe_state(state: GridState) -> str:
    failed = [f"Image {failure.index} failed: {failure.reason}" for failure in state.failures]
    notes, count = (*failed, *state.notes), len(state.images)
    if state.stage == "loading":
        return panels.LOADING
    if state.stage == "finished":
        tone: panels.Tone = "bad" if failed else "good"
        return panels.panel(f"{plural(count, 'image')} on one sheet", f"{state.elapsed_s:.1f} s", 1.0, tone, notes)
    if state.stage == "stopped":
        return panels.panel(f"Stopped: {plural(count, 'image')} kept", "", state.fraction, "quiet", notes)
    left = state.progress.remaining_s if state.progress else None
    detail = "" if left is None else f"{duration(left)} left"
    return panels.panel(f"Image {count + 1}/{len(state.plan.images)}", detail, state.fraction, "busy", notes)
