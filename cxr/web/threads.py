"""Run a blocking generator step by step beside the event loop, so that a cancelled caller can end it at once."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gradio.context import LocalContext

Item = TypeVar("Item")


async def iterate_in_thread(
    items: Generator[Item, None, None], is_abandoned: Callable[[], bool]
) -> AsyncGenerator[Item, None]:
    """Yield what the generator yields; one thread of its own does the work.

    When the caller is cancelled or has gone, the generator is closed after the step that is running: gradio itself
    would only notice at the next result that it can send.

    Args:
        items: the generator; it is closed in any case.
        is_abandoned: asked after every step whether nobody waits for the result any more.
    """
    context = contextvars.copy_context()  # gradio keeps the current request in context variables
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="generate") as worker:
        try:
            while True:
                step = loop.run_in_executor(worker, context.run, _next_or_none, items)
                # Shielded: a step cannot be interrupted, and closing a generator while it runs is an error.
                item = await asyncio.shield(step)
                if item is None or is_abandoned():
                    return
                yield item
        finally:
            await asyncio.shield(loop.run_in_executor(worker, items.close))


def watch_client() -> Callable[[], bool]:
    """Make a function that tells whether the client of the current event has disconnected."""
    queue = getattr(LocalContext.blocks.get(None), "_queue", None)
    event_id = LocalContext.event_id.get(None)

    def has_left() -> bool:
        # Gradio keeps this in private attributes. Without them a job runs on until its next image, which is harmless.
        event = getattr(queue, "event_ids_to_events", {}).get(event_id)
        return event is not None and not getattr(event, "alive", True)

    return has_left


def watch_queue(concurrency_id: str) -> Callable[[], bool]:
    """Make a function that tells whether other events wait for what the current event holds."""
    queues = getattr(getattr(LocalContext.blocks.get(None), "_queue", None), "event_queue_per_concurrency_id", {})

    def is_waited_for() -> bool:
        # Private attributes again. Without them a job does not give way, which is all that is lost.
        return bool(getattr(queues.get(concurrency_id), "queue", ()))

    return is_waited_for


def _next_or_none(items: Generator[Item, None, None]) -> Item | None:
    return next(items, None)
