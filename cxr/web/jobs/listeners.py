"""Which sessions and events somebody listens to, and which jobs nobody has listened to for a while."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from cxr.web.jobs.job import AnyJob

UNHEARD_S = 60.0  # a job that nobody listens to for this long ends


class Listeners:
    """Counts the listeners of each session and, by its id, of each event."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    @contextlib.contextmanager
    def listening(self, name: str, jobs: Callable[[], Sequence[AnyJob]]) -> Iterator[None]:
        """Somebody listens to a session or an event; ``jobs`` gives those that may be its."""
        self._counts[name] += 1
        try:
            yield
        finally:
            self._note(jobs())
            self._counts[name] -= 1
            self._counts += Counter()  # forgets those that nobody listens to

    def unheard(self, jobs: Sequence[AnyJob]) -> list[AnyJob]:
        """The jobs that nobody has listened to for `UNHEARD_S`."""
        self._note(jobs)
        return [job for job in jobs if time.monotonic() - job.heard_s > UNHEARD_S]

    def _note(self, jobs: Sequence[AnyJob]) -> None:
        for job in jobs:
            if self._counts[job.visitor.session] or self._counts[job.visitor.ticket.event]:
                job.heard_s = time.monotonic()
