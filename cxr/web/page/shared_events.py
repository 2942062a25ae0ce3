"""What the events of all tabs share: how they are run, how errors are said, and how a job is shown."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from html import escape
from typing import Any, TypeAlias

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from cxr.request.errors import CxrError
from cxr.request.messages import as_sentence
from cxr.request.settings import LABELS
from cxr.web.jobs.job import AnyJob, Job, OrderT, StateT, Waiting
from cxr.web.page import panels
from cxr.web.server.limits import BusyError

Values: TypeAlias = tuple[Any, ...]  # of widgets, in the order of an event's outputs; gradio alone reads them
EventOptions: TypeAlias = dict[str, Any]  # options of gradio's events


PRIVATE: EventOptions = {"show_progress": "hidden", "api_visibility": "private"}
AT_ONCE: EventOptions = {"queue": False, **PRIVATE}  # for handlers that cannot fail: these show no error messages
# Jobs queue for the model in `cxr.web.jobs.table`; gradio's own queue holds nothing back.
IN_PARALLEL: EventOptions = {"concurrency_limit": None, "show_progress": "hidden"}
QUEUED: EventOptions = {**IN_PARALLEL, **PRIVATE}

ERROR_DURATION_S = 20
MAX_MESSAGE_CHARACTERS = 600
FAILED = "That did not work"
MODEL_IS_BUSY = "The model is busy"
STOPPING = panels.panel("Stopping…", tone="busy")
CRASHED = "Something went wrong inside the program; its log holds the details. Nothing you typed is lost."


@contextlib.contextmanager
def errors_for_users(*, on_page: bool = True) -> Iterator[None]:
    """Turn errors that were written for users into gradio's; leave faults of the program with their trace.

    Args:
        on_page: the page renders messages as HTML, and they may quote the contents of a third party's file.
    """
    try:
        yield
    except CxrError as error:
        # Programs know the parameters, people the labels.
        message = as_sentence(error.described(LABELS)) if on_page else error.described({})
        if len(message) > MAX_MESSAGE_CHARACTERS:  # it repeats what was given
            message = message[:MAX_MESSAGE_CHARACTERS] + " …"
        message = escape(message, quote=False) if on_page else message
        title = MODEL_IS_BUSY if isinstance(error, BusyError) else FAILED
        raise gr.Error(message, ERROR_DURATION_S, title=title, print_exception=False) from error


def sent_with(event: gr.EventData, name: str) -> object:
    """A value that the browser sent with an event; None where it sent none."""
    try:
        return getattr(event, name, None)
    except TypeError:  # what it sent is not a table
        return None


def buttons(*, is_running: bool) -> tuple[gr.Button, gr.Button]:
    """Values for the button that starts a job and the one that stops it."""
    return gr.Button(interactive=not is_running), gr.Button(interactive=is_running)


async def show_job(
    job: Job[OrderT, StateT] | None, show: Callable[[StateT, StateT | None], Values], num_widgets: int
) -> AsyncGenerator[Values, None]:
    """Follow a job on the page; an error goes into its panel as well. A reloaded page may continue to follow it.

    Args:
        job: None shows nothing; of one that is followed already, only its end is shown.
        show: turns a state and the one that is shown, None at first, into values for the widgets, in a thread.
        num_widgets: that the job has, the panel first.
    """
    nothing = (gr.skip(),) * (num_widgets - 1)
    if job is None or job.is_followed:
        # Of a job that is over the end once more: the answer to "Stop" may have come after it. A generator that yields
        # nothing would empty the widgets.
        last = job.state if job and job.has_ended and job.error is None else None
        yield await asyncio.to_thread(show, last, None) if last else (gr.skip(), *nothing)
        return
    shown: StateT | None = None
    try:
        async with contextlib.aclosing(job.follow(on_page=True)) as states:
            async for state in states:
                if isinstance(state, Waiting):
                    yield panels.waiting(state), *nothing
                else:
                    yield await asyncio.to_thread(show, state, shown)
                    shown = state
        if job.state is None:  # it was stopped while it waited
            yield gr.skip(), *nothing
    except CxrError as error:
        yield panels.panel(FAILED, tone="bad", notes=[as_sentence(error.described(LABELS))]), *nothing
        with errors_for_users():
            raise
    except Exception:
        yield panels.panel(FAILED, tone="bad", notes=[CRASHED]), *nothing
        raise


def connect_reload(
    page: gr.Blocks,
    resume: Callable[..., AsyncGenerator[Values, None]],
    job: gr.State,
    shown: Sequence[Block],
    started: Sequence[Dependency],
    name: str,
) -> None:
    """Let the browser's tab remember its job, and find it again when the page is loaded again.

    Args:
        resume: takes the id of a job, and yields values for the job and the widgets that show it.
        job: holds the job of the page, or what else has such an id.
        shown: the widgets that show it.
        started: the events after which the job is there.
        name: of the place in the browser.
    """
    job_id = gr.Textbox(visible=False)
    for start in started:
        known = start.success(lambda job: str(job.id), inputs=job, outputs=job_id, **QUEUED)
        known.success(None, inputs=job_id, js=f"(id) => {{ sessionStorage.setItem('cxr-{name}', id); }}")
    recall = f"() => sessionStorage.getItem('cxr-{name}') ?? ''"
    page.load(resume, inputs=job_id, outputs=[job, *shown], js=recall, **QUEUED)


def stop_job(job: AnyJob | None, title: str) -> str | None:
    """Ask a job to end.

    Args:
        job: None if there is none yet.
        title: the panel of a job that waited.
    Returns:
        The status panel: `STOPPING`, or the title if the job is over; None if there was nothing to end.
    """
    if job is None or job.has_ended:
        return None
    return title if job.stop() else STOPPING


def show_stop(job: AnyJob | None, title: str) -> Values:
    """Ask a job to end; arguments as of `stop_job`. Returns values for (status, start button, stop button)."""
    if (panel := stop_job(job, title)) is None:
        return (gr.skip(),) * 3
    return panel, *((gr.skip(), gr.Button(interactive=False)) if panel == STOPPING else buttons(is_running=False))
