"""The endpoint ``/dataset``: a plan as text -> a job -> its progress, and a ZIP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import asdict

import gradio as gr

from cxr.web.jobs.dataset_order import DEFAULT_MAX_ATTEMPTS, DatasetState, new_order
from cxr.web.jobs.job import Facts
from cxr.web.jobs.plan_text import plan_of_text
from cxr.web.page.dataset_events import DatasetEvents
from cxr.web.page.shared_events import errors_for_users
from cxr.web.server.visitors import visitor_of

PLANS_AT_ONCE = 2  # that are read, beside the jobs of the model


class DatasetEndpoints:
    """What programs call for data sets.

    Args:
        events: of the data set tab, which put data sets into the queue.
    """

    def __init__(self, events: DatasetEvents) -> None:
        self.events = events
        self.readers = asyncio.Semaphore(PLANS_AT_ONCE)

    async def dataset(
        self, plan: str, max_attempts: int = DEFAULT_MAX_ATTEMPTS, gate: bool = False, asker: gr.Request | None = None
    ) -> AsyncGenerator[tuple[Facts, str | None, Facts | None], None]:
        """Make a labelled data set of synthetic chest radiographs. Not for diagnosis.

        While it is made, its progress arrives about twice a second; the last result also has the ZIP and the facts.
        Cancelling ends it within one denoising step.

        Args:
            plan: YAML or CSV, as ``python -m cxr dataset --help`` describes it; its splits are train, validation, test.
            max_attempts: seeds that an image may take.
            gate: whether images in which a small network does not see what was asked are made again.
            asker: filled in by gradio; who asks.
        Returns:
            How far it is: finished, failed, rejected, total, elapsed_s, remaining_s, stage; the path of a ZIP with
            images, metadata, label tables, card and manifest; a dictionary of facts: counts, failures, pass rates,
            seconds, model, adapter.
        """
        visitor, events = visitor_of(asker), self.events
        with errors_for_users(on_page=False):
            events.jobs.check_room(visitor)  # before the plan is read, and there is a folder
            async with self.readers:
                checked = await asyncio.to_thread(lambda: events.check_limits(plan_of_text(plan, events.max_images)))
            job = events.submit(new_order(checked, gate, max_attempts, is_kept=False), visitor)
            async with contextlib.aclosing(job.follow()) as states:
                async for state in states:
                    yield _progress(state), str(state.archive) if state.archive else None, state.facts


def _progress(state: DatasetState) -> Facts:
    progress = asdict(state.progress) if state.progress else {"total": state.total}
    progress.pop("manifest", None)
    return progress | {"stage": state.stage}
