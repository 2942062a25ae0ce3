"""Forgets what gradio keeps of each program's call once the call is over."""

from __future__ import annotations

import datetime

import gradio as gr

from cxr.web.jobs.table import JobTable
from cxr.web.server.visitors import Visitor

REST_S = 5.0  # a call without a job at the model is over by then, or waits for its turn
MAX_KNOWN = 10_000  # calls; one so many before the newest is over in any case


class CallSessions:
    """The sessions of calls, forgotten one after the other.

    Gradio takes every call for a session of its own, and holds a third of a megabyte for it: the settings of each
    widget of the page. It keeps those of the last sessions, so that calls would also push out pages that are open. A
    session that was forgotten comes back if its call has only waited for its turn: it is forgotten once more.

    Args:
        page: whose sessions they are.
        jobs: of all visitors.
    """

    def __init__(self, page: gr.Blocks, jobs: JobTable) -> None:
        self.page, self.jobs = page, jobs
        self._calls: dict[str, None] = {}  # in their order

    def note(self, event: str) -> None:
        """Remember a new call by its event, and forget the sessions of those that are over.

        Args:
            event: gradio's id, which is the name of the call's session, too; no page has such a name.
        """
        self._calls[event] = None
        if len(self._calls) > MAX_KNOWN:
            del self._calls[next(iter(self._calls))]
        holder = self.page.state_holder
        rested = datetime.datetime.now() - datetime.timedelta(seconds=REST_S)  # as gradio notes it
        with holder.lock:
            for session, used in [*holder.time_last_used.items()]:
                if used <= rested and session in self._calls and not self.jobs.jobs_of(Visitor(session)):
                    holder.session_data.pop(session, None)
                    del holder.time_last_used[session]
