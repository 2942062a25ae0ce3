"""Jobs that have ended, whose results a page that is loaded again still finds."""

from __future__ import annotations

import contextvars
import time
from collections import OrderedDict

from cxr.web.jobs.job import NO_STATES, AnyJob
from cxr.web.server.temporary import LIFETIME_S

MAX_ENDED = 200


class EndedJobs:
    """The last ones, for as long as their files are kept."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, AnyJob] = OrderedDict()

    def keep(self, job: AnyJob) -> None:
        """Remember a job, without what it needed for its work."""
        job.context, job.states = contextvars.Context(), NO_STATES
        self._jobs[job.id] = job
        if len(self._jobs) > MAX_ENDED:
            self._jobs.popitem(last=False)

    def find(self, job_id: object) -> AnyJob | None:
        """The job of an id; None if there is none, or none any more."""
        job = self._jobs.get(job_id) if isinstance(job_id, str) else None
        return job if job is not None and time.monotonic() - job.heard_s < LIFETIME_S else None
