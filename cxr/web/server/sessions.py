"""What gradio remembers of each call of a program, and has no use for once the call is over."""

from __future__ import annotations

import time
from collections import deque

import gradio as gr

from cxr.web.jobs.table import JobTable
from cxr.web.server.visitors import Visitor

REST_S = 20.0  # a call without a job at the model is over by then


class CallSessions:
    """The sessions of calls, forgotten one after the other.

    Gradio takes every call for a session of its own, and holds a third of a megabyte for it: the settings of each
    widget of the page. It keeps those of the last 500 sessions, so that calls would also push out pages that are open.

    Args:
        page: whose sessions they are.
        jobs: of all visitors.
    """

    def __init__(self, page: gr.Blocks, jobs: JobTable) -> None:
        self.page, self.jobs = page, jobs
        self._calls: deque[tuple[float, str]] = deque()  # in the order of their times

    def note(self, event: str) -> None:
        """Remember a new call by its event, and forget those that are over.

        Args:
            event: gradio's id, which is the name of the call's session, too; no page has such a name.
        """
        now_s = time.monotonic()
        self._calls.append((now_s, event))
        while now_s - self._calls[0][0] > REST_S:
            _, old = self._calls.popleft()
            if self.jobs.jobs_of(Visitor(old)):
                self._calls.append((now_s, old))
            else:
                self._forget(old)

    def _forget(self, session: str) -> None:
        holder = self.page.state_holder
        with holder.lock:
            holder.session_data.pop(session, None)
            holder.time_last_used.pop(session, None)
