"""The endpoint ``/sheet``: lists of values -> a job -> one labelled sheet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from types import NoneType

import gradio as gr

from cxr.dataset.plan import Plan
from cxr.request.errors import RequestError
from cxr.request.setting import check_switch
from cxr.request.settings import GRID_AXES
from cxr.web.jobs.grid_job import GridState
from cxr.web.jobs.job import Facts
from cxr.web.page.grid_events import GridEvents
from cxr.web.page.shared_events import errors_for_users
from cxr.web.server.visitors import visitor_of

Result = tuple[str | None, str | None, Facts]


class GridEndpoints:
    """What programs call for grids.

    Args:
        events: of the grid tab, which put grids into the queue.
    """

    def __init__(self, events: GridEvents) -> None:
        self.events = events

    async def sheet(
        self,
        prompt: str,
        guidance_scale: object = None,
        adapter_weight: object = None,
        num_inference_steps: object = None,
        seed: object = None,
        dry_run: bool = False,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  gradio finds it by this default
        asker: gr.Request | None = None,
    ) -> Result:
        """Make every combination of words and settings, on one labelled sheet. Not for diagnosis.

        Args:
            prompt: what the images should show; alternatives stand in braces, as in {small|large}.
            guidance_scale: values to compare, a list of numbers; null for the usual one.
            adapter_weight: weights of the LoRA to compare, a list of numbers.
            num_inference_steps: numbers of steps to compare, a list.
            seed: seeds to compare, a list.
            dry_run: only describe the sheet.
            progress: filled in by gradio; the share of denoising steps that are done.
            asker: filled in by gradio; who asks.
        Returns:
            The sheet, a PNG; the path of a ZIP with the images, each with its recipe; a dictionary of facts: told,
            title, columns, rows, num_images, seconds, model, adapter, failures, notes.
        """
        axes = dict(zip(GRID_AXES, (guidance_scale, adapter_weight, num_inference_steps, seed), strict=True))
        with errors_for_users(on_page=False):
            if not check_switch(dry_run, "dry_run"):
                self.events.jobs.check_room(visitor_of(asker))
            plan, text = await asyncio.to_thread(self._plan, prompt, axes)
            if dry_run:
                return None, None, {"told": text}
            job = self.events.submit(asker, plan)
            state = GridState(plan)
            async with contextlib.aclosing(job.follow()) as states:
                async for state in states:
                    progress(state.fraction)
            sheet, archive = (str(path) if path else None for path in (state.sheet, state.archive))
            return sheet, archive, {"told": text, **(state.facts or {})}

    def _plan(self, prompt: str, axes: Mapping[str, object]) -> tuple[Plan, str]:
        values: dict[str, Sequence[object]] = {}
        for name, listed in axes.items():
            if not isinstance(listed, (list, tuple, NoneType)):
                raise RequestError(f"is {type(listed).__name__}; give a list of numbers", field=name)
            values[name] = listed or ()
        plan = self.events.plan(prompt, values)
        return plan, self.events.describe(plan)
