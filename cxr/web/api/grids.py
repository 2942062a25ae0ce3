"""The endpoint ``/sheet``: lists of values -> a job -> one labelled sheet."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import gradio as gr

from cxr.dataset.plan import Plan
from cxr.request.errors import RequestError
from cxr.web.jobs.grid_job import GridState
from cxr.web.page.events import Facts, errors_for_users
from cxr.web.page.grid_events import VARIED, GridEvents
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
        """Make every combination of words and settings, on one labelled sheet of at most 64 images. Not for diagnosis.

        Args:
            prompt: what the images should show; alternatives stand in braces, as in {small|large}.
            guidance_scale: values to compare, a list of numbers; null for the usual one.
            adapter_weight: weights of the LoRA to compare, a list of numbers.
            num_inference_steps: numbers of steps to compare, a list.
            seed: seeds to compare, a list.
            dry_run: only say what it comes to.
            progress: filled in by gradio; the share of denoising steps that are done.
            asker: filled in by gradio; who asks.
        Returns:
            The sheet, a PNG; the path of a ZIP with the images, each with its recipe; a dictionary of facts: told,
            title, columns, rows, num_images, seconds, model, adapter, failures, notes.
        """
        given = dict(zip(VARIED, (guidance_scale, adapter_weight, num_inference_steps, seed), strict=True))
        with errors_for_users(on_page=False):
            if not dry_run:
                self.events.jobs.check_room(visitor_of(asker))
            plan, told = await asyncio.to_thread(self._plan, prompt, given)
            if dry_run:
                return None, None, {"told": told}
            job = self.events.submit(asker, plan)
            state = GridState(plan)
            async with contextlib.aclosing(job.follow()) as states:
                async for state in states:
                    progress(state.fraction)
            sheet, archive = (str(path) if path else None for path in (state.sheet, state.archive))
            return sheet, archive, {"told": told, **(state.facts or {})}

    def _plan(self, prompt: str, given: dict[str, Any]) -> tuple[Plan, str]:
        given = {name: [] if values is None else values for name, values in given.items()}
        for name, values in given.items():
            if not isinstance(values, (list, tuple)):
                raise RequestError(f"is {type(values).__name__}; give a list of numbers", field=name)
        plan = self.events.plan(prompt, given)
        return plan, self.events.describe(plan)
